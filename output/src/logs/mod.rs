//! What an attempt prints, kept with a bound.
//!
//! Lines are in the format of CRI logs: `2026-11-21T07:00:00.123456789Z stdout F text`, with `P` instead of `F` for
//! all but the last part of a line longer than 16 KiB; both streams in the order in which they were read. The first
//! half of `log_bytes` goes to `<n>-<lease>.log`. What comes after goes to segments of a quarter each, named by the
//! offset at which they start (`<n>-<lease>.log.00000000000008388608`), of which the newest two stay: the head and
//! the tail of a log are kept, whatever comes between, and a command that prints without end takes a constant amount
//! of disk. A command that prints nothing has no file.
//!
//! An offset is a place in the whole log, left-out parts counted, so it stays valid while segments come and go.

mod echo;
mod lines;
mod reader;
mod writer;

pub use self::echo::Echo;
pub use self::reader::{LogPiece, LogReader};
pub use self::writer::{AttemptLog, LogSummary, Stream};

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Most bytes of text in one line of a log; longer ones are cut into parts.
pub const MAX_LINE_BYTES: usize = 16 * 1024;
/// Bytes of text that are kept for a failure's message.
pub const TAIL_BYTES: usize = 4 * 1024;

fn segment_path(log: &Path, start: u64) -> PathBuf {
    let mut path = OsString::from(log);
    path.push(format!(".{start:020}"));
    PathBuf::from(path)
}
