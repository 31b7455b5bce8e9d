//! The folder in which a worker keeps what it works on, for jobs in blob storage.
//!
//! ```text
//! <scratch>/<n>/                       of the one worker that holds the lock on it
//! <scratch>/<n>/cache/<hash>/<name>    staged inputs, for all jobs
//! <scratch>/<n>/trees/<hash>/<hash>/   whole input folders
//! <scratch>/<n>/incoming/              what is being fetched
//! <scratch>/<n>/trash/                 what is being deleted
//! <scratch>/<n>/old/                   the same, of a worker before this one
//! <scratch>/<n>/<job>-<id>/            outputs, as `layout` says; with the staged outputs of needed stages
//! ```

use petctl_text::obstacle::Obstacle;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use petctl_codes::Code;

use petctl_text::hex;

/// Workers that may share a scratch folder, on one machine.
const MAX_WORKERS: u32 = 4_096;
/// Names the start of the machine. What was written before a crash of the machine may have right names and wrong bytes.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The part of a scratch folder that is this process's own.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
    next: AtomicU64,
    /// Held as long as this lives.
    _lock: File,
}

/// Why there is no scratch folder, or none that can be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't {verb} {}, where petctl keeps what it stages: {reason}; {}",
    path.display(),
    Obstacle::of(reason).fix_writing("name another folder with `petctl worker --scratch`")
)]
pub(crate) struct ScratchError {
    verb: &'static str,
    path: PathBuf,
    reason: io::Error,
}

/// Whether the disk, or a quota, is used up.
pub(super) fn is_full(error: &io::Error) -> bool {
    Obstacle::of(error).is_full()
}

impl ScratchError {
    pub(crate) fn new(verb: &'static str, path: &Path, reason: io::Error) -> Self {
        Self {
            verb,
            path: path.to_owned(),
            reason,
        }
    }

    pub(crate) fn code(&self) -> Code {
        if is_full(&self.reason) {
            Code::DiskFull
        } else {
            Code::ScratchFolder
        }
    }
}

impl Scratch {
    /// Takes the first part of the folder that no living worker has. What a dead one left there is put aside, but for its
    /// cache.
    pub(crate) fn open(chosen: Option<&Path>) -> Result<Self, ScratchError> {
        let (root, made) = match chosen {
            Some(root) => (root.to_owned(), fs::create_dir_all(root)),
            None => {
                let root = default_root();
                let made = make_private(&root);
                (root, made)
            }
        };
        made.map_err(|error| ScratchError::new("use", &root, error))?;
        let (folder, lock) = (0..MAX_WORKERS)
            .find_map(|number| take(&root.join(number.to_string())).transpose())
            .unwrap_or_else(|| Err(io::Error::other("too many workers use it")))
            .map_err(|error| ScratchError::new("use", &root, error))?;
        let scratch = Self {
            folder,
            next: AtomicU64::new(0),
            _lock: lock,
        };
        scratch
            .clear()
            .map_err(|error| ScratchError::new("clear", &scratch.folder, error))?;
        Ok(scratch)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    pub(crate) fn trees(&self) -> PathBuf {
        self.folder.join("trees")
    }

    /// A path that nothing else uses, for something that is moved to its place when it is whole.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.folder.join("incoming").join(self.unique())
    }

