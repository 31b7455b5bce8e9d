//! A shard's `result.json` in the folder that its command wrote.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use petctl_output::manifest::read_bounded;
use petctl_output::result::{MAX_RESULT_BYTES, ResultError, ShardReport, parse_result};

pub use petctl_output::result::FILE_NAME;

use crate::CommitError;

/// Reads and checks the file in `folder`.
///
/// # Errors
/// [`CommitError::Report`] where it is not what it should be; those of reading it.
pub fn read(folder: &Path) -> Result<ShardReport, CommitError> {
    let path = folder.join(FILE_NAME);
    match read_bounded(&path, MAX_RESULT_BYTES as u64) {
        Ok(bytes) => Ok(parse_result(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CommitError::OutputGone),
        Err(error) => Err(CommitError::io("read", &path, error)),
    }
}

/// Writes that there was nothing to do, and why. What a command has written there itself keeps its numbers.
///
/// # Errors
/// As [`read`], and those of writing.
pub fn write_skipped(folder: &Path, reason: &str) -> Result<(), CommitError> {
    let path = folder.join(FILE_NAME);
    let own = match std::fs::symlink_metadata(&path) {
        Ok(_) => read(folder)?.numbers,
        Err(_) => BTreeMap::new(),
    };
    let report = serde_json::json!({"verdict": "skipped", "reasons": [reason], "numbers": own});
    // Never through a link that the command has left there.
    let written = match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => std::fs::write(&path, format!("{report}\n")),
    };
    match written {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CommitError::OutputGone),
        Err(error) => Err(CommitError::io("write", &path, error)),
    }
}

/// Refuses a file that is too large to be read.
pub(crate) fn check_size(bytes: u64) -> Result<(), ResultError> {
    if bytes > MAX_RESULT_BYTES as u64 {
        Err(ResultError::TooLarge(bytes))
    } else {
        Ok(())
    }
}
