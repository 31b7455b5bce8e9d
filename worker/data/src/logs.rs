//! Logs of attempts go to the storage, beside the outputs.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use petctl_storage::{SharedStore, StorageError};
use petctl_transfer::{NoProgress, Tuning, send_file};

use crate::problem::local;
use petctl_output::layout::{AttemptName, Layout};
use petctl_output::logs::LogReader;

/// Logs that stay here after they were sent, for those who are just reading them.
const KEPT_LOGS: usize = 256;
/// Their bytes together.
const KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes read of a log at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// Logs that have been sent, the oldest first.
#[derive(Debug, Default)]
pub(super) struct KeptLogs {
    logs: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    logs: VecDeque<(PathBuf, u64)>,
    bytes: u64,
}

impl KeptLogs {
    /// Keeps one more, and deletes what is too much.
    fn add(&self, log: PathBuf, bytes: u64) {
        let mut gone = Vec::new();
        {
            let mut kept = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
            kept.logs.push_back((log, bytes));
            kept.bytes += bytes;
            while kept.logs.len() > KEPT_LOGS || kept.bytes > KEPT_BYTES {
                let Some((log, bytes)) = kept.logs.pop_front() else {
                    break;
                };
                kept.bytes -= bytes;
                gone.push(log);
            }
        }
        for log in gone {
            for part in parts(&log) {
                // It may be gone with its job.
                let _ = fs::remove_file(part);
            }
        }
    }
}

/// Sends the log of an attempt that has ended. A command that printed nothing has none.
pub(super) async fn send(
    kept: &KeptLogs,
    layout: &Layout,
    name: AttemptName<'_>,
    store: &SharedStore,
    tuning: &Tuning,
) -> Result<(), StorageError> {
    let log = layout.log(name);
    let Ok(below) = log.strip_prefix(layout.root()) else {
        return Ok(());
    };
    let files = parts(&log);
    let bytes: u64 = files
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|metadata| metadata.len())
        .sum();
    let target = below.to_string_lossy();
    match files.as_slice() {
        [] => return Ok(()),
        [only] => {
            send_file(store, &target, only, tuning, &NoProgress).await?;
        }
        _ => {
            let whole = log.with_extension("whole");
            join(&log, &whole).map_err(|error| local("write", &whole, error))?;
            let sent = send_file(store, &target, &whole, tuning, &NoProgress).await;
            let _ = fs::remove_file(&whole);
            sent?;
        }
    }
    kept.add(log, bytes);
    Ok(())
}

/// The head of a log and its segments.
fn parts(log: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(OsStr::to_str)) else {
        return Vec::new();
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|file| file.starts_with(name))
        })
        .collect()
}

/// As readers see it: what was left out is told by a line.
fn join(log: &Path, whole: &Path) -> io::Result<()> {
    let reader = LogReader::new(log);
    let mut file = File::create(whole)?;
    let mut offset = 0;
    loop {
        let piece = reader.read(offset, PIECE_BYTES)?;
        if piece.data.is_empty() {
            return file.flush();
        }
        file.write_all(&piece.data)?;
        offset = piece.next_offset;
    }
}
