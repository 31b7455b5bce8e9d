//! The commit on folders: one rename makes a whole folder of outputs visible.
//!
//! An attempt writes into a folder of its own. After the command exited with 0 the folder is walked and hashed,
//! gets its `manifest.json`, and is then **published** by one `renameat2(RENAME_NOREPLACE)` to
//! `<output>/<stage>/<key>`: of two attempts one wins, and a reader sees a whole folder or none. After that the file
//! system is **synced**, one `syncfs` for all attempts that wait at that moment ([`Syncer`]), and only then is the
//! result **reported**: a coordinator never knows of a commit that a power cut could undo. Publishing comes before
//! syncing so that one sync covers the data and the rename; the price is that a power cut between the two may leave
//! a published folder whose files are empty. Its hashes do not hold, so the next attempt moves it to
//! `.petctl/damaged` and takes its place.
//!
//! **Outputs of before** go to `.petctl/earlier` when an attempt begins, so nobody takes them for its own. They go for
//! good when the attempt's own are durable, and come back where a later version of the job wants them again.
//!
//! **Fencing.** An attempt that may have a living predecessor makes its own folder first, and then renames the folders
//! of all earlier attempts at its shard into the trash, and those of other lineages. A predecessor that wakes up later
//! finds its folder gone when it publishes, and before it moves anything away or brings anything back. An attempt that finds a later one's folder gives up: of any two that fence,
//! each sees the other's folder or has had its own taken, so at most one goes on. Fences take folders under the lock under
//! which outputs are moved, so what a fence has found stays so; and whoever adopts outputs that say nothing of that
//! leaves a [sign](attempts).

mod attempts;
mod calls;
mod earlier;
mod publish;
mod standing;
mod syncer;
mod trash;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::steps::{self, Protection};
use crate::{CommitError, Committed, Maker, report};
use petctl_output::layout::{AttemptName, Layout, NamedLease, check_key};
use petctl_output::manifest::{FILE_NAME, Manifest};
use petctl_output::result::ShardReport;

#[cfg(test)]
pub(crate) use self::calls::LOCK;
use self::earlier::Earlier;
use self::standing::{Place, Whole};
pub use self::syncer::Syncer;
use self::trash::Trash;
pub use self::walk::MAX_FILES;

/// Commits attempts below one output folder. Any number of these, in any number of processes, may work on one folder.
#[derive(Debug)]
pub struct Committer {
    layout: Layout,
    trash: Trash,
    earlier: Earlier,
}

/// What an attempt starts from.
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// A fresh folder to write into.
    Folder(PathBuf),
    /// Nothing to do: an earlier attempt had committed.
    Adopted(Committed),
}

impl Committer {
    /// Makes the folders below `output`, `output` itself too.
    ///
    /// # Errors
    /// [`CommitError::Folder`] or [`CommitError::DiskFull`].
    pub fn open(output: impl Into<PathBuf>) -> Result<Self, CommitError> {
        let layout = Layout::new(output);
        for folder in [layout.all_attempts(), layout.trash()] {
            calls::make_all(&folder).map_err(|error| CommitError::io("make", &folder, error))?;
        }
        Ok(Self {
            trash: Trash::new(layout.trash()),
            earlier: Earlier::default(),
            layout,
        })
    }

    /// The paths below this output folder.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Readies the folder of an attempt. With `fence`, takes away the folders of earlier attempts at the shard. Where
    /// outputs stand that are as good as its own there is nothing to do; those of before give way.
    ///
    /// # Errors
    /// [`CommitError`]; none of them is the shard's fault, but for a bad key. [`CommitError::Overtaken`] where a later
    /// attempt was here.
    pub fn begin(
        &self,
        maker: Maker<'_>,
        name: AttemptName<'_>,
        fence: bool,
    ) -> Result<Begin, CommitError> {
        if fence && !steps::stands(Protection::FolderFirst) {
            self.fence(name)?;
        }
        let folder = self.make_folder(name)?;
        match self.begin_in_folder(maker, name, fence) {
            Ok(None) => Ok(Begin::Folder(folder)),
            Ok(Some(committed)) => {
                let signed = match fence {
                    true => self.sign(maker, name, &committed),
                    false => Ok(()),
                };
                self.discard(name);
                signed.map(|()| Begin::Adopted(committed))
            }
            Err(error) => {
                let error = match matches!(error, CommitError::OutputGone) {
                    true => self.gone(name),
                    false => error,
                };
                self.discard(name);
                Err(error)
            }
        }
    }

    fn begin_in_folder(
        &self,
        maker: Maker<'_>,
        name: AttemptName<'_>,
        fence: bool,
    ) -> Result<Option<Committed>, CommitError> {
        if fence && steps::stands(Protection::FolderFirst) {
            self.fence(name)?;
        }
        let place = self.place(maker, name);
        let whole = match place.begin()? {
            None if fence => place.restore()?,
            whole => whole,
        };
        if whole.is_none() && fence {
            self.earlier.note(name, place.earlier());
        }
        Ok(whole.map(Whole::into_committed))
    }

