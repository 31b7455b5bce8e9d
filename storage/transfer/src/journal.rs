//! What a transfer has finished, kept from run to run: lines of JSON, one per file. With it a repeated command compares
//! thousands of files by their times alone; without it, or with a broken one, by their bytes.

use super::local::local_error;
use super::send::Stamp;
use petctl_output::write_whole;
use petctl_storage::ETag;
use petctl_storage::StorageError;
use petctl_text::{hex, unhex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Largest journal that is read; a larger one starts afresh.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// A file written this shortly before it was read may be written again without its time changing.
const YOUNG_NS: i128 = 50_000_000;
/// The same where times are kept in whole seconds.
const YOUNG_COARSE_NS: i128 = 2_000_000_000;

/// What was the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Of the local file.
    pub(crate) stamp: Stamp,
    pub(crate) md5: [u8; 16],
    /// Of the name in the store.
    pub(crate) etag: ETag,
}

#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    size: u64,
    mtime_ns: i64,
    md5: String,
    etag: String,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    known: BTreeMap<String, Known>,
    file: Option<Mutex<File>>,
    path: PathBuf,
}

impl Journal {
    /// Remembers nothing.
    pub(crate) fn none() -> Self {
        Self {
            known: BTreeMap::new(),
            file: None,
            path: PathBuf::new(),
        }
    }

    /// Reads the journal at `path` and goes on with it. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let failed = |error: &std::io::Error| local_error("keep a journal in", path, error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(|error| failed(&error))?;
        let mut text = Vec::new();
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if length <= MAX_BYTES {
            file.read_to_end(&mut text)
                .map_err(|error| failed(&error))?;
        }
        let mut lines = 0_usize;
        let mut known = BTreeMap::new();
        for line in text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            lines += 1;
            // A line that was cut off when its writer died says nothing.
            if let Some((name, entry)) = serde_json::from_slice(line).ok().and_then(read) {
                known.insert(name, entry);
            }
        }
        let mut journal = Self {
            known,
            file: Some(Mutex::new(file)),
            path: path.to_owned(),
        };
        let torn = text.last().is_some_and(|byte| *byte != b'\n');
        if torn || length > MAX_BYTES || lines > 1_000 + 2 * journal.known.len() {
            journal.rewrite().map_err(|error| failed(&error))?;
        }
        Ok(journal)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Known> {
        self.known.get(name)
    }

    /// Remembers a file that is the same on both sides, unless it is so young that its time says little.
    pub(crate) fn note(&self, name: &str, known: &Known) {
        if !is_young(known.stamp) {
            self.note_written(name, known);
        }
    }

    /// Remembers a file that was written just now, whole.
    pub(crate) fn note_written(&self, name: &str, known: &Known) {
        let Some(file) = &self.file else { return };
        let text = line(name, known);
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // Without its line the file is compared by its bytes the next time.
        let _written = file.write_all(text.as_bytes());
    }

    fn rewrite(&mut self) -> std::io::Result<()> {
        let mut text = String::new();
        for (name, known) in &self.known {
            text.push_str(&line(name, known));
        }
        write_whole(&self.path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&self.path)?;
        self.file = Some(Mutex::new(file));
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let _synced = file.sync_data();
        }
    }
}

fn is_young(stamp: Stamp) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
        });
    let coarse = stamp.mtime_ns % 1_000_000_000 == 0;
    now - stamp.mtime_ns < if coarse { YOUNG_COARSE_NS } else { YOUNG_NS }
}

fn line(name: &str, known: &Known) -> String {
    let line = Line {
        name: name.to_owned(),
        size: known.stamp.size,
        mtime_ns: i64::try_from(known.stamp.mtime_ns).unwrap_or(i64::MAX),
        md5: hex(&known.md5),
        etag: known.etag.0.clone(),
    };
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

fn read(line: Line) -> Option<(String, Known)> {
    let md5 = unhex(&line.md5)?;
    let known = Known {
        stamp: Stamp {
            size: line.size,
            mtime_ns: i128::from(line.mtime_ns),
        },
        md5,
        etag: ETag(line.etag),
    };
    Some((line.name, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_survives_a_torn_line_and_forgets_young_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/journal");
        let known = |mtime_ns| Known {
            stamp: Stamp { size: 3, mtime_ns },
            md5: [7; 16],
            etag: ETag("\"0x1\"".to_owned()),
        };
        let journal = Journal::open(&path).unwrap();
        journal.note("a b/é", &known(1_700_000_000_123_456_789));
        journal.note("young", &known(i128::from(i64::MAX)));
        drop(journal);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"name\":\"to");
        fs::write(&path, text).unwrap();

        let journal = Journal::open(&path).unwrap();
        assert_eq!(
            journal.get("a b/é"),
            Some(&known(1_700_000_000_123_456_789))
        );
        assert_eq!(journal.get("young"), None);
        journal.note("next", &known(5));
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.get("next"), Some(&known(5)));
    }
}
