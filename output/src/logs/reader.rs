//! Reads the log of an attempt as one text, also while it is being written.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Most bytes handed out at once.
const MAX_READ_BYTES: usize = 4 * 1024 * 1024;

/// Reads one log, from any offset. Holds nothing open.
#[derive(Clone, Debug)]
pub struct LogReader {
    path: PathBuf,
}

/// A part of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPiece {
    /// Whole CRI lines; a part of one only where it is longer than what was asked for. Empty at the end of what has
    /// been written so far.
    pub data: Vec<u8>,
    /// Where to go on reading.
    pub next_offset: u64,
}

struct Part {
    start: u64,
    end: u64,
    path: PathBuf,
}

impl LogReader {
    /// A reader of the log at `path` (see [`crate::layout::Layout::log`]). It need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// At most `max_bytes` from `offset` on. Where bytes were left out, a line of its own says how many.
    ///
    /// # Errors
    /// What the system says; a log that is not there is empty.
    pub fn read(&self, offset: u64, max_bytes: usize) -> io::Result<LogPiece> {
        let max_bytes = max_bytes.clamp(1, MAX_READ_BYTES);
        // A segment can go between the listing and the reading; the next listing then shows a gap.
        for _ in 0..8 {
            match self.try_read(offset, max_bytes) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        Ok(LogPiece {
            data: Vec::new(),
            next_offset: offset,
        })
    }

    fn try_read(&self, offset: u64, max_bytes: usize) -> io::Result<LogPiece> {
        let parts = self.parts()?;
        let Some(part) = parts.iter().find(|part| part.end > offset) else {
            return Ok(LogPiece {
                data: Vec::new(),
                next_offset: offset,
            });
        };
        if part.start > offset {
            return gap(offset, part);
        }
        let file = File::open(&part.path)?;
        let wanted = usize::try_from(part.end - offset)
            .unwrap_or(max_bytes)
            .min(max_bytes);
        let mut data = vec![0; wanted];
        let count = file.read_at(&mut data, offset - part.start)?;
        data.truncate(count);
        // A write is not seen as a whole: what has no newline yet is still being written, unless it is a line longer
        // than `max_bytes`, or the writer has gone on to the next file.
        let whole = data
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let is_last = parts.last().is_some_and(|last| last.start == part.start);
        if whole > 0 || (is_last && count < max_bytes) {
            data.truncate(whole);
        }
        Ok(LogPiece {
            next_offset: offset + data.len() as u64,
            data,
        })
    }

    /// Head and segments that have bytes, by their place.
    fn parts(&self) -> io::Result<Vec<Part>> {
        let mut parts = Vec::new();
        match fs::metadata(&self.path) {
            Ok(head) => parts.push(Part {
                start: 0,
                end: head.len(),
                path: self.path.clone(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(parts),
            Err(error) => return Err(error),
        }
        let (Some(folder), Some(name)) = (
            self.path.parent(),
            self.path.file_name().and_then(|name| name.to_str()),
        ) else {
            return Ok(parts);
        };
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let Some(start) = segment_start(name, &file_name) else {
                continue;
            };
            let bytes = entry.metadata()?.len();
            parts.push(Part {
                start,
                end: start.saturating_add(bytes),
                path: entry.path(),
            });
        }
        parts.sort_unstable_by_key(|part| part.start);
        Ok(parts)
    }
}

fn segment_start(log: &str, file_name: &std::ffi::OsStr) -> Option<u64> {
    let digits = file_name.to_str()?.strip_prefix(log)?.strip_prefix('.')?;
    if digits.len() == 20 {
        digits.parse().ok()
    } else {
        None
    }
}

/// The line that stands for what was left out, with the time of the first line after it.
fn gap(offset: u64, next: &Part) -> io::Result<LogPiece> {
    let bytes = next.start - offset;
    let Some(stamp) = first_stamp(&next.path)? else {
        return Ok(LogPiece {
            data: Vec::new(),
            next_offset: offset,
        });
    };
    let line = format!("{stamp} stderr F [petctl: {bytes} bytes of log left out here]\n");
    Ok(LogPiece {
        data: line.into_bytes(),
        next_offset: next.start,
    })
}

/// `None` while the first line is being written.
fn first_stamp(path: &Path) -> io::Result<Option<String>> {
    let mut start = [0_u8; 30];
    let count = File::open(path)?.read_at(&mut start, 0)?;
    Ok((count == start.len()).then(|| String::from_utf8_lossy(&start).into_owned()))
}
