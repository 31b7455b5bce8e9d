//! What stands at a shard's place: outputs to adopt, outputs of before, or something that is nobody's to touch.
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

use super::publish::publish;
use super::trash::Trash;
use crate::{CommitError, Committed, Maker, Standing, report};
use petctl_output::layout::{AttemptName, Layout};
use petctl_output::manifest::{Manifest, ManifestError, ReadManifest};
use petctl_output::result::{self, ShardReport};
use rustix::io::Errno;

/// A shard's place, as one attempt sees it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) layout: &'a Layout,
    pub(super) trash: &'a Trash,
    pub(super) maker: Maker<'a>,
    pub(super) name: AttemptName<'a>,
}

/// Committed outputs whose hashes hold, on the disk: whoever adopts them says that they are durable, and their maker may
/// have been told that they are not.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) read: ReadManifest,
    pub(super) report: Option<ShardReport>,
}

impl Place<'_> {
    /// What stands when the attempt begins: outputs to adopt, or nothing any more.
    pub(super) fn begin(&self) -> Result<Option<Whole>, CommitError> {
        self.look(|standing, _| standing)
    }

    /// What stands when the attempt wants to publish. What was there at its beginning has made room, so outputs of
    /// another lineage have come since: their owner has taken the output over.
    pub(super) fn give_way(&self) -> Result<Option<Whole>, CommitError> {
        self.look(|standing, manifest| {
            let came_since = manifest.lineage != self.name.lineage;
            if standing == Standing::Earlier && came_since {
                Standing::Later
            } else {
                standing
            }
        })
    }

    /// The outputs to adopt; `None` where there are none by now. Those of before are put aside; damaged ones (a power cut
    /// between publishing and syncing) go to `.petctl/damaged`.
    fn look(
        &self,
        at_this_time: impl Fn(Standing, &Manifest) -> Standing,
    ) -> Result<Option<Whole>, CommitError> {
        let judge =
            |manifest: &Manifest| at_this_time(self.maker.judge(self.name, manifest), manifest);
        let folder = self.folder();
        if !is_there(&folder)? {
            return Ok(None);
        }
        let may_adopt = |manifest: &Manifest| judge(manifest) == Standing::Adopted;
        // Before all files are hashed.
        if Manifest::read(&folder).is_ok_and(|read| may_adopt(&read.manifest))
            && let Some(whole) = whole_without_lock(&folder)
            && may_adopt(&whole.read.manifest)
        {
            return Ok(Some(whole));
        }
        let _lock = lock(self.layout)?;
        if !is_there(&folder)? {
            return Ok(None);
        }
        if let Ok(read) = Manifest::read(&folder) {
            match judge(&read.manifest) {
                Standing::Adopted => {}
                Standing::Earlier => {
                    let earlier = self.earlier();
                    // What waits aside already goes only for what is whole: a power cut may have come between.
                    if is_there(&earlier)?
                        && let Err(damage) = is_damage(&folder, Manifest::verify(&folder))?
                    {
                        self.keep_damaged(&folder, &damage)?;
                    } else {
                        put_aside(self.trash, &folder, &earlier)?;
                    }
                    return Ok(None);
                }
                Standing::Later => return Err(CommitError::Overtaken),
                Standing::Foreign => return Err(foreign(folder, &read.manifest)),
            }
        }
        let verified = match Manifest::verify_stored(&folder) {
            // The shard had been committed here before: what is left of that is kept, and in nobody's way.
            Err(damage @ ManifestError::Missing) if self.maker.replaces_below > 0 => Err(damage),
            verified => is_damage(&folder, verified)?,
        };
        match verified {
            Ok(read) => {
                let report = read_report(&folder, &read.manifest)?;
                Ok(Some(Whole { read, report }))
            }
            Err(damage) => {
                self.keep_damaged(&folder, &damage)?;
                Ok(None)
            }
        }
    }

    /// Where outputs of before are put aside.
    pub(super) fn earlier(&self) -> PathBuf {
        self.layout.earlier(self.name.stage, self.name.key)
    }

    /// Brings back what was put aside, where the shard is again what it was then.
    pub(super) fn restore(&self) -> Result<Option<Whole>, CommitError> {
        let earlier = self.earlier();
        let may_restore = |read: &ReadManifest| self.maker.may_restore(self.name, &read.manifest);
        if !Manifest::read(&earlier).is_ok_and(|read| may_restore(&read)) {
            return Ok(None);
        }
        let _lock = lock(self.layout)?;
        let Some(whole) = whole_without_lock(&earlier).filter(|whole| may_restore(&whole.read))
        else {
            return Ok(None);
        };
        let folder = self.folder();
        match publish(&earlier, &folder) {
            Ok(()) => Ok(Some(whole)),
            // Another attempt was faster.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOENT) => Ok(None),
            Err(errno) => Err(CommitError::io("bring back", &folder, errno.into())),
        }
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
}

impl Whole {
    pub(super) fn into_committed(self) -> Committed {
        Committed::new(&self.read.manifest, self.read.sha256, self.report)
    }
}

/// Moves committed outputs to where those of before are kept. Only under the lock.
pub(super) fn put_aside(trash: &Trash, folder: &Path, earlier: &Path) -> Result<(), CommitError> {
    let failed = |error| CommitError::io("put aside", folder, error);
    // What an attempt that ended in the middle has put aside before: what stands now has replaced it.
    trash.take_or_fail(earlier).map_err(failed)?;
    match fs::rename(folder, earlier) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = earlier.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            fs::rename(folder, earlier).map_err(failed)
        }
        other => other.map_err(failed),
    }
}

/// `None` where anything speaks against it: those who hold the lock say what.
fn whole_without_lock(folder: &Path) -> Option<Whole> {
    let read = Manifest::verify_stored(folder).ok()?;
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
fn is_damage(
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
            holds: format!("outputs of another petctl (manifest version {version})"),
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
pub(super) fn lock(layout: &Layout) -> Result<fs::File, CommitError> {
    let damaged = layout.damaged();
    fs::create_dir_all(&damaged).map_err(|error| CommitError::io("make", &damaged, error))?;
    let lock =
        fs::File::open(&damaged).map_err(|error| CommitError::io("open", &damaged, error))?;
    lock.lock()
        .map_err(|error| CommitError::io("lock", &damaged, error))?;
    Ok(lock)
}
