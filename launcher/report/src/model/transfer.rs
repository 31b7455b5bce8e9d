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
    pub command: Transfer,
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
    /// Files that were removed from the target.
    pub deleted: u64,
    /// Files that could not be moved.
    pub failed: Vec<FileError>,
    /// What stopped all of it; null: nothing did.
    pub stopped: Option<Stopped>,
    /// How long it took.
    pub seconds: f64,
}

/// A file that could not be moved.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FileError {
    /// Its name below the source.
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
    pub command: Transfer,
    /// True.
    pub dry_run: bool,
    /// Where to.
    pub target: String,
    /// Bytes that would be moved.
    pub bytes: u64,
    /// Files that are there already.
    pub unchanged: u64,
    /// What an upload would move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<Vec<PlannedFile>>,
    /// What a download would move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Vec<PlannedFile>>,
    /// What would be removed from the target.
    pub delete: Vec<PlannedFile>,
    /// Empty folders that would be made.
    pub folders: Vec<String>,
}

/// A file that would be moved or removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlannedFile {
    /// Its name below the source or the target.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// A zip file that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Archived {
    /// Which way.
    pub command: Transfer,
    /// The zip file.
    pub target: String,
    /// Files in it.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Bytes of the zip file.
    pub zip_bytes: u64,
    /// How long it took.
    pub seconds: f64,
}
