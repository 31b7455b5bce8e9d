//! Small files of the launcher's own: private, written whole, locked.

use petctl_ui::error::{Code, Error};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Most bytes of a file of the launcher's own that are read.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// A file locked by this process until it is dropped or the process dies, however that happens.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or answers `None` where another process has it.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = open_lock(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The locked file: whoever it is handed to holds the lock too.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Takes the lock, waiting for whoever has it. Blocks the thread.
    pub fn wait(path: &Path) -> io::Result<Self> {
        let file = open_lock(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self { file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Makes a folder that only this user can look into, and those above it.
pub fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Reads a small file; `None` where it is not there.
pub fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => Err(io::Error::other(format!(
            "it has {} bytes, more than it can have",
            metadata.len()
        ))),
        Ok(_) => fs::read(path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file so that a reader sees the old or the new one, never half of it.
pub fn write_whole(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&text)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

/// The error for a file of petctl's own: "can't VERB PATH".
pub fn state_error(path: &Path, verb: &str, cause: &(dyn std::error::Error + 'static)) -> Error {
    Error::new(
        Code::StateFolder,
        format!("can't {verb} {}", path.display()),
    )
    .because(cause)
    .fix("make the folder writable for you, or name another one by --home DIR or PETCTL_HOME")
}

/// Now, in ms since 1970.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
