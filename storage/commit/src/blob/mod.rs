//! The commit on blobs: many attempts may run, one manifest is published, and readers see that one.
//! [`layout`] says where the registers and the data are.
//!
//! Every change of a register is a conditional write, and each holds the lease it was made for. So a write whose answer
//! was lost can be told from one that somebody else made.

mod register;
mod sweep;

pub use sweep::{SweepOptions, Swept};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use petctl_output::layout::AttemptName;
use petctl_output::layout::blob::{self as layout, Found};
use petctl_output::manifest::Manifest;
use petctl_storage::{Condition, ETag, PutOutcome, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use register::{Claim, Register};

/// Requests at a time, of one list or removal.
const PARALLEL: usize = 32;
/// How often a register may change under our hands before we give up.
const MAX_ROUNDS: u32 = 50;

/// Commits the outputs of shards to a store.
#[derive(Clone, Debug)]
pub struct BlobCommitter {
    store: SharedStore,
}

/// What an attempt holds between its start and its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The claim that its commit replaces; `None`: the register must be empty.
    pub claim: Option<ETag>,
}

/// A published manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// What it holds, and who made it.
    pub manifest: Manifest,
    /// Where its files are: `<stage>/<key>/<attempt>-<lease>/`, with the `/` at its end.
    pub data: String,
    /// The version of the register.
    pub etag: ETag,
}

/// What an attempt finds at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobBegin {
    /// It may run, and publish with this.
    Free(Ticket),
    /// The shard is committed already.
    Committed(Box<Commit>),
    /// A later lease has claimed the shard.
    LeaseLost {
        /// Which one.
        by: u64,
    },
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Ours stands.
    Ours(Commit),
    /// Another attempt's stands; ours does not count.
    Theirs(Commit),
    /// A later lease has claimed the shard; ours does not count.
    LeaseLost {
        /// Which one.
        by: u64,
    },
}

