//! The commit on blobs: many attempts may run, one manifest is published, and readers see that one.
//! [`layout`] says where the registers and the data are.
//!
//! Every change of a register is a conditional write, and each holds the lease it was made for. So a write whose answer
//! was lost can be told from one that somebody else made.

mod aside;
mod register;
mod sweep;

pub use aside::Aside;
pub use sweep::{SweepOptions, Swept};

use crate::run_record;
use crate::steps::{self, Protection};
use crate::{Maker, Standing};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use petctl_output::layout::blob::{self as layout, Found};
use petctl_output::layout::{AttemptName, NamedLease};
use petctl_output::manifest::Manifest;
use petctl_output::result::ShardReport;
use petctl_storage::{Condition, ETag, PutOutcome, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use register::{Claim, NewClaim, NewCommit, Register};

/// Requests at a time, of one list or removal.
const PARALLEL: usize = 32;
/// How often a register may change under our hands before we give up.
const MAX_ROUNDS: u32 = 50;

/// Commits the outputs of shards to a store.
#[derive(Clone, Debug)]
pub struct BlobCommitter {
    store: SharedStore,
}

/// What an attempt holds between its start and its commit; the default is that of the first one at its shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// The claim that its commit replaces; `None`: the register must be empty.
    pub claim: Option<ETag>,
    /// Where the outputs of before are, which go once its own stand: as [`Commit::data`].
    pub earlier: Option<String>,
}

