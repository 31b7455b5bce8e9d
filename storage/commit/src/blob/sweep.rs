//! Removing what lost attempts left behind.
//!
//! A lost attempt may still run somewhere, and commit in the next moment. So its data goes only when the register makes
//! that impossible: it holds another's commit, or a later claim, or a claim that the sweep puts there itself.

use super::register::{self, NewClaim, Register};
use super::{BlobCommitter, PARALLEL, shuts_out};
use crate::steps::{self, Protection};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use petctl_output::layout::NamedLease;
use petctl_output::layout::blob::{self as layout, Found};
use petctl_output::note::Note;
use petctl_storage::{Condition, Entry, PutOutcome};
use petctl_storage::{StorageError, StorageProblem};
use std::collections::{BTreeMap, BTreeSet};

/// What a sweep leaves alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepOptions {
    /// Whose leases these are. Attempts of other lineages may run elsewhere: of them only goes what is shut out already.
    pub lineage: u64,
    /// Leases of it under which attempts may still run. Those of committed attempts may be in it too: their registers are
    /// then not read.
    pub keep: BTreeSet<u64>,
    /// The job has ended: claims go too.
    pub ended: bool,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Attempts whose data is gone.
    pub attempts: u64,
    /// Blobs removed, claims included.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl SweepOptions {
    fn keeps(&self, lease: NamedLease) -> bool {
        lease.lineage == self.lineage && self.keep.contains(&lease.lease_id)
    }
}

impl Swept {
    fn add(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.blobs += other.blobs;
        self.bytes += other.bytes;
    }
}

/// What is there of one shard.
#[derive(Debug, Default)]
struct Shard {
    /// By lease: the name of the attempt.
    attempts: BTreeMap<NamedLease, String>,
    register: Listed,
}

/// What a listing shows of a register: a commit has a note, so that it need not be read.
#[derive(Debug, Default, PartialEq, Eq)]
enum Listed {
    #[default]
    Nothing,
    /// A claim, or what another tool has brought here.
    Unknown,
    /// The commit of this attempt.
    Commit(String),
}

type Shards = BTreeMap<(String, String), Shard>;