    /// A new folder for the files of a job.
    pub(crate) fn job_folder(&self, job: &str, job_id: u64) -> Result<PathBuf, ScratchError> {
        // It may be here a second time while attempts of the first are still being stopped.
        for number in 1_u32.. {
            let suffix = if number == 1 {
                String::new()
            } else {
                format!(".{number}")
            };
            let folder = self.folder.join(format!("{job}-{job_id}{suffix}"));
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ScratchError::new("make", &folder, error)),
            }
        }
        Err(ScratchError::new(
            "use",
            &self.folder,
            io::Error::other("no name is left"),
        ))
    }

    /// Takes something out of sight, at once. Where it went, to be deleted; `None` where nothing was there.
    pub(crate) fn take_away(&self, path: &Path) -> Option<PathBuf> {
        let place = self.folder.join("trash").join(self.unique());
        match fs::rename(path, &place) {
            Ok(()) => Some(place),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "could not clear a part of the scratch folder");
                None
            }
        }
    }

    /// Deletes what [`Self::open`] found of earlier workers; this may take a while.
    pub(crate) fn delete_old(&self) {
        let old = self.folder.join("old");
        if let Err(error) = fs::remove_dir_all(&old) {
            tracing::info!(path = %old.display(), %error, "could not delete what an earlier worker left");
        }
    }

    fn unique(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    fn clear(&self) -> io::Result<()> {
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let mark = self.folder.join("boot");
        let same_boot = fs::read_to_string(&mark).is_ok_and(|then| then == boot);
        let old = self.folder.join("old");
        fs::create_dir_all(&old)?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let stays = name == "lock" || name == "old";
            if stays || same_boot && (name == "cache" || name == "trees") {
                continue;
            }
            fs::rename(entry.path(), old.join(random_name()?))?;
        }
        for name in ["cache", "trees", "incoming", "trash"] {
            fs::create_dir_all(self.folder.join(name))?;
        }
        fs::write(mark, boot)
    }
}

fn random_name() -> io::Result<String> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(hex(&random))
}

/// One for each user, so that nobody else can put things there.
fn default_root() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("petctl-{user}"))
}

/// Makes the folder, for this user alone; refuses one that others may look into or put things in.
fn make_private(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let metadata = fs::symlink_metadata(folder)?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if metadata.is_dir() && own && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "it is no folder of this user's own, or others may look into it",
    ))
}

/// `None` where another worker has it, or another user.
fn take(folder: &Path) -> io::Result<Option<(PathBuf, File)>> {
    match make_private(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && folder.exists() => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some((folder.to_owned(), lock))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_a_part_of_its_own_and_finds_its_cache_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("scratch");
        let first = Scratch::open(Some(&folder)).unwrap();
        let second = Scratch::open(Some(&folder)).unwrap();
        assert_ne!(first.folder, second.folder);
        let job = first.job_folder("resim", 7).unwrap();
        assert_ne!(job, first.job_folder("resim", 7).unwrap());
        fs::write(first.cache().join("x"), "x").unwrap();
        let place = first.folder.clone();
        drop(first);
        let again = Scratch::open(Some(&folder)).unwrap();
        assert_eq!(again.folder, place);
        assert!(again.cache().join("x").exists() && !job.exists());
    }

    #[test]
    fn what_was_written_before_the_machine_went_down_is_not_trusted() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(Some(root.path())).unwrap();
        fs::write(scratch.cache().join("x"), "x").unwrap();
        fs::write(scratch.folder.join("boot"), "another").unwrap();
        drop(scratch);
        let scratch = Scratch::open(Some(root.path())).unwrap();
        assert!(!scratch.cache().join("x").exists());
    }

    #[test]
    fn a_part_that_others_may_look_into_is_left_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("0")).unwrap();
        fs::set_permissions(root.path().join("0"), fs::Permissions::from_mode(0o777)).unwrap();
        let scratch = Scratch::open(Some(root.path())).unwrap();
        assert_eq!(scratch.folder, root.path().join("1"));
        assert!(!root.path().join("0/lock").exists());
    }

    #[test]
    fn a_scratch_folder_that_can_not_be_is_told() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let error = Scratch::open(Some(&root.path().join("file"))).unwrap_err();
        assert_eq!(error.code(), Code::ScratchFolder);
        assert!(error.to_string().contains("--scratch"), "{error}");
    }

    #[test]
    fn what_is_taken_away_is_gone_at_once() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(Some(root.path())).unwrap();
        let path = scratch.folder.join("a");
        fs::create_dir(&path).unwrap();
        let place = scratch.take_away(&path).unwrap();
        assert!(place.exists() && !path.exists());
        assert_eq!(scratch.take_away(&path), None);
    }
}
