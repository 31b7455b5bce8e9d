//! The system calls of a commit: each is a step, and nothing else here touches the file system but the walk through an
//! attempt's own files.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use petctl_output::folders::make_folders;
use petctl_output::manifest::{FILE_NAME, Manifest, ManifestError, ReadManifest};
use petctl_output::result::{self, ShardReport};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::steps::{self, Protection, Step, Touch, step};
use crate::{CommitError, report};

/// Makes a folder whose parent is there.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    step(
        moves("make", &[folder]),
        || fs::create_dir(folder),
        how_it_ended,
    )
}

/// Makes a folder and its parents, where they are missing.
pub(super) fn make_all(folder: &Path) -> io::Result<()> {
    step(
        writes("make all", &[folder]),
        || make_folders(folder),
        how_it_ended,
    )
}

/// Removes a folder in which nothing is.
pub(super) fn remove_empty(folder: &Path) -> io::Result<()> {
    step(
        moves("remove", &[folder]),
        || fs::remove_dir(folder),
        how_it_ended,
    )
}

/// Renames over nothing, or over an empty folder.
pub(super) fn rename(name: &'static str, from: &Path, to: &Path) -> io::Result<()> {
    step(
        moves(name, &[from, to]),
        || fs::rename(from, to),
        how_it_ended,
    )
}

/// Renames to where nothing is.
pub(super) fn rename_no_replace(name: &'static str, from: &Path, to: &Path) -> Result<(), Errno> {
    let rename = || match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) if !steps::stands(Protection::NoReplace) => {
            renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE)
        }
        // The file system does not know the flag. A committed folder is never empty, and a plain rename refuses to
        // replace a folder that is not empty.
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(from, to),
        other => other,
    };
    step(moves(name, &[from, to]), rename, |ended| {
        format!("{ended:?}")
    })
}

/// What is in a folder, in the order of names.
pub(super) fn list(name: &'static str, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let list = || {
        let entries = fs::read_dir(folder)?;
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        Ok(paths)
    };
    let lists = Step {
        name,
        touch: Touch::Lists,
        paths: &[folder],
    };
    step(lists, list, how_it_ended)
}

/// What is known of a path itself.
pub(super) fn look_at(name: &'static str, path: &Path) -> io::Result<fs::Metadata> {
    let look = || fs::symlink_metadata(path);
    step(reads(name, &[path]), look, |looked| {
        kind_of(looked.as_ref().map(|_| ()))
    })
}

/// Reads the manifest of a folder.
pub(super) fn read_manifest(folder: &Path) -> Result<ReadManifest, ManifestError> {
    let path = folder.join(FILE_NAME);
    let read = || Manifest::read(folder);
    step(reads("read manifest", &[&path]), read, found)
}

/// Reads the manifest of a folder and every file that it names, one by one, as the disk has them: whoever adopts outputs
/// says that they are durable, and their maker may have been told that they are not.
pub(super) fn verify(folder: &Path) -> Result<ReadManifest, ManifestError> {
    let path = folder.join(FILE_NAME);
    let read = || Manifest::read_stored(folder);
    let read = step(reads("read manifest", &[&path]), read, found)?;
    if !steps::stands(Protection::Hashes) {
        return Ok(read);
    }
    let manifest = &read.manifest;
    for file in &manifest.files {
        let path = folder.join(&file.name);
        let verify = || manifest.verify_stored_file(folder, file);
        step(reads("hash", &[&path]), verify, |held| {
            held.is_ok().to_string()
        })?;
    }
    let shape = || manifest.verify_shape(folder);
    step(reads("compare", &[folder]), shape, |held| {
        held.is_ok().to_string()
    })?;
    Ok(read)
}

/// What `result.json` says, where a manifest names one.
pub(super) fn read_report(
    folder: &Path,
    manifest: &Manifest,
) -> Result<Option<ShardReport>, CommitError> {
    let mut files = manifest.files.iter();
    if !files.any(|file| file.name == result::FILE_NAME) {
        return Ok(None);
    }
    let path = folder.join(result::FILE_NAME);
    let read = || report::read(folder).map(Some);
    step(reads("read result", &[&path]), read, |read| {
        read.is_ok().to_string()
    })
}

/// Reads what an attempt wrote itself.
pub(super) fn own<T>(
    name: &'static str,
    path: &Path,
    read: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    step(reads(name, &[path]), read, |read| {
        kind_of(read.as_ref().map(|_| ()))
    })
}

/// Writes a file where none is.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = step(
        moves("make file", &[path]),
        || fs::File::create_new(path),
        |made| kind_of(made.as_ref().map(|_| ())),
    )?;
    step(
        writes("write file", &[path]),
        || io::Write::write_all(&mut file, bytes),
        how_it_ended,
    )
}

/// Makes all that was done in the file system durable.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    let sync = || Ok(rustix::fs::syncfs(fs::File::open(folder)?)?);
    step(reads("sync", &[folder]), sync, how_it_ended)
}

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it locks")] Option<fs::File>);

/// Waits for the lock on a folder, which is there afterwards.
pub(super) fn lock(folder: &Path) -> Result<Lock, CommitError> {
    if !steps::stands(Protection::Lock) {
        fs::create_dir_all(folder).map_err(|error| CommitError::io("make", folder, error))?;
        return Ok(Lock(None));
    }
    let lock = || {
        fs::create_dir_all(folder).map_err(|error| CommitError::io("make", folder, error))?;
        let file =
            fs::File::open(folder).map_err(|error| CommitError::io("open", folder, error))?;
        file.lock()
            .map_err(|error| CommitError::io("lock", folder, error))?;
        Ok(Lock(Some(file)))
    };
    step(moves(LOCK, &[folder]), lock, |locked| {
        locked.is_ok().to_string()
    })
}

/// The step that waits.
pub(crate) const LOCK: &str = "lock";

impl Drop for Lock {
    fn drop(&mut self) {
        steps::unlocked();
    }
}

fn reads<'a>(name: &'static str, paths: &'a [&'a Path]) -> Step<'a> {
    let touch = Touch::Reads;
    Step { name, touch, paths }
}

fn writes<'a>(name: &'static str, paths: &'a [&'a Path]) -> Step<'a> {
    let touch = Touch::Writes;
    Step { name, touch, paths }
}

fn moves<'a>(name: &'static str, paths: &'a [&'a Path]) -> Step<'a> {
    let touch = Touch::Moves;
    Step { name, touch, paths }
}

fn how_it_ended<T: Debug>(ended: &io::Result<T>) -> String {
    kind_of(ended.as_ref())
}

fn kind_of<T: Debug>(ended: Result<T, &io::Error>) -> String {
    format!("{:?}", ended.map_err(io::Error::kind))
}

fn found(read: &Result<ReadManifest, ManifestError>) -> String {
    match read {
        Ok(read) => read.manifest.lease().to_string(),
        Err(ManifestError::Missing) => "missing".to_owned(),
        Err(error) => error.to_string(),
    }
}
