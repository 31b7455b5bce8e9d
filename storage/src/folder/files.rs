//! The folder's files, for the thread that works on them.

use super::HIDDEN;
use crate::error::{StorageError, StorageProblem};
use crate::store::{BlockId, Body, Condition, ETag, Properties, PutOutcome};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use md5::{Digest as _, Md5};
use petctl_output::folders::{in_folder, make_folders};
use petctl_output::layout::check_relative;
use petctl_text::hex;
use petctl_text::obstacle::Obstacle;
use sha2::Sha256;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Bytes of one piece of a body.
const PIECE_BYTES: usize = 256 * 1024;

/// The folder, for the thread that works in it.
pub(super) struct Folder {
    pub(super) root: PathBuf,
}

impl Folder {
    fn path(&self, name: &str) -> Result<PathBuf, StorageError> {
        let shown = || format!("{}/{name}", self.root.display());
        let refuse = |why: &str| {
            StorageError::new(
                StorageProblem::BadName,
                format!("{:?} can't be the name of a file: {why}", shown()),
            )
            .fix("rename it")
        };
        check_relative(name.strip_suffix('/').unwrap_or(name)).map_err(refuse)?;
        if name.contains('\0') {
            return Err(refuse("it has control characters"));
        }
        if name.split('/').any(|part| part == HIDDEN) {
            return Err(refuse("petctl uses that name for itself"));
        }
        Ok(self.root.join(name))
    }

    /// The path to write to, its folder made. A link that leads out of the root is not followed.
    fn writable(&self, name: &str) -> Result<PathBuf, StorageError> {
        let path = self.path(name)?;
        if !self.root.is_dir() {
            return Err(self.missing_root());
        }
        let parent = path.parent().unwrap_or(&self.root);
        let failed = |error: io::Error| local(&error, "make", parent);
        let real_root = self.root.canonicalize().map_err(failed)?;
        // The part that is there already decides where new folders would come to be.
        let there = parent.ancestors().find(|path| path.exists());
        let real = there.unwrap_or(&self.root).canonicalize().map_err(failed)?;
        if !real.starts_with(&real_root) {
            return Err(StorageError::new(
                StorageProblem::BadName,
                format!("{} leads out of {}", path.display(), self.root.display()),
            )
            .fix("remove the link"));
        }
        make_folders(parent).map_err(failed)?;
        Ok(path)
    }

    pub(super) fn missing_root(&self) -> StorageError {
        StorageError::new(
            StorageProblem::NotFound,
            format!("the folder {} is not there", self.root.display()),
        )
        .fix("make it, or check the path")
    }

