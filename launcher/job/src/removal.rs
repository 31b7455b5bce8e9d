//! Folders that go for good with all that is in them: by several threads, counted, and stopped between two files where
//! nobody waits for the end any more.

use petctl_transfer::Progress as _;
use petctl_ui::terminal::Meter;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

/// Most threads; more of them only wait for the same disk.
const MAX_THREADS: usize = 8;

/// What could not be removed. What was tried before is gone.
#[derive(Debug)]
pub struct NotRemoved {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system says.
    pub error: io::Error,
}

/// Removes folders, or files, with all that is in them; how many of them went. What is not there is gone already. Links
/// are not followed. The meter is told of every file.
///
/// # Errors
/// The first that can't be removed; nothing more is tried then. What is left can be removed by the same again.
pub async fn remove_all(paths: Vec<PathBuf>, meter: &Arc<Meter>) -> Result<u64, NotRemoved> {
    let stop = Arc::new(AtomicBool::new(false));
    // Where this future is dropped, the threads end after the file that they are at.
    let _stopping = Stopping(Arc::clone(&stop));
    let meter = Arc::clone(meter);
    let work = tokio::task::spawn_blocking(move || remove_now(paths, &meter, &stop));
    work.await.unwrap_or_else(|error| {
        Err(NotRemoved {
            path: PathBuf::new(),
            error: io::Error::other(error),
        })
    })
}

struct Stopping(Arc<AtomicBool>);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn remove_now(paths: Vec<PathBuf>, meter: &Meter, stop: &AtomicBool) -> Result<u64, NotRemoved> {
    let roots = paths.into_iter().map(|path| Arc::new(Folder::root(path)));
    let work = Work {
        meter,
        stop,
        roots_gone: AtomicU64::new(0),
        state: Mutex::new(State {
            waiting: roots.rev().collect(),
            ..State::default()
        }),
        more: Condvar::new(),
    };
    let threads = thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    thread::scope(|scope| {
        for _ in 1..threads.min(MAX_THREADS) {
            scope.spawn(|| work.run());
        }
        work.run();
    });
    let state = work
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(failed) => Err(failed),
        None => Ok(work.roots_gone.into_inner()),
    }
}

/// A folder on its way out.
struct Folder {
    parent: Option<Arc<Self>>,
    /// In its parent; of a root, the path to it.
    name: PathBuf,
    /// From the first look at it on. Folders in it are reached through it, wherever links lead by now.
    opened: OnceLock<OwnedFd>,
    /// Folders in it that are still there, and one more until it was looked at.
    left: AtomicUsize,
}

impl Folder {
    fn root(path: PathBuf) -> Self {
        Self {
            parent: None,
            name: path,
            opened: OnceLock::new(),
            left: AtomicUsize::new(1),
        }
    }

    fn below(parent: &Arc<Self>, name: &CStr) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        Self {
            parent: Some(Arc::clone(parent)),
            ..Self::root(std::ffi::OsStr::from_bytes(name.to_bytes()).into())
        }
    }

    /// What its name is to be looked for in.
    fn at(&self) -> BorrowedFd<'_> {
        let opened = self.parent.as_ref().and_then(|parent| parent.opened.get());
        opened.map_or(CWD, AsFd::as_fd)
    }

    fn path(&self) -> PathBuf {
        match &self.parent {
            Some(parent) => parent.path().join(&self.name),
            None => self.name.clone(),
        }
    }
}

struct Work<'a> {
    meter: &'a Meter,
    stop: &'a AtomicBool,
    roots_gone: AtomicU64,
    state: Mutex<State>,
    /// Something waits, or nothing will any more.
    more: Condvar,
}

#[derive(Default)]
struct State {
    /// Folders that nobody has looked at; the newest first, so that few are open at a time.
    waiting: Vec<Arc<Folder>>,
    /// Threads that may find more.
    busy: usize,
    failed: Option<NotRemoved>,
}

