//! Small files of the launcher's own: private, written whole, locked.

use petctl_text::obstacle::Obstacle;
use petctl_ui::error::{Code, Error};
use serde::Serialize;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long those who only look whether a lock is taken may be in the way of one that takes it.
const LOOKS_TAKE: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);
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
        let give_up = Instant::now() + LOOKS_TAKE;
        while !lock_now(&file, File::try_lock)? {
            // Who only looks shares it with others who look, and is gone in a moment.
            if !lock_now(&file, File::try_lock_shared)? || Instant::now() >= give_up {
                return Ok(None);
            }
            file.unlock()?;
            thread::sleep(PAUSE);
        }
        Ok(Some(Self { file }))
    }

    /// Whether somebody has the lock. Looking is in nobody's way.
    pub fn is_taken(path: &Path) -> bool {
        let file = OpenOptions::new().read(true).open(path);
        file.is_ok_and(|file| matches!(lock_now(&file, File::try_lock_shared), Ok(false)))
    }

    /// The locked file: whoever it is handed to holds the lock too.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Takes the lock, waiting for whoever has it. Blocks the thread.
    pub fn wait(path: &Path) -> io::Result<Self> {
        let file = open_lock(path)?;
        loop {
            match file.lock() {
                Ok(()) => return Ok(Self { file }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn lock_now(file: &File, lock: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<bool> {
    match lock(file) {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
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

/// Writes a value as a file of JSON that readers see whole.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    petctl_output::write_whole(path, &text)
}

/// The error for a file of petctl's own: "can't VERB PATH".
pub fn state_error(path: &Path, verb: &str, cause: &(dyn std::error::Error + 'static)) -> Error {
    let what = format!("can't {verb} {}", path.display());
    let obstacle = Obstacle::behind(cause);
    let code = if obstacle.is_full() {
        Code::StateDiskFull
    } else {
        Code::StateFolder
    };
    Error::new(code, what)
        .because(cause)
        .fix(obstacle.fix_writing("name another folder by --home DIR or PETCTL_HOME"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// As Linux numbers what has nothing to do with rights: a full disk, a quota, and so on.
    const NO_RIGHTS: [i32; 9] = [28, 122, 27, 30, 36, 40, 24, 5, 116];

    #[test]
    fn what_is_no_matter_of_rights_is_not_told_to_be_one() {
        let path = Path::new("/somewhere");
        let said = |cause: &io::Error| {
            let errors = [
                state_error(path, "write", cause),
                crate::owner::unwritable(&path.display(), "write", cause),
            ];
            errors.map(|error| error.blocks()[0].fix.clone())
        };
        for number in NO_RIGHTS {
            for fix in said(&io::Error::from_raw_os_error(number)) {
                assert!(
                    !fix.contains("right to") && !fix.contains("for you"),
                    "{number}: {fix}"
                );
            }
        }
        for fix in said(&io::ErrorKind::PermissionDenied.into()) {
            assert!(fix.contains("right to write"), "{fix}");
        }
    }

    #[test]
    fn whoever_only_looks_at_a_lock_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.lock");
        assert!(!Lock::is_taken(&path));
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        Lock::is_taken(&path);
                    }
                });
            }
            for _ in 0..200 {
                let lock = Lock::try_take(&path).unwrap();
                assert!(lock.is_some());
                assert!(Lock::is_taken(&path));
                assert!(Lock::try_take(&path).unwrap().is_none());
            }
            ended.store(true, Ordering::Relaxed);
        });
        assert!(!Lock::is_taken(&path));
    }
}