    pub(super) fn head(&self, name: &str) -> Result<Option<Properties>, StorageError> {
        let path = self.path(name)?;
        match fs::metadata(&path) {
            Ok(known) if known.is_file() => Ok(Some(properties(&known))),
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) && self.root.is_dir() => Ok(None),
            Err(error) if is_absent(&error) => Err(self.missing_root()),
            Err(error) => Err(local(&error, "look at", &path)),
        }
    }

    pub(super) fn get(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        etag: Option<&ETag>,
    ) -> Result<Body, StorageError> {
        let path = self.path(name)?;
        let error = |problem, why: &str| {
            StorageError::new(problem, format!("can't read {}: {why}", path.display()))
        };
        let mut file = File::open(&path).map_err(|failure| {
            if is_absent(&failure) {
                error(StorageProblem::NotFound, "it is not there")
            } else {
                local(&failure, "read", &path)
            }
        })?;
        let known = file
            .metadata()
            .map_err(|failure| local(&failure, "read", &path))?;
        if !known.is_file() {
            return Err(error(StorageProblem::NotFound, "it is no file"));
        }
        let properties = properties(&known);
        if etag.is_some_and(|etag| *etag != properties.etag) {
            return Err(error(
                StorageProblem::Changed,
                "it was changed by somebody else in the meantime",
            ));
        }
        let range = range.unwrap_or(0..properties.size);
        if range.start > properties.size
            || (range.start == properties.size && range.end > range.start && range.start > 0)
        {
            return Err(error(StorageProblem::Changed, "it is shorter than it was"));
        }
        let wanted = range.end.min(properties.size).saturating_sub(range.start);
        file.seek(SeekFrom::Start(range.start))
            .map_err(|failure| local(&failure, "read", &path))?;
        Ok(Body {
            properties,
            bytes: read_along(file, wanted, path),
        })
    }

    pub(super) fn put(
        &self,
        name: &str,
        bytes: &[u8],
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        if name.ends_with('/') && bytes.is_empty() {
            let path = self.writable(name)?;
            make_folders(&path).map_err(|error| local(&error, "make", &path))?;
            return Ok(PutOutcome::Done(ETag(String::from("\"folder\""))));
        }
        let path = self.writable(name)?;
        let (temporary, mut file) = self.temporary()?;
        let written = file.write_all(bytes).and_then(|()| finish(&file));
        written.map_err(|error| local(&error, "write", &path))?;
        self.publish(&temporary, &path, condition)
    }

    /// Puts a whole file in its place, if the condition holds.
    fn publish(
        &self,
        temporary: &Temporary,
        path: &Path,
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let failed = |error: io::Error| local(&error, "write", path);
        let _lock = self.lock()?;
        let known = fs::metadata(&temporary.path).map_err(failed)?;
        let done = PutOutcome::Done(properties(&known).etag);
        let parent = path.parent().unwrap_or(&self.root);
        let rename = |flags| {
            let rename = || renameat_with(CWD, &temporary.path, CWD, path, flags);
            in_folder(parent, || Ok(rename()?))
        };
        match condition {
            Condition::None => rename(RenameFlags::empty()).map_err(failed)?,
            Condition::Absent => match rename(RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Ok(PutOutcome::Lost);
                }
                Err(error) => return Err(failed(error)),
            },
            Condition::Match(etag) => match fs::metadata(path) {
                Ok(known) if properties(&known).etag == *etag => {
                    fs::rename(&temporary.path, path).map_err(failed)?;
                }
                Ok(_) => return Ok(PutOutcome::Lost),
                Err(error) if is_absent(&error) => return Ok(PutOutcome::Lost),
                Err(error) => return Err(failed(error)),
            },
        }
        Ok(done)
    }

    /// One writer at a time, of all processes: what is compared must not change before it is replaced.
    fn lock(&self) -> Result<File, StorageError> {
        let root = File::open(&self.root).map_err(|error| local(&error, "lock", &self.root))?;
        root.lock()
            .map_err(|error| local(&error, "lock", &self.root))?;
        Ok(root)
    }

    fn hidden(&self) -> PathBuf {
        self.root.join(HIDDEN)
    }

    fn temporary(&self) -> Result<(Temporary, File), StorageError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("new-{}-{number}", std::process::id());
        let path = self.hidden().join(name);
        // Whoever finished last may be removing the folder just now.
        let file = in_folder(&self.hidden(), || File::create(&path))
            .map_err(|error| local(&error, "write", &path))?;
        Ok((Temporary { path }, file))
    }

    fn block_folder(&self, name: &str) -> PathBuf {
        let hash = hex(&Sha256::digest(name.as_bytes()));
        self.hidden().join(format!("of-{}", &hash[..32]))
    }

    pub(super) fn put_block(
        &self,
        name: &str,
        block: &BlockId,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        self.writable(name)?;
        check_block(block)?;
        let folder = self.block_folder(name);
        let path = folder.join(&block.0);
        let (temporary, mut file) = self.temporary()?;
        file.write_all(bytes)
            .and_then(|()| in_folder(&folder, || fs::rename(&temporary.path, &path)))
            .map_err(|error| local(&error, "write", &path))
    }

    pub(super) fn blocks(&self, name: &str) -> Result<Vec<(BlockId, u64)>, StorageError> {
        self.path(name)?;
        let folder = self.block_folder(name);
        let failed = |error: io::Error| local(&error, "list", &folder);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut blocks = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if let Ok(id) = entry.file_name().into_string() {
                blocks.push((BlockId(id), entry.metadata().map_err(failed)?.len()));
            }
        }
        blocks.sort();
        Ok(blocks)
    }

    pub(super) fn put_blocks(
        &self,
        name: &str,
        blocks: &[BlockId],
        md5: [u8; 16],
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        let path = self.writable(name)?;
        let folder = self.block_folder(name);
        let failed = |error: io::Error| local(&error, "write", &path);
        let (temporary, mut file) = self.temporary()?;
        let mut hash = Md5::new();
        let mut buffer = vec![0_u8; PIECE_BYTES];
        for block in blocks {
            check_block(block)?;
            let mut part = File::open(folder.join(&block.0)).map_err(|error| {
                if is_absent(&error) {
                    StorageError::new(
                        StorageProblem::Unexpected,
                        format!(
                            "can't write {}: block {} was not sent",
                            path.display(),
                            block.0
                        ),
                    )
                } else {
                    failed(error)
                }
            })?;
            loop {
                let count = part.read(&mut buffer).map_err(failed)?;
                if count == 0 {
                    break;
                }
                hash.update(&buffer[..count]);
                file.write_all(&buffer[..count]).map_err(failed)?;
            }
        }
        if <[u8; 16]>::from(hash.finalize()) != md5 {
            return Err(StorageError::new(
                StorageProblem::Corrupt,
                format!(
                    "can't write {}: its blocks are not those that were sent (MD5)",
                    path.display()
                ),
            ));
        }
        finish(&file).map_err(failed)?;
        let outcome = self.publish(&temporary, &path, condition)?;
        if let PutOutcome::Done(_) = outcome
            && let Err(error) = fs::remove_dir_all(&folder)
            && !is_absent(&error)
        {
            tracing::debug!(%error, folder = %folder.display(), "blocks stay behind");
        }
        Ok(outcome)
    }

    pub(super) fn delete(&self, name: &str, etag: Option<&ETag>) -> Result<bool, StorageError> {
        let path = self.path(name)?;
        if !self.root.is_dir() {
            return Err(self.missing_root());
        }
        // Shared: names go beside each other, and only not while one is written anew.
        let root = File::open(&self.root).map_err(|error| local(&error, "lock", &self.root))?;
        root.lock_shared()
            .map_err(|error| local(&error, "lock", &self.root))?;
        let failed = |error: io::Error| local(&error, "delete", &path);
        // A link goes, not what it leads to.
        let known = match fs::symlink_metadata(&path) {
            Ok(known) => known,
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        if known.is_dir() {
            return match fs::remove_dir(&path) {
                Ok(()) => Ok(true),
                Err(error) if is_absent(&error) => Ok(false),
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
                Err(error) => Err(failed(error)),
            };
        }
        if etag.is_some_and(|etag| *etag != properties(&known).etag) {
            return Err(StorageError::new(
                StorageProblem::Changed,
                format!(
                    "can't delete {}: it was changed by somebody else in the meantime",
                    path.display()
                ),
            ));
        }
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

/// A file on its way; what is left of it goes.
struct Temporary {
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Both fail where there is nothing to do: the file was renamed, others still use the folder.
        let _ = fs::remove_file(&self.path);
        if let Some(folder) = self.path.parent() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Makes a whole file durable. Its time is set by the clock, not by the kernel's tick: two versions within one tick, the
/// second on the first one's inode, must not have one ETag.
fn finish(file: &File) -> io::Result<()> {
    file.set_modified(SystemTime::now())?;
    file.sync_data()
}

fn check_block(block: &BlockId) -> Result<(), StorageError> {
    let good =
        (1..=64).contains(&block.0.len()) && block.0.bytes().all(|b| b.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    Err(StorageError::new(
        StorageProblem::BadName,
        format!("{:?} can't be the name of a block", block.0),
    ))
}

fn read_along(
    file: File,
    wanted: u64,
    path: PathBuf,
) -> stream::BoxStream<'static, Result<Bytes, StorageError>> {
    let state = Some((file, wanted, path));
    stream::unfold(state, |state| async move {
        let (mut file, left, path) = state.filter(|(_, left, _)| *left > 0)?;
        let read = tokio::task::spawn_blocking(move || {
            let piece = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            let mut buffer = vec![0_u8; piece];
            let read = file.read(&mut buffer).map(|count| {
                buffer.truncate(count);
                buffer
            });
            (read, file, path)
        });
        match read.await {
            Ok((Ok(buffer), _, path)) if buffer.is_empty() => {
                let error = StorageError::new(
                    StorageProblem::Changed,
                    format!("can't read {}: it is shorter than it was", path.display()),
                );
                Some((Err(error), None))
            }
            Ok((Ok(buffer), file, path)) => {
                let left = left - buffer.len() as u64;
                Some((Ok(Bytes::from(buffer)), Some((file, left, path))))
            }
            Ok((Err(error), _, path)) => Some((Err(local(&error, "read", &path)), None)),
            Err(_) => None,
        }
    })
    .boxed()
}

/// What tells one version of a file from another.
pub(super) fn properties(known: &fs::Metadata) -> Properties {
    let (seconds, nanos) = (known.mtime(), known.mtime_nsec());
    Properties {
        size: known.len(),
        etag: ETag(format!(
            "\"{seconds:x}.{nanos:x}-{:x}-{:x}\"",
            known.len(),
            known.ino()
        )),
        modified: known.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        md5: None,
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(super) fn local(error: &io::Error, doing: &str, path: &Path) -> StorageError {
    let obstacle = Obstacle::of(error);
    let problem = if obstacle.is_full() {
        StorageProblem::Full
    } else {
        StorageProblem::Local
    };
    StorageError::new(
        problem,
        format!("can't {doing} {}: {error}", path.display()),
    )
    .fix(if matches!(doing, "read" | "list" | "look at") {
        obstacle.fix_reading("")
    } else {
        obstacle.fix_writing("")
    })
}
