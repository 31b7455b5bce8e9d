//! Hashes many files at once.

use super::cache::{HashCache, Sha};
use petctl_text::obstacle::Obstacle;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::bytes;
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// Threads that read at most: more only make a disk seek.
const MAX_THREADS: usize = 16;
/// How often a file that is written to meanwhile is read again.
const MAX_READS: u32 = 3;
/// First distance of two lines that say how far it is; it doubles up to [`MAX_DISTANCE`].
const MIN_DISTANCE: Duration = Duration::from_secs(2);
const MAX_DISTANCE: Duration = Duration::from_secs(30);

/// By what a file that has not changed is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) size: u64,
    pub(super) modified_ns: i64,
    pub(super) changed_ns: i64,
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            size: metadata.size(),
            modified_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// SHA-256 of each file, in their order. Files that `cache` knows are not read. `say` is told how far it is, seldom.
pub(super) fn hash_all(
    files: &[PathBuf],
    cache: &mut HashCache,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Sha>> {
    let known: &HashCache = cache;
    let next = AtomicUsize::new(0);
    let ready = AtomicUsize::new(0);
    let read_bytes = AtomicU64::new(0);
    let failed: Mutex<Option<(usize, io::Error)>> = Mutex::new(None);
    let work = || {
        let mut found = Vec::new();
        let mut buffer = vec![0_u8; PIECE_BYTES];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = files.get(index) else {
                return found;
            };
            match hash(path, known, &mut buffer, &read_bytes) {
                Ok(hashed) => found.push((index, hashed)),
                Err(error) => {
                    if let Ok(mut first) = failed.lock()
                        && first.as_ref().is_none_or(|(at, _)| index < *at)
                    {
                        *first = Some((index, error));
                    }
                    // Nobody starts on another one.
                    next.store(files.len(), Ordering::Relaxed);
                    return found;
                }
            }
            ready.fetch_add(1, Ordering::Relaxed);
        }
    };
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads(files.len()))
            .map(|_| scope.spawn(work))
            .collect();
        say_how_far(&threads, &ready, &read_bytes, files.len(), say);
        let ended = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.collect::<std::result::Result<Vec<_>, _>>()
    });
    let found =
        found.map_err(|_panic| Error::new(Code::Bug, "a thread that reads inputs panicked"))?;
    if let Ok(Some((index, error))) = failed.into_inner() {
        let path = files
            .get(index)
            .map(PathBuf::as_path)
            .unwrap_or(Path::new(""));
        return Err(unreadable(path, &error));
    }
    let mut all = vec![[0; 32]; files.len()];
    for (index, hashed) in found.into_iter().flatten() {
        let (Some(slot), Some(path)) = (all.get_mut(index), files.get(index)) else {
            continue;
        };
        *slot = hashed.sha;
        match hashed.read_at_ns {
            None => cache.keep(path, hashed.identity, hashed.sha),
            Some(read_at_ns) => cache.put(path, hashed.identity, hashed.sha, read_at_ns),
        }
    }
    Ok(all)
}

struct Hashed {
    identity: Identity,
    sha: Sha,
    /// `None`: it was known.
    read_at_ns: Option<i128>,
}

fn hash(
    path: &Path,
    known: &HashCache,
    buffer: &mut [u8],
    read_bytes: &AtomicU64,
) -> io::Result<Hashed> {
    let mut identity = Identity::of(&std::fs::metadata(path)?);
    if let Some(sha) = known.get(path, &identity) {
        return Ok(Hashed {
            identity,
            sha,
            read_at_ns: None,
        });
    }
    let mut reads = 1;
    loop {
        let read_at_ns = now_ns();
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        loop {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(buffer.get(..count).unwrap_or_default());
                    read_bytes.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let after = Identity::of(&file.metadata()?);
        let sha = hasher.finalize().into();
        // One that never stands still is taken as it was; it is new enough not to be remembered.
        if after == identity || reads == MAX_READS {
            return Ok(Hashed {
                identity: after,
                sha,
                read_at_ns: Some(read_at_ns),
            });
        }
        identity = after;
        reads += 1;
    }
}

fn threads(files: usize) -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cpus.min(MAX_THREADS).min(files).max(1)
}

/// Says how far it is until all threads have ended.
fn say_how_far<T>(
    threads: &[std::thread::ScopedJoinHandle<'_, T>],
    ready: &AtomicUsize,
    read_bytes: &AtomicU64,
    files: usize,
    say: &(dyn Fn(&str) + Sync),
) {
    let mut distance = MIN_DISTANCE;
    let mut next = Instant::now() + distance;
    let mut nap = Duration::from_micros(200);
    while threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(50));
        if Instant::now() >= next {
            let done = ready.load(Ordering::Relaxed);
            let read = bytes(read_bytes.load(Ordering::Relaxed));
            say(&format!(
                "reading the inputs, to know later what changed: {done} of {files} files, {read} read"
            ));
            distance = (distance * 2).min(MAX_DISTANCE);
            next = Instant::now() + distance;
        }
    }
}

fn now_ns() -> i128 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

fn unreadable(path: &Path, cause: &io::Error) -> Error {
    Error::new(
        Code::InputUnreadable,
        format!("can't read {}", path.display()),
    )
    .because(cause)
    .fix(format!(
        "{}: its contents decide whether its shard has to run again",
        Obstacle::of(cause).fix_reading("take it out of the inputs")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_are_hashed_in_their_order_and_not_read_twice() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (0..100)
            .map(|n| folder.path().join(n.to_string()))
            .collect();
        for (n, file) in files.iter().enumerate() {
            std::fs::write(file, n.to_string()).unwrap();
            // Old enough to be remembered, but for the time of the last change, which nobody can set.
            let old = rustix::fs::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            let times = rustix::fs::Timestamps {
                last_access: old,
                last_modification: old,
            };
            rustix::fs::utimensat(rustix::fs::CWD, file, &times, rustix::fs::AtFlags::empty())
                .unwrap();
        }
        let mut cache = HashCache::none();
        let hashes = hash_all(&files, &mut cache, &|_| ()).unwrap();
        let expected: Sha = Sha256::digest("42").into();
        assert_eq!(hashes[42], expected);
        let gone = [files[3].clone(), folder.path().join("gone")];
        assert_eq!(
            hash_all(&gone, &mut cache, &|_| ()).unwrap_err().code(),
            "INPUT_UNREADABLE"
        );
    }
}
