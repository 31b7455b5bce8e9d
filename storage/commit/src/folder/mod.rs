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
//! **Earlier versions.** Outputs that were committed for an earlier version of a job are moved into the trash before an
//! attempt of the present version starts, so nobody takes them for its own; and again should they appear later.
//!
//! **Fencing.** An attempt that may have a living predecessor first renames the folders of all other attempts at its
//! shard into the trash. A predecessor that wakes up later finds its folder gone when it publishes.

mod publish;
mod standing;
mod syncer;
mod trash;
mod walk;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::{CommitError, Committed, Maker, report};
use petctl_output::layout::{AttemptName, Layout, check_key, lease_of_attempt_folder};
use petctl_output::manifest::{FILE_NAME, Manifest, VERSION};
use petctl_output::result::ShardReport;
use petctl_output::timestamp::rfc3339;

use self::standing::Place;
pub use self::syncer::Syncer;
use self::trash::Trash;
pub use self::walk::MAX_FILES;

/// Commits attempts below one output folder. Any number of these, in any number of processes, may work on one folder.
#[derive(Debug)]
pub struct Committer {
    layout: Layout,
    trash: Trash,
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
            fs::create_dir_all(&folder).map_err(|error| CommitError::io("make", &folder, error))?;
        }
        Ok(Self {
            trash: Trash::new(layout.trash()),
            layout,
        })
    }

    /// The paths below this output folder.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Readies the folder of an attempt. With `fence`, takes away the folders of all other attempts at the shard, and
    /// then looks whether one of them had committed.
    ///
    /// # Errors
    /// [`CommitError`]; none of them is the shard's fault, but for a bad key.
    pub fn begin(
        &self,
        maker: Maker<'_>,
        name: AttemptName<'_>,
        fence: bool,
    ) -> Result<Begin, CommitError> {
        check_key(name.key)?;
        if fence {
            self.fence(name)?;
            if let Some(committed) = self.adopt(maker, name)? {
                return Ok(Begin::Adopted(committed));
            }
        } else {
            self.place(maker, name).move_older_away()?;
        }
        let folder = self.layout.attempt(name);
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = self.layout.attempts(name.stage);
                fs::create_dir_all(&parent)
                    .map_err(|error| CommitError::io("make", &parent, error))?;
                fs::create_dir(&folder).map_err(|error| CommitError::io("make", &folder, error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.trash.take(&folder);
                fs::create_dir(&folder).map_err(|error| CommitError::io("make", &folder, error))?;
            }
            Err(error) => return Err(CommitError::io("make", &folder, error)),
        }
        Ok(Begin::Folder(folder))
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
    ) -> Result<Committed, CommitError> {
        let (manifest, report) = self.describe(maker, name)?;
        let folder = self.layout.attempt(name);
        let manifest_sha256 = write_manifest(&folder, &manifest)?;
        let target = self.layout.committed(name.stage, name.key);
        loop {
            match publish::publish(&folder, &target) {
                Ok(()) => break,
                Err(Errno::EXIST | Errno::NOTEMPTY) => {
                    if let Some(committed) = self.adopt(maker, name)? {
                        self.discard(name);
                        return Ok(committed);
                    }
                }
                Err(Errno::NOENT) => return Err(CommitError::OutputGone),
                Err(errno) => return Err(CommitError::io("publish", &target, errno.into())),
            }
        }
        Ok(Committed::new(&manifest, manifest_sha256, report))
    }

    /// What an attempt wrote, and what its `result.json` says; every file is read.
    ///
    /// # Errors
    /// [`CommitError`]: something of it can't be committed.
    pub fn describe(
        &self,
        maker: Maker<'_>,
        name: AttemptName<'_>,
    ) -> Result<(Manifest, Option<ShardReport>), CommitError> {
        let folder = self.layout.attempt(name);
        let outputs = walk::walk(&folder)?;
        let report = if outputs.has_result {
            Some(report::read(&folder)?)
        } else {
            None
        };
        let manifest = Manifest {
            version: VERSION,
            job: maker.job.to_owned(),
            stage: name.stage.to_owned(),
            key: name.key.to_owned(),
            attempt: name.attempt,
            lease_id: name.lease_id,
            worker: maker.worker.to_owned(),
            committed_at: rfc3339(SystemTime::now()),
            files: outputs.files,
            links: outputs.links,
            empty_folders: outputs.empty_folders,
        };
        Ok((manifest, report))
    }

    /// Removes the folder of an attempt that will not commit. Its log stays.
    pub fn discard(&self, name: AttemptName<'_>) {
        let folder = self.layout.attempt(name);
        // Most failed attempts wrote nothing; the others go by way of the trash, off the slot's path.
        if fs::remove_dir(&folder).is_err() {
            self.trash.take(&folder);
        }
    }

    /// Removes the folders of all attempts whose leases are not in `keep`, and empties the trash. Only for when nobody
    /// else works on this folder, or everyone's leases are in `keep`. Returns how many attempts went.
    ///
    /// # Errors
    /// [`CommitError::Folder`] where the attempts can't be listed.
    pub fn sweep_attempts(&self, keep: &[u64]) -> Result<usize, CommitError> {
        let attempts = self.layout.all_attempts();
        let list = |folder: &Path| {
            let entries =
                fs::read_dir(folder).map_err(|error| CommitError::io("list", folder, error))?;
            Ok::<_, CommitError>(
                entries
                    .flatten()
                    .map(|entry| entry.path())
                    .collect::<Vec<_>>(),
            )
        };
        let mut swept = 0;
        for stage in list(&attempts)? {
            for folder in list(&stage)? {
                let lease = lease_of_entry(&folder, None);
                let goes = lease.is_some_and(|lease| !keep.contains(&lease));
                if goes && self.trash.take(&folder) && folder.extension() != Some("json".as_ref()) {
                    swept += 1;
                }
            }
        }
        for leftover in list(&self.layout.trash())? {
            self.trash.delete(leftover);
        }
        Ok(swept)
    }

    /// Renames the folders of all other attempts at this shard into the trash.
    fn fence(&self, name: AttemptName<'_>) -> Result<(), CommitError> {
        let folder = self.layout.attempts(name.stage);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(CommitError::io("list", &folder, error)),
        };
        for entry in entries {
            let path = entry
                .map_err(|error| CommitError::io("list", &folder, error))?
                .path();
            let lease = lease_of_entry(&path, Some(name.key));
            if lease.is_some_and(|lease| lease != name.lease_id) {
                self.trash
                    .take_or_fail(&path)
                    .map_err(|error| CommitError::io("fence", &path, error))?;
            }
        }
        Ok(())
    }

    /// The committed outputs of a shard, their hashes checked; `None` where there are none, or where they were
    /// damaged and have been moved away.
    fn adopt(
        &self,
        maker: Maker<'_>,
        name: AttemptName<'_>,
    ) -> Result<Option<Committed>, CommitError> {
        let whole = self.place(maker, name).adopt()?;
        Ok(
            whole
                .map(|whole| Committed::new(&whole.read.manifest, whole.read.sha256, whole.report)),
        )
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
    let written =
        fs::File::create_new(&path).and_then(|mut file| io::Write::write_all(&mut file, &bytes));
    match written {
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

/// The lease that an attempt's folder, or the shard file beside it, belongs to.
fn lease_of_entry(path: &Path, key: Option<&str>) -> Option<u64> {
    let name = path.file_name().and_then(|name| name.to_str())?;
    lease_of_attempt_folder(name.strip_suffix(".json").unwrap_or(name), key)
}
