//! What stands at a shard's place: outputs to adopt, outputs of before, or something that is nobody's to touch.
//!
//! Others publish and move away at the same time, and only moving away takes a lock. So there are two ways to look.
//! **Without the lock** a place may be emptied and filled again between any two reads. Only what proves itself counts:
//! whole outputs whose manifest is still the same when all else has been read. A manifest names its lease, and a folder
//! that was moved away never comes back, so it was one folder all along.
//! **Under the lock** a folder that is there stays. A place that is empty may be filled at any moment, so whether
//! something is there is asked once, and first; all later answers are about that one folder.

use std::io;
use std::path::{Path, PathBuf};

use super::attempts;
use super::calls::{self, Lock};
use super::publish::publish;
use super::trash::Trash;
use crate::run_record;
use crate::steps::{self, Protection};
use crate::{CommitError, Committed, Maker, Standing};
use petctl_output::layout::{AttemptName, Layout};
use petctl_output::manifest::{Manifest, ManifestError, ReadManifest};
use petctl_output::result::ShardReport;
use rustix::io::Errno;

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
    /// What stands when the attempt begins: outputs to adopt, or nothing any more.
    pub(super) fn begin(&self) -> Result<Option<Whole>, CommitError> {
        self.look(|standing, _| standing)
    }

    /// What stands when the attempt wants to publish. What was there at its beginning has made room, so outputs of
    /// another lineage have come since: their owner has taken the output over.
    pub(super) fn give_way(&self) -> Result<Option<Whole>, CommitError> {
        self.look(|standing, manifest| {
            let came_since =
                manifest.lineage != self.name.lineage && steps::stands(Protection::CameSince);
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
        if !is_there("look", &folder)? {
            return Ok(None);
        }
        let may_adopt = |manifest: &Manifest| judge(manifest) == Standing::Adopted;
        // Before all files are hashed.
        if calls::read_manifest(&folder).is_ok_and(|read| may_adopt(&read.manifest))
            && let Some(whole) = whole_without_lock(&folder)
            && may_adopt(&whole.read.manifest)
        {
            return Ok(Some(whole));
        }
        let _lock = lock(self.layout)?;
        if steps::stands(Protection::LookFirst) && !is_there("look again", &folder)? {
            return Ok(None);
        }
        if let Ok(read) = calls::read_manifest(&folder) {
            match judge(&read.manifest) {
                Standing::Adopted => {}
                Standing::Earlier => {
                    self.may_move()?;
                    self.has_output(&read.manifest)?;
                    put_aside(self.layout, self.trash, self.name)?;
                    return Ok(None);
                }
                Standing::Later => return Err(CommitError::Overtaken),
                Standing::Foreign => return Err(foreign(folder, &read.manifest)),
            }
        }
        let verified = match calls::verify(&folder) {
            // The shard had been committed here before: what is left of that is kept, and in nobody's way.
            Err(damage @ ManifestError::Missing) if self.maker.replaces_below > 0 => Err(damage),
            verified => is_damage(&folder, verified)?,
        };
        match verified {
            Ok(read) => {
                let report = calls::read_report(&folder, &read.manifest)?;
                Ok(Some(Whole { read, report }))
            }
            Err(damage) => {
                self.may_move()?;
                keep_damaged(self.layout, self.name, &damage)?;
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
        if !calls::read_manifest(&earlier).is_ok_and(|read| may_restore(&read)) {
            return Ok(None);
        }
        let _lock = lock(self.layout)?;
        let Some(whole) = whole_without_lock(&earlier).filter(|whole| may_restore(&whole.read))
        else {
            return Ok(None);
        };
        self.may_move()?;
        let folder = self.folder();
        match publish("bring back", &earlier, &folder) {
            Ok(()) => Ok(Some(whole)),
            // Another attempt was faster.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOENT) => Ok(None),
            Err(errno) => Err(CommitError::io("bring back", &folder, errno.into())),
        }
    }

    /// Whoever was fenced moves nothing any more, nor does who comes late: it would take what a later attempt counts on.
    /// Only under the lock, under which fences take folders.
    fn may_move(&self) -> Result<(), CommitError> {
        let own = self.layout.attempt(self.name);
        if steps::stands(Protection::NotFenced) && !is_there("own", &own)? {
            return Err(CommitError::OutputGone);
        }
        match attempts::is_adopted_later(self.layout, self.name)? {
            true => Err(CommitError::Overtaken),
            false => Ok(()),
        }
    }

    /// Whoever stood still while another run took the output over puts nothing of that run's aside.
    fn has_output(&self, manifest: &Manifest) -> Result<(), CommitError> {
        let theirs = manifest.lineage != self.name.lineage;
        if theirs && run_record::is_others(self.layout, self.name.lineage)? {
            return Err(CommitError::Overtaken);
        }
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

/// Moves a shard's committed outputs to where those of before are kept, or what a power cut has left of them to the
/// damaged ones. Only under the lock.
pub(super) fn put_aside(
    layout: &Layout,
    trash: &Trash,
    name: AttemptName<'_>,
) -> Result<(), CommitError> {
    let folder = layout.committed(name.stage, name.key);
    let earlier = layout.earlier(name.stage, name.key);
    let failed = |error| CommitError::io("put aside", &folder, error);
    if !steps::stands(Protection::PutAside) {
        return trash.take_or_fail(&folder).map(|_| ()).map_err(failed);
    }
    if is_there("aside", &earlier)? {
        // An attempt that has not settled has put it aside. It goes for what stands now, so that must be whole, and
        // no power cut may undo it.
        if let Err(damage) = is_damage(&folder, calls::verify(&folder))? {
            return keep_damaged(layout, name, &damage);
        }
        if steps::stands(Protection::SyncBefore) {
            calls::sync(layout.root()).map_err(failed)?;
        }
        trash.take_or_fail(&earlier).map_err(failed)?;
    } else if let Some(parent) = earlier.parent() {
        calls::make_all(parent).map_err(failed)?;
    }
    calls::rename("put aside", &folder, &earlier).map_err(failed)
}

/// Moves away what a power cut has left of a shard's outputs. Only under the lock.
fn keep_damaged(
    layout: &Layout,
    name: AttemptName<'_>,
    damage: &ManifestError,
) -> Result<(), CommitError> {
    let folder = layout.committed(name.stage, name.key);
    let attempt = layout.attempt(name);
    let name = attempt.file_name().unwrap_or_default();
    let mut place = layout.damaged().join(name);
    // One attempt may find damage twice: when it begins, and when it commits.
    for again in 2_u32.. {
        if !is_there("damaged", &place)? {
            break;
        }
        let mut other = name.to_owned();
        other.push(format!(".{again}"));
        place.set_file_name(other);
    }
    calls::rename("move away", &folder, &place)
        .map_err(|error| CommitError::io("move away", &folder, error))?;
    tracing::warn!(
        folder = %folder.display(), moved_to = %place.display(), damage = %damage,
        "committed outputs were damaged and have been moved away; the shard runs again"
    );
    Ok(())
}

/// `None` where anything speaks against it: those who hold the lock say what.
fn whole_without_lock(folder: &Path) -> Option<Whole> {
    let read = calls::verify(folder).ok()?;
    let report = calls::read_report(folder, &read.manifest).ok()?;
    if !steps::stands(Protection::StillTheSame) {
        return Some(Whole { read, report });
    }
    let still = calls::read_manifest(folder).ok()?;
    (still.sha256 == read.sha256).then_some(Whole { read, report })
}

fn is_there(step: &'static str, folder: &Path) -> Result<bool, CommitError> {
    match calls::look_at(step, folder) {
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
pub(super) fn lock(layout: &Layout) -> Result<Lock, CommitError> {
    calls::lock(&layout.damaged())
}