impl BlobCommitter {
    /// Commits below the root of `store`.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        Self { store }
    }

    /// Where it commits.
    #[must_use]
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// What an attempt does first. With `fence` it claims the shard, so that no earlier attempt can commit any more. A
    /// commit of a lease below `replaces_below` is of an earlier job and does not count.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn begin(
        &self,
        name: AttemptName<'_>,
        fence: bool,
        replaces_below: u64,
    ) -> Result<BlobBegin, StorageError> {
        check_key(name.key)?;
        let own = name.lease_id;
        for _ in 0..MAX_ROUNDS {
            let condition = match self.register(name).await? {
                Register::Commit(commit) if commit.manifest.lease_id >= replaces_below => {
                    return Ok(BlobBegin::Committed(commit));
                }
                // It goes at once, so that readers do not take the old outputs for the new ones.
                Register::Commit(commit) => Condition::Match(commit.etag),
                Register::Claim(claim) if claim.by > own || (claim.by == own && claim.swept) => {
                    return Ok(BlobBegin::LeaseLost { by: claim.by });
                }
                // Without a fence, whoever claimed it may still commit: the first one wins.
                Register::Claim(claim) if claim.by == own || !fence => {
                    return Ok(free(Some(claim.etag)));
                }
                Register::Claim(claim) => Condition::Match(claim.etag),
                Register::Empty if !fence => return Ok(free(None)),
                Register::Empty => Condition::Absent,
            };
            // Lost: somebody was there first, or our own answer was lost. The register says which.
            match self.claim(name, &condition).await? {
                PutOutcome::Done(etag) => return Ok(free(Some(etag))),
                PutOutcome::Lost => {}
            }
        }
        Err(self.restless(name))
    }

    /// Where an attempt puts its files: a prefix that ends with `/`.
    #[must_use]
    pub fn data_prefix(&self, name: AttemptName<'_>) -> String {
        layout::data(name)
    }

    /// Makes the attempt's files the shard's outputs. All of them must be in [`Self::data_prefix`] by now. May be called
    /// again after an error.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn publish(
        &self,
        ticket: &Ticket,
        name: AttemptName<'_>,
        manifest: &Manifest,
    ) -> Result<Published, StorageError> {
        let data = layout::attempt(name);
        let mut condition = match &ticket.claim {
            None => Condition::Absent,
            Some(etag) => Condition::Match(etag.clone()),
        };
        for _ in 0..MAX_ROUNDS {
            let (stage, key) = (name.stage, name.key);
            let outcome =
                register::commit(&self.store, stage, key, manifest, &data, &condition).await?;
            if let PutOutcome::Done(etag) = outcome {
                return Ok(Published::Ours(Commit {
                    manifest: manifest.clone(),
                    data: self.data_prefix(name),
                    etag,
                }));
            }
            condition = match self.register(name).await? {
                // Our answer was lost, not the race.
                Register::Commit(commit) if commit.manifest.lease_id == name.lease_id => {
                    return Ok(Published::Ours(*commit));
                }
                Register::Commit(commit) => return Ok(Published::Theirs(*commit)),
                Register::Claim(claim) => match self.may_replace(&claim, name) {
                    true => Condition::Match(claim.etag),
                    false => return Ok(Published::LeaseLost { by: claim.by }),
                },
                // A claim that is gone was swept: the job has ended.
                Register::Empty if ticket.claim.is_some() => {
                    return Ok(Published::LeaseLost { by: 0 });
                }
                Register::Empty => Condition::Absent,
            };
        }
        Err(self.restless(name))
    }

    /// Removes the data of an attempt that did not commit.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn discard(&self, name: AttemptName<'_>) -> Result<(), StorageError> {
        if let Register::Commit(commit) = self.register(name).await?
            && commit.manifest.lease_id == name.lease_id
        {
            // An answer was lost: it did commit.
            return Ok(());
        }
        self.remove(&self.data_prefix(name)).await?;
        Ok(())
    }

    /// The commit of a shard, where there is one.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn committed(&self, stage: &str, key: &str) -> Result<Option<Commit>, StorageError> {
        match register::read(&self.store, stage, key).await? {
            Register::Commit(commit) => Ok(Some(*commit)),
            Register::Empty | Register::Claim(_) => Ok(None),
        }
    }

    /// All commits of a stage, in the order of their keys.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn list_committed(&self, stage: &str) -> Result<Vec<Commit>, StorageError> {
        let mut keys = Vec::new();
        let mut mark = None;
        loop {
            let page = self
                .store
                .list(&format!("{stage}/"), mark.as_deref())
                .await?;
            for entry in &page.entries {
                if let Some(Found::Register { key, .. }) = layout::find(&entry.name) {
                    keys.push(key.to_owned());
                }
            }
            mark = page.mark;
            if mark.is_none() {
                break;
            }
        }
        keys.sort();
        let reads: Vec<_> = keys.iter().map(|key| self.committed(stage, key)).collect();
        let commits: Vec<Option<Commit>> =
            stream::iter(reads).buffered(PARALLEL).try_collect().await?;
        Ok(commits.into_iter().flatten().collect())
    }

    async fn register(&self, name: AttemptName<'_>) -> Result<Register, StorageError> {
        register::read(&self.store, name.stage, name.key).await
    }

    async fn claim(
        &self,
        name: AttemptName<'_>,
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        let (stage, key) = (name.stage, name.key);
        register::claim(&self.store, stage, key, name.lease_id, false, condition).await
    }

    fn may_replace(&self, claim: &Claim, name: AttemptName<'_>) -> bool {
        claim.by < name.lease_id || (claim.by == name.lease_id && !claim.swept)
    }

    fn restless(&self, name: AttemptName<'_>) -> StorageError {
        let register = layout::register(name.stage, name.key);
        StorageError::new(
            StorageProblem::Unavailable,
            format!(
                "{} was changed by others {MAX_ROUNDS} times in a row",
                self.store.address(&register)
            ),
        )
        .fix("two jobs seem to write to one place; give each an output of its own")
    }

    /// Removes everything that starts with `prefix`: how many blobs, and how many bytes.
    async fn remove(&self, prefix: &str) -> Result<(u64, u64), StorageError> {
        let (mut blobs, mut bytes) = (0, 0);
        loop {
            // From the start each time: what was listed is gone.
            let page = self.store.list(prefix, None).await?;
            let sizes = page.entries.iter().map(|entry| entry.properties.size);
            bytes += sizes.sum::<u64>();
            blobs += page.entries.len() as u64;
            let names = page.entries.iter().map(|entry| entry.name.as_str());
            let removals: Vec<_> = names.map(|name| self.store.delete(name, None)).collect();
            let _: Vec<bool> = stream::iter(removals)
                .buffer_unordered(PARALLEL)
                .try_collect()
                .await?;
            if page.mark.is_none() {
                return Ok((blobs, bytes));
            }
        }
    }
}

fn free(claim: Option<ETag>) -> BlobBegin {
    BlobBegin::Free(Ticket { claim })
}

/// Refuses keys that would make data of one shard look like another's.
fn check_key(key: &str) -> Result<(), StorageError> {
    if layout::is_ambiguous(key) {
        return Err(StorageError::new(
            StorageProblem::BadName,
            format!("the shard key {key:?} has a part that looks like an attempt's folder"),
        )
        .fix(
            "rename the input; a number, a dash and 16 hex digits is what petctl names attempts",
        ));
    }
    Ok(())
}
