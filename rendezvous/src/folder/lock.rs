//! One coordinator per state folder.

use crate::event_log::LogError;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for offline readers, who hold the lock for a moment.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// Held for as long as it lives; the system gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes the folder if need be and takes it for a coordinator.
    pub(crate) fn exclusive(dir: &Path) -> Result<Self, LogError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| LogError::from_io("make", dir, source))?;
        let path = lock_path(dir);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| LogError::from_io("open", &path, source))?;
        wait_for(dir, &path, || file.try_lock())?;
        write_pid(&mut file).map_err(|source| LogError::from_io("write", &path, source))?;
        Ok(Self { _file: file })
    }

    /// Keeps coordinators out while a state is read; changes nothing in the folder.
    pub(crate) fn shared(dir: &Path) -> Result<Option<Self>, LogError> {
        let path = lock_path(dir);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Nobody ever coordinated here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LogError::from_io("open", &path, source)),
        };
        wait_for(dir, &path, || file.try_lock_shared())?;
        Ok(Some(Self { _file: file }))
    }
}

fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

fn wait_for(
    dir: &Path,
    path: &Path,
    mut attempt: impl FnMut() -> Result<(), TryLockError>,
) -> Result<(), LogError> {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(LogError::InUse {
                    dir: dir.to_owned(),
                    pid: holder(path),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(LogError::from_io("lock", path, source));
            }
        }
    }
}

/// The pid that the holder wrote, if it has got that far.
fn holder(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::FolderLock;
    use crate::event_log::LogError;

    #[test]
    fn a_folder_in_use_is_refused_with_the_pid() {
        let dir = tempfile::tempdir().unwrap();
        let _held = FolderLock::exclusive(dir.path()).unwrap();
        let error = FolderLock::exclusive(dir.path()).unwrap_err();
        assert!(
            matches!(error, LogError::InUse { pid: Some(pid), .. } if pid == std::process::id())
        );
        assert_eq!(error.code().as_str(), "STATE_IN_USE");
        assert!(FolderLock::shared(dir.path()).is_err());
    }

    #[test]
    fn a_folder_is_free_again_when_its_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        drop(FolderLock::exclusive(dir.path()).unwrap());
        drop(FolderLock::shared(dir.path()).unwrap());
        FolderLock::exclusive(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_that_may_not_be_made_is_read_only() {
        // Not even root may make folders there.
        let error = FolderLock::exclusive(std::path::Path::new("/sys/petctl-state")).unwrap_err();
        assert_eq!(error.code().as_str(), "STATE_READ_ONLY", "{error}");
    }
}