    /// Makes the folder of an attempt, empty, and looks at nothing else: where outputs are sent elsewhere, that decides,
    /// and before the first attempt at a shard there was nobody.
    ///
    /// # Errors
    /// [`CommitError`]; a bad key is the shard's fault.
    pub fn make_folder(&self, name: AttemptName<'_>) -> Result<PathBuf, CommitError> {
        check_key(name.key)?;
        let folder = self.layout.attempt(name);
        let make = || calls::make(&folder).map_err(|error| CommitError::io("make", &folder, error));
        match calls::make(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = self.layout.attempts(name.stage);
                calls::make_all(&parent)
                    .map_err(|error| CommitError::io("make", &parent, error))?;
                make()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.trash.take(&folder);
                make()?;
            }
            Err(error) => return Err(CommitError::io("make", &folder, error)),
        }
        Ok(folder)
    }

    /// Publishes what an attempt wrote. Where an earlier attempt was faster its outputs are adopted, and this
    /// attempt's are discarded. The file system is not synced yet.
    ///
    /// # Errors
    /// [`CommitError`]; [`CommitError::OutputGone`] where a later attempt took the folder away.
    pub fn commit(
        &self,
        maker: Maker<'_>,
        name: AttemptName<'_>,
        duration: Duration,
    ) -> Result<Committed, CommitError> {
        let told = |error| {
            if matches!(error, CommitError::OutputGone) {
                self.gone(name)
            } else {
                error
            }
        };
        let (manifest, report) = self.describe(maker, name, duration).map_err(told)?;
        let folder = self.layout.attempt(name);
        let manifest_sha256 = write_manifest(&folder, &manifest).map_err(told)?;
        let target = self.layout.committed(name.stage, name.key);
        loop {
            match publish::publish("publish", &folder, &target) {
                Ok(()) => break,
                Err(Errno::EXIST | Errno::NOTEMPTY) => {
                    if let Some(whole) = self.place(maker, name).give_way().map_err(told)? {
                        let committed = whole.into_committed();
                        let signed = self.sign(maker, name, &committed);
                        self.discard(name);
                        return signed.map(|()| committed);
                    }
                }
                Err(Errno::NOENT) => return Err(self.gone(name)),
                Err(errno) => return Err(CommitError::io("publish", &target, errno.into())),
            }
        }
        Ok(Committed::new(&manifest, manifest_sha256, report))
    }

    /// The outputs of this attempt are durable: those of before, which it had found aside, go for good.
    pub fn settle(&self, lease: NamedLease) {
        let Some(noted) = self.earlier.take(lease) else {
            return;
        };
        let settled = standing::lock(&self.layout).map(|_lock| {
            // By now this attempt's own outputs may be those of before.
            if noted.is_still_there() || !steps::stands(Protection::SettleOwn) {
                self.trash.take(&noted.folder);
            }
        });
        if let Err(error) = settled {
            tracing::info!(folder = %noted.folder.display(), %error, "could not remove outputs of before");
        }
    }

    /// Puts the outputs of a shard aside, as an attempt does that begins; whether there were any.
    ///
    /// # Errors
    /// [`CommitError`]
    pub fn put_aside(&self, stage: &str, key: &str) -> Result<bool, CommitError> {
        check_key(key)?;
        let _lock = standing::lock(&self.layout)?;
        let Ok(read) = calls::read_manifest(&self.layout.committed(stage, key)) else {
            return Ok(false);
        };
        let manifest = read.manifest;
        // Only what was committed for that shard.
        if manifest.key != key || manifest.stage != stage {
            return Ok(false);
        }
        let name = AttemptName {
            stage,
            key,
            attempt: manifest.attempt,
            lineage: manifest.lineage,
            lease_id: manifest.lease_id,
        };
        standing::put_aside(&self.layout, &self.trash, name)?;
        Ok(true)
    }

    /// What an attempt wrote, and what its `result.json` says; every file is read. `duration` is that of its command.
    ///
    /// # Errors
    /// [`CommitError`]: something of it can't be committed.
    pub fn describe(
        &self,
        maker: Maker<'_>,
        name: AttemptName<'_>,
        duration: Duration,
    ) -> Result<(Manifest, Option<ShardReport>), CommitError> {
        let folder = self.layout.attempt(name);
        let outputs = walk::walk(&folder)?;
        let report = if outputs.has_result {
            Some(report::read(&folder)?)
        } else {
            None
        };
        let manifest = Manifest {
            links: outputs.links,
            empty_folders: outputs.empty_folders,
            ..maker.manifest(name, duration, outputs.files)
        };
        Ok((manifest, report))
    }

    /// Removes the folder of an attempt that will not commit. Its log stays.
    pub fn discard(&self, name: AttemptName<'_>) {
        self.earlier.take(name.lease());
        let folder = self.layout.attempt(name);
        // Most failed attempts wrote nothing; the others go by way of the trash, off the slot's path.
        if calls::remove_empty(&folder).is_err() {
            self.trash.take(&folder);
        }
    }

    /// Removes the folders of all attempts whose leases are not in `keep`, and empties the trash; they are gone when this
    /// returns. Only for when nobody else works on this folder, or everyone's leases are in `keep`. Returns how many
    /// attempts went.
    ///
    /// # Errors
    /// [`CommitError::Folder`] where the attempts can't be listed.
    pub fn sweep_attempts(&self, keep: &[NamedLease]) -> Result<usize, CommitError> {
        let attempts = self.layout.all_attempts();
        let list = |folder: &Path| {
            calls::list("list to sweep", folder)
                .map_err(|error| CommitError::io("list", folder, error))
        };
        let mut swept = 0;
        for stage in list(&attempts)? {
            for folder in list(&stage)? {
                let lease = attempts::lease_of_entry(&folder, None);
                let goes = lease.is_some_and(|lease| !keep.contains(&lease));
                let is_folder = folder.extension() != Some("json".as_ref());
                let taken = || {
                    self.trash
                        .take_away(&folder)
                        .is_ok_and(|there| there.is_some())
                };
                if goes && taken() && is_folder {
                    swept += 1;
                }
            }
        }
        for leftover in list(&self.layout.trash())? {
            trash::delete_now(&leftover);
        }
        Ok(swept)
    }

    /// Renames the folders of earlier attempts at this shard into the trash, and those of other lineages.
    fn fence(&self, name: AttemptName<'_>) -> Result<(), CommitError> {
        let mut earlier = Vec::new();
        for (lease, path) in attempts::at(&self.layout, "list to fence", name)? {
            if lease.lineage != name.lineage || lease.lease_id < name.lease_id {
                earlier.push(path);
            } else if lease.lease_id > name.lease_id && steps::stands(Protection::GiveUp) {
                return Err(CommitError::Overtaken);
            }
        }
        if earlier.is_empty() {
            return Ok(());
        }
        // Whoever has looked whether it was fenced moves what it wants to move before it is.
        let _lock = match steps::stands(Protection::FenceLocked) {
            true => Some(standing::lock(&self.layout)?),
            false => None,
        };
        for path in earlier {
            self.trash
                .take_or_fail(&path)
                .map_err(|error| CommitError::io("fence", &path, error))?;
        }
        Ok(())
    }

    /// Leaves a sign of an adoption where the outputs say nothing of it: those that a later lease of the lineage has made
    /// for this version speak for themselves.
    fn sign(
        &self,
        maker: Maker<'_>,
        name: AttemptName<'_>,
        adopted: &Committed,
    ) -> Result<(), CommitError> {
        let by = adopted.lease;
        if by.lineage == name.lineage && by.lease_id >= maker.replaces_below {
            return Ok(());
        }
        attempts::leave_sign(&self.layout, name)
    }

    /// Why an attempt's folder is gone: a later attempt is here, or its own command has taken it away.
    fn gone(&self, name: AttemptName<'_>) -> CommitError {
        let attempts = attempts::at(&self.layout, "list who is here", name).unwrap_or_default();
        let later = attempts
            .into_iter()
            .any(|(lease, _)| lease.lineage != name.lineage || lease.lease_id > name.lease_id);
        if later {
            CommitError::Overtaken
        } else {
            CommitError::OutputGone
        }
    }

    fn place<'a>(&'a self, maker: Maker<'a>, name: AttemptName<'a>) -> Place<'a> {
        Place {
            layout: &self.layout,
            trash: &self.trash,
            maker,
            name,
        }
    }
}

/// Writes the manifest into an attempt's folder; gives the SHA-256 of its bytes.
///
/// # Errors
/// [`CommitError::OutputGone`] where the folder is gone; those of writing.
pub fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<[u8; 32], CommitError> {
    let path = folder.join(FILE_NAME);
    let bytes = manifest_bytes(manifest).map_err(|error| CommitError::io("write", &path, error))?;
    match calls::write_new(&path, &bytes) {
        Ok(()) => Ok(Sha256::digest(&bytes).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CommitError::OutputGone),
        Err(error) => Err(CommitError::io("write", &path, error)),
    }
}

/// What stands in `manifest.json`.
///
/// # Errors
/// Where it is no JSON; it always is.
pub fn manifest_bytes(manifest: &Manifest) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(manifest)?;
    bytes.push(b'\n');
    Ok(bytes)
}