impl BlobCommitter {
    /// Removes what lost attempts left: data that no commit names and no kept lease may still need. What can't be
    /// decided yet stays for the next sweep.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn sweep(&self, options: &SweepOptions) -> Result<Swept, StorageError> {
        self.sweep_below("", options).await
    }

    /// As [`Self::sweep`], of one stage only.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn sweep_stage(
        &self,
        stage: &str,
        options: &SweepOptions,
    ) -> Result<Swept, StorageError> {
        self.sweep_below(&format!("{stage}/"), options).await
    }

    async fn sweep_below(
        &self,
        prefix: &str,
        options: &SweepOptions,
    ) -> Result<Swept, StorageError> {
        let mut swept = Swept::default();
        let mut open = Shards::new();
        let mut mark = None;
        loop {
            let page = self.store().list(prefix, mark.as_deref()).await?;
            for entry in &page.entries {
                note(&mut open, entry);
            }
            // What the last name is not below is seen whole.
            let last = page.entries.last().map(|entry| entry.name.clone());
            mark = page.mark;
            let ready = match (&mark, last) {
                (Some(_), Some(last)) => take_ready(&mut open, &last),
                (Some(_), None) => Shards::new(),
                (None, _) => std::mem::take(&mut open),
            };
            let shards = ready
                .iter()
                .map(|((stage, key), shard)| self.sweep_shard(stage, key, shard, options))
                .collect::<Vec<_>>();
            let all: Vec<Swept> = stream::iter(shards)
                .buffer_unordered(PARALLEL)
                .try_collect()
                .await?;
            all.into_iter().for_each(|one| swept.add(one));
            if mark.is_none() {
                return Ok(swept);
            }
        }
    }

    async fn sweep_shard(
        &self,
        stage: &str,
        key: &str,
        shard: &Shard,
        options: &SweepOptions,
    ) -> Result<Swept, StorageError> {
        let mut swept = Swept::default();
        // Latest first: a claim that shuts it out shuts out those before it as well.
        for (lease, attempt) in shard.attempts.iter().rev() {
            // Its data is the outputs. Should another have replaced it since, the next sweep sees that.
            let is_committed = matches!(&shard.register, Listed::Commit(by) if by == attempt);
            if is_committed
                || options.keeps(*lease)
                || !self.shut_out(stage, key, *lease, options).await?
            {
                continue;
            }
            let (blobs, bytes) = self.remove(&format!("{stage}/{key}/{attempt}/")).await?;
            swept.add(Swept {
                attempts: 1,
                blobs,
                bytes,
            });
        }
        if options.ended
            && shard.register == Listed::Unknown
            && self.drop_claim(stage, key, shard, options).await?
        {
            swept.blobs += 1;
        }
        Ok(swept)
    }

    /// Whether that lease's attempt can't commit any more, after making it so where that harms nobody.
    async fn shut_out(
        &self,
        stage: &str,
        key: &str,
        lease: NamedLease,
        options: &SweepOptions,
    ) -> Result<bool, StorageError> {
        let (condition, earlier) = match register::read(self.store(), stage, key).await? {
            Register::Commit(commit) => return Ok(commit.manifest.lease() != lease),
            // Its data waits for the shard to be again what it was then.
            Register::Claim(claim)
                if claim.holds(lease) && steps::stands(Protection::SweepKeepsAside) =>
            {
                return Ok(false);
            }
            Register::Claim(claim) if shuts_out(&claim, lease) => return Ok(true),
            Register::Claim(claim) if claim.by.lineage != lease.lineage => return Ok(true),
            Register::Claim(claim) => (Condition::Match(claim.etag), claim.earlier),
            Register::Empty => (Condition::Absent, None),
        };
        // A claim of ours would shut out kept attempts of earlier leases too.
        if lease.lineage != options.lineage || options.keep.range(..lease.lease_id).next().is_some()
        {
            return Ok(false);
        }
        if !steps::stands(Protection::SweepClaims) {
            return Ok(true);
        }
        let claim = NewClaim {
            by: lease,
            swept: true,
            earlier: earlier.as_deref(),
        };
        let claimed = register::claim(self.store(), stage, key, claim, &condition).await?;
        match claimed {
            PutOutcome::Done(_) => Ok(true),
            // Somebody moves there; or our own answer was lost. The next sweep sees it.
            PutOutcome::Lost => match register::read(self.store(), stage, key).await? {
                Register::Commit(commit) => Ok(commit.manifest.lease() != lease),
                Register::Claim(claim) => Ok(claim.by == lease && claim.swept),
                Register::Empty => Ok(false),
            },
        }
    }

    /// Of an ended job: a claim that nobody will turn into a commit. One that just shut somebody out stays for now.
    async fn drop_claim(
        &self,
        stage: &str,
        key: &str,
        shard: &Shard,
        options: &SweepOptions,
    ) -> Result<bool, StorageError> {
        let Register::Claim(claim) = register::read(self.store(), stage, key).await? else {
            return Ok(false);
        };
        let goes = claim.by.lineage == options.lineage && claim.earlier.is_none();
        if !goes || options.keeps(claim.by) || (claim.swept && !shard.attempts.is_empty()) {
            return Ok(false);
        }
        let register = layout::register(stage, key);
        match self.store().delete(&register, Some(&claim.etag)).await {
            Ok(removed) => Ok(removed),
            Err(error) if error.problem == StorageProblem::Changed => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn note(shards: &mut Shards, entry: &Entry) {
    match layout::find(&entry.name) {
        None => {}
        Some(Found::Register { stage, key }) => {
            let shard = shards
                .entry((stage.to_owned(), key.to_owned()))
                .or_default();
            let note = entry.note.as_deref().and_then(Note::parse);
            shard.register = note.map_or(Listed::Unknown, |note| Listed::Commit(note.attempt));
        }
        Some(Found::Data {
            stage,
            key,
            attempt,
            lease,
        }) => {
            let shard = shards
                .entry((stage.to_owned(), key.to_owned()))
                .or_default();
            shard.attempts.insert(lease, attempt.to_owned());
        }
    }
}

/// Takes out the shards below which no further name can come.
fn take_ready(open: &mut Shards, last: &str) -> Shards {
    let all = std::mem::take(open);
    let (waiting, ready) = all
        .into_iter()
        .partition(|((stage, key), _)| last.starts_with(&format!("{stage}/{key}/")));
    *open = waiting;
    ready
}
