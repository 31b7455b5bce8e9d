//! `<name>.petctl-part`: a file that is not all here yet. Behind its bytes stands which of its blocks are there, as
//! lines of JSON, so that whatever dies, the next attempt goes on; the lines are cut off when the file is whole.

use super::local::local_error;
use petctl_output::folders::in_folder;
use petctl_storage::Properties;
use petctl_storage::StorageError;
use petctl_text::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Ending of the names of unfinished files.
pub const PART_ENDING: &str = ".petctl-part";
/// Longest file name of the usual file systems, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Longest list of blocks that is read.
const MAX_LIST_BYTES: u64 = 4 * 1024 * 1024;

/// The path of a file while it is not whole.
pub(crate) fn part_path(to: &Path) -> PathBuf {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    if name.len() + PART_ENDING.len() <= MAX_NAME_BYTES {
        return to.with_file_name(format!("{name}{PART_ENDING}"));
    }
    let digest = hex(&Sha256::digest(name.as_bytes()));
    to.with_file_name(format!("{}{PART_ENDING}", &digest[..32]))
}

/// Whose blocks they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u32,
    etag: String,
    size: u64,
    block: u64,
    /// The system's start: what was written before it may never have reached the disk.
    boot: String,
}

/// An unfinished file.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    path: PathBuf,
    size: u64,
    block_bytes: u64,
    /// Where the next line of the list goes.
    end: Mutex<u64>,
}

impl Part {
    /// Opens the part of `to`, with the blocks that are there; afresh where it is of another version.
    pub(crate) fn open(
        to: &Path,
        properties: &Properties,
        block_bytes: u64,
    ) -> Result<(Self, Vec<bool>), StorageError> {
        let path = part_path(to);
        let failed = |error: &io::Error| local_error("write", &path, error);
        let file = open_in_folder(&path).map_err(|error| failed(&error))?;
        let head = Head {
            version: 1,
            etag: properties.etag.0.clone(),
            size: properties.size,
            block: block_bytes,
            boot: boot_id(),
        };
        let count = usize::try_from(properties.size.div_ceil(block_bytes)).unwrap_or(usize::MAX);
        let mut done = vec![false; count];
        let end = match read_list(&file, &head, &mut done) {
            Some(end) => end,
            None => start(&file, &head).map_err(|error| failed(&error))?,
        };
        let part = Self {
            file,
            path,
            size: properties.size,
            block_bytes,
            end: Mutex::new(end),
        };
        Ok((part, done))
    }

    pub(crate) fn offset(&self, block: usize) -> u64 {
        block as u64 * self.block_bytes
    }

    pub(crate) fn length(&self, block: usize) -> u64 {
        self.block_bytes.min(self.size - self.offset(block))
    }

    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|error| local_error("write", &self.path, &error))
    }

    /// Fills the buffer from what was written.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|error| local_error("read", &self.path, &error))
    }

    /// Notes that all of a block is there.
    pub(crate) fn mark(&self, block: usize) -> Result<(), StorageError> {
        let line = format!("{block}\n");
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(line.as_bytes(), *end)?;
        *end += line.len() as u64;
        Ok(())
    }

    /// Makes it the file, whole.
    pub(crate) fn finish(&self, to: &Path) -> Result<(), StorageError> {
        self.file
            .set_len(self.size)
            .and_then(|()| fs::rename(&self.path, to))
            .map_err(|error| local_error("write", to, &error))
    }

    /// Removes it: its bytes are wrong.
    pub(crate) fn remove(&self) {
        // What can't be removed is written over by the next attempt.
        let _removed = fs::remove_file(&self.path);
    }
}

/// Opens a file to be written, making its folder where that is missing.
pub(crate) fn open_in_folder(path: &Path) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
    };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => path
            .parent()
            .map_or_else(open, |folder| in_folder(folder, open)),
        opened => opened,
    }
}

fn start(file: &File, head: &Head) -> io::Result<u64> {
    file.set_len(0)?;
    file.set_len(head.size)?;
    reserve(file, head.size)?;
    let mut line = serde_json::to_vec(head)?;
    line.push(b'\n');
    file.write_all_at(&line, head.size)?;
    Ok(head.size + line.len() as u64)
}

/// A disk that is too small says so now, not after an hour.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Err(error.into()),
        // Not every file system can.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads the list behind the bytes into `done`; answers where it goes on. `None`: it is not of this version.
fn read_list(file: &File, head: &Head, done: &mut [bool]) -> Option<u64> {
    let length = file.metadata().ok()?.len().checked_sub(head.size)?;
    if length == 0 || length > MAX_LIST_BYTES {
        return None;
    }
    let mut text = vec![0_u8; usize::try_from(length).ok()?];
    file.read_exact_at(&mut text, head.size).ok()?;
    // A last line without an end was cut off when the writer died.
    let whole = text.iter().rposition(|byte| *byte == b'\n')? + 1;
    let text = std::str::from_utf8(text.get(..whole)?).ok()?;
    let mut lines = text.lines();
    if serde_json::from_str::<Head>(lines.next()?).ok()? != *head {
        return None;
    }
    for line in lines {
        let block: usize = line.parse().ok()?;
        *done.get_mut(block)? = true;
    }
    Some(head.size + whole as u64)
}

fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