/// A published manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// What it holds, and who made it.
    pub manifest: Manifest,
    /// Where its files are: `<stage>/<key>/<attempt>/`, with the `/` at its end.
    pub data: String,
    /// Who has adopted it last, where the manifest says nothing of that: it is another lineage's, or was brought back.
    pub adopted_by: Option<NamedLease>,
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
    /// A later lease has claimed the shard, or another lineage has; `None`: the job has ended.
    LeaseLost {
        /// Which one.
        by: Option<NamedLease>,
    },
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Ours stands.
    Ours(Commit),
    /// Another attempt's stands; ours does not count.
    Theirs(Commit),
    /// A later lease has claimed the shard, or another lineage has; ours does not count. `None`: the job has ended.
    LeaseLost {
        /// Which one.
        by: Option<NamedLease>,
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

    /// What an attempt does first. With `fence` it claims the shard, so that no earlier attempt can commit any more.
    /// Outputs of before are put aside: the claim names them, and readers find nothing.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn begin(
        &self,
        maker: Maker<'_>,
        name: AttemptName<'_>,
        fence: bool,
    ) -> Result<BlobBegin, StorageError> {
        check_key(name.key)?;
        let own = name.lease();
        for _ in 0..MAX_ROUNDS {
            let (condition, earlier) = match self.register(name).await? {
                Register::Commit(commit) => match judge(maker, name, &commit) {
                    Standing::Adopted if fence && !is_signed(maker, &commit, own) => {
                        match self.adopt(name, &commit, &commit.etag).await? {
                            Some(commit) => return Ok(BlobBegin::Committed(Box::new(commit))),
                            None => continue,
                        }
                    }
                    // Whose it is, if it is another job's, those say who want to adopt it.
                    Standing::Adopted | Standing::Foreign => {
                        return Ok(BlobBegin::Committed(commit));
                    }
                    // Whoever stood still while another run took the output over puts nothing of that run's aside.
                    Standing::Earlier
                        if commit.manifest.lineage != own.lineage
                            && run_record::is_others_in(&self.store, own.lineage).await? =>
                    {
                        let by = Some(commit.manifest.lease());
                        return Ok(BlobBegin::LeaseLost { by });
                    }
                    Standing::Earlier => (Condition::Match(commit.etag.clone()), Some(commit)),
                    Standing::Later => {
                        let by = Some(commit.manifest.lease());
                        return Ok(BlobBegin::LeaseLost { by });
                    }
                },
                Register::Claim(claim)
                    if shuts_out(&claim, own) && steps::stands(Protection::GiveUp) =>
                {
                    return Ok(BlobBegin::LeaseLost { by: Some(claim.by) });
                }
                Register::Claim(claim) => {
                    if let Some(earlier) = &claim.earlier
                        && maker.may_restore(name, &earlier.manifest)
                    {
                        match self.adopt(name, earlier, &claim.etag).await? {
                            Some(commit) => return Ok(BlobBegin::Committed(Box::new(commit))),
                            None => continue,
                        }
                    }
                    // Without a fence, whoever of the same lineage claimed it may still commit: the first one wins.
                    if claim.by == own || (!fence && claim.by.lineage == own.lineage) {
                        return Ok(free(Some(claim.etag), claim.earlier.as_deref()));
                    }
                    let earlier = claim.earlier;
                    let earlier = earlier.filter(|_| steps::stands(Protection::PutAside));
                    (Condition::Match(claim.etag), earlier)
                }
                Register::Empty if !fence => return Ok(free(None, None)),
                Register::Empty => (Condition::Absent, None),
            };
            let claim = NewClaim {
                by: own,
                swept: false,
                earlier: earlier.as_deref(),
            };
            let (stage, key) = (name.stage, name.key);
            let claimed = register::claim(&self.store, stage, key, claim, &condition).await?;
            // Lost: somebody was there first, or our own answer was lost. The register says which.
            match claimed {
                PutOutcome::Done(etag) => return Ok(free(Some(etag), earlier.as_deref())),
                PutOutcome::Lost => {}
            }
        }
        Err(self.restless(name))
    }

    /// Brings back outputs of before, or signs those of another lineage: so that no earlier attempt that comes late puts
    /// aside what this one counts on. `None` where somebody was faster.
    async fn adopt(
        &self,
        name: AttemptName<'_>,
        commit: &Commit,
        etag: &ETag,
    ) -> Result<Option<Commit>, StorageError> {
        let adopted_by = steps::stands(Protection::Sign).then(|| name.lease());
        let adopted = NewCommit {
            manifest: &commit.manifest,
            report: None,
            data: register::attempt_of(&commit.data),
            adopted_by,
        };
        let condition = Condition::Match(etag.clone());
        let outcome =
            register::commit(&self.store, name.stage, name.key, adopted, &condition).await?;
        Ok(match outcome {
            PutOutcome::Done(etag) => Some(Commit {
                etag,
                adopted_by,
                ..commit.clone()
            }),
            PutOutcome::Lost => None,
        })
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
        maker: Maker<'_>,
        name: AttemptName<'_>,
        (manifest, report): (&Manifest, Option<&ShardReport>),
    ) -> Result<Published, StorageError> {
        let data = layout::attempt(name);
        let mut condition = match &ticket.claim {
            None => Condition::Absent,
            Some(etag) => Condition::Match(etag.clone()),
        };
        for _ in 0..MAX_ROUNDS {
            let own = NewCommit {
                manifest,
                report,
                data: &data,
                adopted_by: None,
            };
            let outcome =
                register::commit(&self.store, name.stage, name.key, own, &condition).await?;
            if let PutOutcome::Done(etag) = outcome {
                return Ok(Published::Ours(Commit {
                    manifest: manifest.clone(),
                    data: self.data_prefix(name),
                    adopted_by: None,
                    etag,
                }));
            }
            condition = match self.register(name).await? {
                // Our answer was lost, not the race.
                Register::Commit(commit) if commit.manifest.lease() == name.lease() => {
                    return Ok(Published::Ours(*commit));
                }
                Register::Commit(commit) => match judge(maker, name, &commit) {
                    Standing::Adopted if !is_signed(maker, &commit, name.lease()) => {
                        match self.adopt(name, &commit, &commit.etag).await? {
                            Some(commit) => return Ok(Published::Theirs(commit)),
                            // It is another version by now.
                            None => Condition::Match(commit.etag),
                        }
                    }
                    Standing::Adopted | Standing::Foreign => {
                        return Ok(Published::Theirs(*commit));
                    }
                    // What made room for us has come back: a later attempt found the shard to be again what it was then.
                    Standing::Earlier if ticket.earlier.as_ref() == Some(&commit.data) => {
                        let by = Some(commit.manifest.lease());
                        return Ok(Published::LeaseLost { by });
                    }
                    // An earlier version's attempt that nobody had fenced.
                    Standing::Earlier if commit.manifest.lineage == name.lineage => {
                        Condition::Match(commit.etag)
                    }
                    Standing::Earlier if !steps::stands(Protection::CameSince) => {
                        Condition::Match(commit.etag)
                    }
                    // What was there at our beginning has made room: whoever came since has taken the output over.
                    Standing::Earlier | Standing::Later => {
                        let by = Some(commit.manifest.lease());
                        return Ok(Published::LeaseLost { by });
                    }
                },
                Register::Claim(claim) if may_replace(&claim, name.lease()) => {
                    Condition::Match(claim.etag)
                }
                Register::Claim(claim) => {
                    return Ok(Published::LeaseLost { by: Some(claim.by) });
                }
                // A claim that is gone was swept: the job has ended.
                Register::Empty if ticket.claim.is_some() => {
                    return Ok(Published::LeaseLost { by: None });
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
        // An answer was lost where it did commit, even if others have put that aside since.
        let did_commit = match self.register(name).await? {
            Register::Commit(commit) => commit.manifest.lease() == name.lease(),
            Register::Claim(claim) => {
                claim.holds(name.lease()) && steps::stands(Protection::DiscardLooks)
            }
            Register::Empty => false,
        };
        if !did_commit {
            self.remove(&self.data_prefix(name)).await?;
        }
        Ok(())
    }

    /// Removes the outputs of before, once others stand. What this leaves, the job's sweep finds.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn settle(&self, ticket: &Ticket) -> Result<(), StorageError> {
        if let Some(earlier) = &ticket.earlier {
            self.remove(earlier).await?;
        }
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

/// What committed outputs are to an attempt.
fn judge(maker: Maker<'_>, name: AttemptName<'_>, commit: &Commit) -> Standing {
    maker.judge_adopted(name, &commit.manifest, commit.adopted_by)
}

/// Whether the register says already that a lease of this version counts on the commit: the one that made it, or one that
/// has adopted it, this one or a later one. What an earlier version's attempt comes late to put aside, it leaves then.
fn is_signed(maker: Maker<'_>, commit: &Commit, own: NamedLease) -> bool {
    let by = commit.adopted_by.unwrap_or_else(|| commit.manifest.lease());
    let is_own = commit.adopted_by.is_none() && by.lease_id >= maker.replaces_below;
    by.lineage == own.lineage && (is_own || by.lease_id >= own.lease_id)
}

fn free(claim: Option<ETag>, earlier: Option<&Commit>) -> BlobBegin {
    BlobBegin::Free(Ticket {
        claim,
        earlier: earlier.map(|earlier| earlier.data.clone()),
    })
}

/// Whether a lease can't even begin any more.
fn shuts_out(claim: &Claim, own: NamedLease) -> bool {
    let later =
        claim.by.lease_id > own.lease_id || (claim.by.lease_id == own.lease_id && claim.swept);
    claim.by.lineage == own.lineage && later
}

/// Whether what a lease has begun may replace this claim. One of another lineage has come since.
fn may_replace(claim: &Claim, own: NamedLease) -> bool {
    let is_earlier = claim.by.lineage == own.lineage && !shuts_out(claim, own);
    is_earlier || !steps::stands(Protection::ReplaceEarlier)
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