impl Work<'_> {
    fn run(&self) {
        while let Some(folder) = self.next() {
            let done = self.empty(&folder).and_then(|()| self.leave(&folder));
            let mut state = self.lock();
            state.busy -= 1;
            if let Err(failed) = done {
                state.failed.get_or_insert(failed);
            }
            if state.busy == 0 || state.failed.is_some() {
                self.more.notify_all();
            }
        }
    }

    fn next(&self) -> Option<Arc<Folder>> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() || self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(folder) = state.waiting.pop() {
                state.busy += 1;
                return Some(folder);
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .more
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Removes the files of a folder, and has the folders in it looked at.
    fn empty(&self, folder: &Arc<Folder>) -> Result<(), NotRemoved> {
        let failed = |name: &Path, errno: Errno| NotRemoved {
            path: folder.path().join(name),
            error: errno.into(),
        };
        let own = |errno| NotRemoved {
            path: folder.path(),
            error: io::Error::from(errno),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match openat(folder.at(), &folder.name, flags, Mode::empty()) {
            Ok(opened) => folder.opened.get_or_init(|| opened),
            // A file or a link, or gone.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {
                let unlinked = unlinkat(folder.at(), &folder.name, AtFlags::empty());
                return self.went(unlinked).map_err(own);
            }
            Err(errno) => return Err(own(errno)),
        };
        for entry in Dir::read_from(opened).map_err(own)? {
            let entry = entry.map_err(own)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let failed = |errno| failed(Path::new(name.to_string_lossy().as_ref()), errno);
            if is_folder(opened, &entry).map_err(failed)? {
                folder.left.fetch_add(1, Ordering::Relaxed);
                let inner = Arc::new(Folder::below(folder, name));
                self.lock().waiting.push(inner);
                self.more.notify_one();
            } else {
                let unlinked = unlinkat(opened, name, AtFlags::empty());
                self.went(unlinked).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// What somebody else removed meanwhile is gone as well.
    fn went(&self, unlinked: rustix::io::Result<()>) -> rustix::io::Result<()> {
        match unlinked {
            Ok(()) => {
                self.meter.removed(1);
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// It was looked at: where nothing is left in it, it goes, and with it each one above in which it was the last.
    fn leave(&self, folder: &Arc<Folder>) -> Result<(), NotRemoved> {
        let mut next = Some(folder);
        while let Some(folder) = next {
            if self.stop.load(Ordering::Relaxed) || folder.left.fetch_sub(1, Ordering::AcqRel) > 1 {
                return Ok(());
            }
            match unlinkat(folder.at(), &folder.name, AtFlags::REMOVEDIR) {
                // A root that was a file is gone by now.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => {
                    return Err(NotRemoved {
                        path: folder.path(),
                        error: errno.into(),
                    });
                }
            }
            if folder.parent.is_none() {
                self.roots_gone.fetch_add(1, Ordering::Relaxed);
            }
            next = folder.parent.as_ref();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not every file system says it with the name.
fn is_folder(opened: &OwnedFd, entry: &rustix::fs::DirEntry) -> rustix::io::Result<bool> {
    match entry.file_type() {
        FileType::Directory => Ok(true),
        FileType::Unknown => match statat(opened, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(known) => Ok(FileType::from_raw_mode(known.st_mode) == FileType::Directory),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        },
        FileType::RegularFile
        | FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn fill(root: &Path) {
        for shard in 0..40 {
            let folder = root.join(format!("{shard}/deep/er"));
            fs::create_dir_all(&folder).unwrap();
            for file in 0..5 {
                fs::write(folder.join(file.to_string()), "x").unwrap();
            }
            fs::write(root.join(format!("{shard}/top")), "x").unwrap();
        }
    }

    async fn remove(paths: &[PathBuf], meter: &Arc<Meter>) -> Result<u64, NotRemoved> {
        remove_all(paths.to_vec(), meter).await
    }

    #[tokio::test]
    async fn all_goes_and_is_counted_and_what_links_lead_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fill(&at("a"));
        fill(&at("b"));
        fs::create_dir(at("stays")).unwrap();
        fs::write(at("stays/file"), "x").unwrap();
        symlink(at("stays"), at("a/link")).unwrap();
        symlink(at("stays"), at("c")).unwrap();
        fs::write(at("d"), "x").unwrap();
        let meter = Arc::new(Meter::default());
        let paths = ["a", "b", "c", "d", "not-there"].map(at);
        assert_eq!(remove(&paths, &meter).await.unwrap(), 5);
        assert_eq!(meter.gone(), 2 * 40 * 6 + 3);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(at("stays/file").exists());
    }

    #[tokio::test]
    async fn what_can_not_go_is_named() {
        if rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("a/3/deep");
        fill(&folder.path().join("a"));
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o500)).unwrap();
        let meter = Arc::new(Meter::default());
        let failed = remove(&[folder.path().join("a")], &meter)
            .await
            .unwrap_err();
        assert_eq!(failed.path, kept.join("er"));
        assert_eq!(failed.error.kind(), io::ErrorKind::PermissionDenied);
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o700)).unwrap();
        let again = remove(&[folder.path().join("a")], &meter).await;
        assert_eq!(again.unwrap(), 1);
    }

    #[test]
    fn what_is_stopped_can_be_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a");
        fill(&root);
        let meter = Meter::default();
        let stop = AtomicBool::new(true);
        assert_eq!(remove_now(vec![root.clone()], &meter, &stop).unwrap(), 0);
        assert_eq!(meter.gone(), 0);
        stop.store(false, Ordering::Relaxed);
        assert_eq!(remove_now(vec![root.clone()], &meter, &stop).unwrap(), 1);
        assert!(!root.exists());
    }
}
