//! What stands at a shard's place: outputs to adopt, outputs to move away, or something that is nobody's to touch.
//!
//! Others publish and move away at the same time, and only moving away takes a lock. So there are two ways to look.
//! **Without the lock** a place may be emptied and filled again between any two reads. Only what proves itself counts:
//! whole outputs whose manifest is still the same when all else has been read. A manifest names its lease, and a folder
//! that was moved away never comes back, so it was one folder all along.
//! **Under the lock** a folder that is there stays. A place that is empty may be filled at any moment, so whether
//! something is there is asked once, and first; all later answers are about that one folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::trash::Trash;
use crate::{CommitError, Maker, report};
use petctl_output::layout::{AttemptName, Layout};
use petctl_output::manifest::{Manifest, ManifestError, ReadManifest};
use petctl_output::result::{self, ShardReport};

/// A shard's place, as one attempt sees it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) layout: &'a Layout,
    pub(super) trash: &'a Trash,
    pub(super) maker: Maker<'a>,
    pub(super) name: AttemptName<'a>,
}

/// Committed outputs whose hashes hold.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) read: ReadManifest,
    pub(super) report: Option<ShardReport>,
}

impl Place<'_> {
    /// The outputs to adopt; `None` where there are none by now. Those of an earlier version of the shard are moved into
    /// the trash; damaged ones (a power cut between publishing and syncing) to `.petctl/damaged`.
    pub(super) fn adopt(&self) -> Result<Option<Whole>, CommitError> {
        let folder = self.folder();
        if !is_there(&folder)? {
            return Ok(None);
        }
        let may_adopt = |manifest: &Manifest| self.is_own(manifest) && !self.is_older(manifest);
        // Before all files are hashed.
        if Manifest::read(&folder).is_ok_and(|read| may_adopt(&read.manifest))
            && let Some(whole) = whole_without_lock(&folder)
            && may_adopt(&whole.read.manifest)
        {
            return Ok(Some(whole));
        }
        let _lock = lock(self.layout)?;
        if !is_there(&folder)? || self.move_older_away_locked(&folder)? {
            return Ok(None);
        }
        let verified = match Manifest::verify(&folder) {
            // The shard had been committed here before: what is left of that is kept, and in nobody's way.
            Err(damage @ ManifestError::Missing) if self.maker.replaces_below > 0 => Err(damage),
            verified => judge(&folder, verified)?,
        };
        match verified {
            Ok(read) if self.is_own(&read.manifest) => {
                let report = read_report(&folder, &read.manifest)?;
                Ok(Some(Whole { read, report }))
            }
            Ok(read) => Err(foreign(folder, &read.manifest)),
            Err(damage) => {
                self.keep_damaged(&folder, &damage)?;
                Ok(None)
            }
        }
    }

    /// Moves what an earlier version of the shard has committed into the trash.
    pub(super) fn move_older_away(&self) -> Result<(), CommitError> {
        let folder = self.folder();
        // Whatever can't be read is judged by those who want to adopt it.
        let is_older = |read: ReadManifest| self.is_older(&read.manifest);
        if self.maker.replaces_below > 0 && Manifest::read(&folder).is_ok_and(is_older) {
            let _lock = lock(self.layout)?;
            self.move_older_away_locked(&folder)?;
        }
        Ok(())
    }

    /// Whether it was of an earlier version.
    fn move_older_away_locked(&self, folder: &Path) -> Result<bool, CommitError> {
        if !Manifest::read(folder).is_ok_and(|read| self.is_older(&read.manifest)) {
            return Ok(false);
        }
        self.trash
            .take_or_fail(folder)
            .map_err(|error| CommitError::io("move away", folder, error))
    }

    fn keep_damaged(&self, folder: &Path, damage: &ManifestError) -> Result<(), CommitError> {
        let attempt = self.layout.attempt(self.name);
        let name = attempt.file_name().unwrap_or_default();
        let mut place = self.layout.damaged().join(name);
        // One attempt may find damage twice: when it begins, and when it commits.
        for again in 2_u32.. {
            if fs::symlink_metadata(&place).is_err() {
                break;
            }
            let mut other = name.to_owned();
            other.push(format!(".{again}"));
            place.set_file_name(other);
        }
        fs::rename(folder, &place).map_err(|error| CommitError::io("move away", folder, error))?;
        tracing::warn!(
            folder = %folder.display(), moved_to = %place.display(), damage = %damage,
            "committed outputs were damaged and have been moved away; the shard runs again"
        );
        Ok(())
    }

    fn folder(&self) -> PathBuf {
        self.layout.committed(self.name.stage, self.name.key)
    }

    fn is_own(&self, manifest: &Manifest) -> bool {
        manifest.job == self.maker.job
            && manifest.stage == self.name.stage
            && manifest.key == self.name.key
    }

    fn is_older(&self, manifest: &Manifest) -> bool {
        manifest.lease_id < self.maker.replaces_below && self.is_own(manifest)
    }
}

/// `None` where anything speaks against it: those who hold the lock say what.
fn whole_without_lock(folder: &Path) -> Option<Whole> {
    let read = Manifest::verify(folder).ok()?;
    let report = read_report(folder, &read.manifest).ok()?;
    let still = Manifest::read(folder).ok()?;
    (still.sha256 == read.sha256).then_some(Whole { read, report })
}

fn read_report(folder: &Path, manifest: &Manifest) -> Result<Option<ShardReport>, CommitError> {
    let mut files = manifest.files.iter();
    if files.any(|file| file.name == result::FILE_NAME) {
        report::read(folder).map(Some)
    } else {
        Ok(None)
    }
}

fn is_there(folder: &Path) -> Result<bool, CommitError> {
    match fs::symlink_metadata(folder) {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(CommitError::io("look at", folder, error)),
    }
}

/// Of a folder that is there and stays. The inner error is damage; the outer one is a folder that was never a committed
/// one, or can't be judged.
fn judge(
    folder: &Path,
    verified: Result<ReadManifest, ManifestError>,
) -> Result<Result<ReadManifest, ManifestError>, CommitError> {
    match verified {
        Err(ManifestError::Missing) => Err(CommitError::Occupied {
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
        other @ (Ok(_) | Err(ManifestError::Broken(_) | ManifestError::File { .. })) => Ok(other),
    }
}

fn foreign(folder: PathBuf, manifest: &Manifest) -> CommitError {
    let owner = format!(
        "shard {} of stage {} of job {}",
        manifest.key, manifest.stage, manifest.job
    );
    CommitError::Occupied {
        folder,
        holds: format!("outputs of {owner}"),
    }
}

/// Held by whoever moves committed folders away: of two, the slower one could take what the faster one has made room
/// for.
fn lock(layout: &Layout) -> Result<fs::File, CommitError> {
    let damaged = layout.damaged();
    fs::create_dir_all(&damaged).map_err(|error| CommitError::io("make", &damaged, error))?;
    let lock =
        fs::File::open(&damaged).map_err(|error| CommitError::io("open", &damaged, error))?;
    lock.lock()
        .map_err(|error| CommitError::io("lock", &damaged, error))?;
    Ok(lock)
}
