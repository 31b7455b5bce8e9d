//! Files that were moved: `petctl upload`, `petctl download`.

use schemars::JsonSchema;
use serde::Serialize;

/// Which way files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// To storage.
    Upload,
    /// To this machine.
    Download,
}

/// A transfer that has ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Transferred {
    /// Which way.
    pub transfer: Transfer,
    /// False.
    pub dry_run: bool,
    /// Where to.
    pub target: String,
    /// Everything is there: nothing failed, nothing stopped it.
    pub whole: bool,
    /// Files that were moved.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Bytes that went over the network or were written; the others were there already.
    pub moved_bytes: u64,
    /// Files that were there already.
    pub unchanged: u64,
    /// Empty folders that were made.
    pub folders: u64,
    /// Links that were made.
    pub links: u64,
    /// Files that were removed from the target.
    pub deleted: u64,
    /// Files that could not be moved.
    pub errors: Vec<FileError>,
    /// What stopped all of it; null: nothing did.
    pub stopped: Option<Stopped>,
    /// How long it took.
    pub duration_ms: u64,
}

/// Committed outputs that were read again: `petctl verify`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verified {
    /// The job's name.
    pub job: String,
    /// All is as it was committed.
    pub whole: bool,
    /// Committed shards.
    pub shards: u64,
    /// Files that were read.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Files that are damaged, files that are gone, and shards that are gone, as `STAGE/SHARD` or `STAGE/SHARD/FILE`.
    pub errors: Vec<FileError>,
    /// How long it took.
    pub duration_ms: u64,
}

/// A file that could not be moved, or is not what it was.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FileError {
    /// Its name below the source, or below the job's output.
    pub name: String,
    /// Why, by its code; a page of the docs tells of it.
    pub code: String,
    /// The same as a sentence.
    pub message: String,
}

/// What stopped a transfer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Stopped {
    /// By its code; a page of the docs tells of it.
    pub code: String,
    /// The same as a sentence.
    pub message: String,
}

/// A transfer that does not take place.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Planned {
    /// Which way.
    pub transfer: Transfer,
    /// True.
    pub dry_run: bool,
    /// Where to.
    pub target: String,
    /// Files that would be moved.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Files that are there already; null: nobody looked, as a zip file is written whole.
    pub unchanged: Option<u64>,
    /// Empty folders that would be made.
    pub folders: u64,
    /// Links that would be made.
    pub links: u64,
    /// Files that would be removed from the target.
    pub deleted: u64,
    /// The files that would be moved.
    pub to_move: Vec<PlannedFile>,
    /// The empty folders that would be made.
    pub to_make: Vec<String>,
    /// The links that would be made.
    pub to_link: Vec<PlannedLink>,
    /// The files that would be removed.
    pub to_delete: Vec<PlannedFile>,
}

/// A file that would be moved or removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlannedFile {
    /// Its name below the source or the target.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// A link that would be made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlannedLink {
    /// Its name below the target.
    pub name: String,
    /// What it would hold.
    pub target: String,
}

/// A zip file that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Archived {
    /// Which way.
    pub transfer: Transfer,
    /// False.
    pub dry_run: bool,
    /// The zip file.
    pub target: String,
    /// Files in it.
    pub files: u64,
    /// Links in it.
    pub links: u64,
    /// Empty folders in it.
    pub folders: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Bytes of the zip file.
    pub zip_bytes: u64,
    /// How long it took.
    pub duration_ms: u64,
}
