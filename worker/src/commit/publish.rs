//! The one step by which outputs become visible, and what to do where something is there already.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::commit::trash::Trash;
use crate::commit::{CommitError, Maker};
use petctl_output::layout::{AttemptName, Layout};
use petctl_output::manifest::{Manifest, ManifestError, ReadManifest};

/// Renames the attempt's folder to its place. `NOENT` means that the attempt's folder is gone; `EXIST` or `NOTEMPTY`
/// that something is there already.
pub(super) fn publish(folder: &Path, target: &Path) -> Result<(), Errno> {
    match rename_no_replace(folder, target) {
        Err(Errno::NOENT) => {
            // The parent is missing, for the first shard of a stage or of a sub folder; or the attempt's folder is.
            if fs::symlink_metadata(folder).is_err() {
                return Err(Errno::NOENT);
            }
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            }
            rename_no_replace(folder, target)
        }
        other => other,
    }
}

fn rename_no_replace(folder: &Path, target: &Path) -> Result<(), Errno> {
    match renameat_with(CWD, folder, CWD, target, RenameFlags::NOREPLACE) {
        // The file system does not know the flag. A committed folder is never empty, and a plain rename refuses to
        // replace a folder that is not empty.
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(folder, target),
        other => other,
    }
}

/// Moves the committed folder into the trash if it is of an earlier version of the shard; whether it was.
pub(super) fn move_older_away(
    layout: &Layout,
    trash: &Trash,
    maker: Maker<'_>,
    name: AttemptName<'_>,
) -> Result<bool, CommitError> {
    let folder = layout.committed(name.stage, name.key);
    // Whatever can't be read is judged by those who want to adopt it.
    let is_older = || {
        Manifest::read(&folder).is_ok_and(|read| {
            let manifest = read.manifest;
            manifest.lease_id < maker.replaces_below
                && manifest.job == maker.job
                && manifest.stage == name.stage
                && manifest.key == name.key
        })
    };
    if maker.replaces_below == 0 || !is_older() {
        return Ok(false);
    }
    let _lock = lock(layout)?;
    if !is_older() {
        return Ok(false);
    }
    trash
        .take_or_fail(&folder)
        .map_err(|error| CommitError::io("move away", &folder, error))
}

/// Of those that move committed folders away at once, the slower one could move away what the faster one has put there.
fn lock(layout: &Layout) -> Result<fs::File, CommitError> {
    let damaged = layout.damaged();
    fs::create_dir_all(&damaged).map_err(|error| CommitError::io("make", &damaged, error))?;
    let lock =
        fs::File::open(&damaged).map_err(|error| CommitError::io("open", &damaged, error))?;
    flock(&lock, FlockOperation::LockExclusive)
        .map_err(|errno| CommitError::io("lock", &damaged, errno.into()))?;
    Ok(lock)
}

/// The manifest of a committed folder whose hashes hold. A damaged one (a power cut between publishing and syncing) is
/// moved to `.petctl/damaged` and `None` comes back.
pub(super) fn verify_or_move_away(
    layout: &Layout,
    name: AttemptName<'_>,
    folder: &Path,
) -> Result<Option<ReadManifest>, CommitError> {
    let damage = match check(folder)? {
        Ok(read) => return Ok(Some(read)),
        Err(damage) => damage,
    };
    let _lock = lock(layout)?;
    match check(folder)? {
        Ok(read) => Ok(Some(read)),
        Err(ManifestError::Missing) if !folder.exists() => Ok(None),
        Err(_) => {
            let attempt = layout.attempt(name);
            let place = layout
                .damaged()
                .join(attempt.file_name().unwrap_or_default());
            fs::rename(folder, &place)
                .map_err(|error| CommitError::io("move away", folder, error))?;
            tracing::warn!(
                folder = %folder.display(), moved_to = %place.display(), damage = %damage,
                "committed outputs were damaged and have been moved away; the shard runs again"
            );
            Ok(None)
        }
    }
}

/// The inner error is damage; the outer one is a folder that was never a committed one, or can't be judged.
fn check(folder: &Path) -> Result<Result<ReadManifest, ManifestError>, CommitError> {
    match Manifest::verify(folder) {
        Err(ManifestError::Missing) if folder.exists() => Err(CommitError::Occupied {
            folder: folder.to_owned(),
            holds: "something without a manifest.json".into(),
        }),
        Err(ManifestError::Version(version)) => Err(CommitError::Occupied {
            folder: folder.to_owned(),
            holds: format!("outputs of a newer petctl (manifest version {version})"),
        }),
        Err(ManifestError::Read(error)) => {
            Err(CommitError::io("read the manifest of", folder, error))
        }
        other @ (Ok(_)
        | Err(
            ManifestError::Missing | ManifestError::Broken(_) | ManifestError::File { .. },
        )) => Ok(other),
    }
}
