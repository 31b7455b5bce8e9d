//! What storage holds: `petctl storage ls`.

use schemars::JsonSchema;
use serde::Serialize;

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Entries {
    /// Where: a path, or az://CONTAINER/PREFIX.
    pub location: String,
    /// Files among the entries.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// In the order of their names.
    pub entries: Vec<Entry>,
}

/// A file, or the mark of an empty folder.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Entry {
    /// Its name, in the container or below the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written last, in ms since 1970.
    pub modified_at_ms: u64,
    /// Its version.
    pub etag: String,
    /// The MD5 of its bytes, in hexadecimal digits; null: unknown.
    pub md5: Option<String>,
    /// It is the mark of an empty folder.
    pub is_folder: bool,
}
