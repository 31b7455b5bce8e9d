//! A job as the durable events tell it.

use crate::{
    Details, Epoch, Failure, FailureCounts, FailureKind, Group, HeldLease, JobId, LeaseId, Lineage,
    MemberRecord, Millis, ShardId, StageContents, StageWork, Verdict,
};
use petctl_spec::{JobSpec, ShardDetail, shards};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A job: its file, its membership, its shards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Its file; the pool's sizes in it are those that hold now.
    pub spec: JobSpec,
    /// Tells the same job from another.
    pub fingerprint: [u8; 32],
    /// When it was submitted.
    pub submitted_at: Millis,
    /// The coordinator's start in which it was submitted or reopened.
    pub incarnation: u32,
    /// Set when somebody asked for the end.
    pub cancelled: Option<String>,
    /// Set when nothing is left to do.
    pub end: Option<(EndState, Millis)>,
    /// Number of the newest epoch.
    pub epoch: Epoch,
    /// Members in rank order.
    pub members: Vec<Membership>,
    /// Whether `members` form an epoch (enough of them).
    pub formed: bool,
    /// Names of all workers that ever were members; shards refer to them by index.
    pub worker_names: Vec<String>,
    /// In the job file's order.
    pub stages: Vec<Stage>,
    /// Set while somebody has stopped its work.
    pub suspended: Option<String>,
    /// Of its training stages, by stage.
    pub groups: BTreeMap<u32, Group>,
    /// Outputs that a lease below this one committed are of an earlier version of the job, unless they were carried over.
    pub first_lease: LeaseId,
    /// There was an earlier version, or others had used the output: attempts of those may still run somewhere.
    pub follows: bool,
}

/// A member and the epoch since which it is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Who.
    pub member: MemberRecord,
    /// Since when.
    pub admitted: Epoch,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndState {
    /// Every shard is committed or skipped, none failed its checks, and no stage has less done than it must.
    Succeeded,
    /// Something failed for good.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl EndState {
    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A stage and its shards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Keys that were listed at submission; empty where they can be computed.
    pub keys: Vec<String>,
    /// One for each shard.
    pub shards: Vec<Shard>,
    /// How they stand.
    pub counts: Counts,
    /// The first that failed for good or did not pass their checks, at most ten.
    pub first_failures: Vec<u32>,
    /// When its needs were first met, where somebody counts from there.
    pub started_at: Option<Millis>,
    /// What is known of its shards beside their keys; empty, or one for each.
    pub details: Details,
    /// What decides whether they must run again.
    pub contents: StageContents,
    /// How long each is expected to run, in ms; empty, or one for each.
    pub expected_ms: Vec<u32>,
}

/// How a stage's shards stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Committed.
    pub done: u64,
    /// Quarantined.
    pub failed: u64,
    /// Will not run.
    pub cancelled: u64,
    /// Did not run, because what they need was skipped.
    pub skipped: u64,
    /// Committed with a failed check.
    pub verdict_fail: u64,
    /// Committed with nothing to check.
    pub verdict_skipped: u64,
    /// Failed attempts that another followed.
    pub retries: u64,
    /// Sum over committed attempts.
    pub duration_ms: u64,
    /// Done in an earlier version of the job, and not run again.
    pub reused: u64,
    /// Second attempts of stragglers that have ended.
    pub speculative: u64,
    /// Second attempts that were faster.
    pub speculative_won: u64,
}

/// A shard as it is stored: a million of them must fit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Shard {
    /// Where it stands.
    pub phase: Phase,
    /// Of its committed outputs.
    pub verdict: Verdict,
    /// Done in an earlier version of the job, and not run again.
    pub reused: bool,
    /// To run again although it was done and nothing of it changed.
    pub asked: bool,
    /// Index into the job's worker names, of the last ended attempt.
    pub worker: u32,
    /// Of the last ended attempt.
    pub duration_ms: u32,
    /// Committed files.
    pub files: u32,
    /// The last ended attempt's lease; 0: none.
    pub lease: LeaseId,
    /// Where that lease is from, if not from this log: somebody else's outputs were taken over. None: from this log.
    pub foreign: Lineage,
    /// Committed bytes.
    pub bytes: u64,
    /// What few shards have.
    pub detail: Option<Box<Detail>>,
}

/// Where a shard durably stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Has to run, or runs.
    #[default]
    Pending,
    /// Its outputs are committed.
    Done,
    /// Quarantined.
    Failed,
    /// Will not run.
    Cancelled,
    /// Did not run, because what it needs was skipped: it has no outputs, and nothing is missing.
    Skipped,
}

/// What few shards have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Detail {
    /// Of result.json.
    pub reasons: Vec<String>,
    /// Of result.json.
    pub numbers: Vec<(String, f64)>,
    /// Failures since the job was last opened.
    pub failures: FailureCounts,
    /// The last one.
    pub last_failure: Option<Failure>,
}

impl Job {
    /// The members' rank order holds `worker` at this place.
    #[must_use]
    pub fn rank_of(&self, worker: crate::WorkerId) -> Option<u32> {
        let rank = self
            .members
            .iter()
            .position(|m| m.member.worker == worker)?;
        u32::try_from(rank).ok()
    }

    /// The place of a worker's name among those that the job's records use; [`u32::MAX`]: it has none.
    pub(crate) fn worker_index(&self, name: &str) -> u32 {
        let index = self.worker_names.iter().position(|n| n == name);
        index
            .and_then(|index| u32::try_from(index).ok())
            .unwrap_or(u32::MAX)
    }

    /// As [`Self::worker_index`], for a name that may be new.
    pub(crate) fn worker_index_or_new(&mut self, name: &str) -> u32 {
        if self.worker_index(name) == u32::MAX {
            self.worker_names.push(name.to_owned());
        }
        self.worker_index(name)
    }

    /// The result of this attempt at a shard is durable already.
    pub(crate) fn has_result_of(&self, held: &HeldLease) -> bool {
        let stage = self.stages.get(held.shard.stage as usize);
        let shard = stage.and_then(|s| s.shards.get(held.shard.index as usize));
        shard.is_some_and(|s| {
            s.phase == Phase::Done && s.lease == held.lease && s.foreign == Lineage(0)
        })
    }

    /// Whether a shard runs again although nothing of it changed.
    pub(crate) fn is_asked(&self, shard: ShardId) -> bool {
        let stage = self.stages.get(shard.stage as usize);
        stage
            .and_then(|stage| stage.shards.get(shard.index as usize))
            .is_some_and(|shard| shard.asked)
    }

    /// Workers that its pool wants, spares included.
    pub(crate) fn workers_wanted(&self) -> u32 {
        let sizes = &self.spec.workers;
        sizes.wanted.min(sizes.max).saturating_add(sizes.spares)
    }

    /// Stages that need `stage`, with whether they do shard by shard.
    pub(crate) fn dependents(&self, stage: usize) -> impl Iterator<Item = (usize, bool)> + '_ {
        self.spec
            .stages
            .iter()
            .enumerate()
            .flat_map(move |(index, spec)| {
                spec.needs
                    .iter()
                    .filter(move |n| n.stage as usize == stage)
                    .map(move |n| (index, n.per_shard))
            })
    }

    /// Every shard is committed or will never be.
    pub(crate) fn is_settled(&self) -> bool {
        self.stages.iter().all(Stage::is_settled)
    }

    /// How it ends if nothing more happens.
    pub(crate) fn end_state(&self) -> EndState {
        let complete = self
            .stages
            .iter()
            .all(|s| s.is_complete() && s.counts.verdict_fail == 0)
            && (0..self.stages.len()).all(|stage| self.too_few_done(stage).is_none());
        if complete {
            EndState::Succeeded
        } else if self.cancelled.is_some() {
            EndState::Cancelled
        } else {
            EndState::Failed
        }
    }

    /// How many shards of a stage may be missing when what needs it as a whole starts.
    #[must_use]
    pub fn may_miss(&self, stage: usize) -> u64 {
        let shards = self.stages.get(stage).map_or(0, |s| s.shards.len()) as u64;
        let spec = self.spec.stages.get(stage);
        let ppm = spec.map_or(0, |s| s.dispatch.allow_failed_ppm);
        shards.saturating_mul(u64::from(ppm)) / 1_000_000
    }

    /// Of a stage that has ended with fewer shards really done than its `min_done`: how many that is.
    #[must_use]
    pub fn too_few_done(&self, stage: usize) -> Option<u64> {
        let state = self.stages.get(stage).filter(|s| s.is_settled())?;
        let min = self.spec.stages.get(stage)?.dispatch.min_done;
        let min = min.of(state.shards.len() as u64);
        (state.really_done() < min).then_some(min)
    }

    /// Whether a shard was skipped: it said so itself, or what it needs was.
    pub(crate) fn was_skipped(&self, shard: ShardId) -> bool {
        let stage = self.stages.get(shard.stage as usize);
        let shard = stage.and_then(|stage| stage.shards.get(shard.index as usize));
        shard.is_some_and(|shard| match shard.phase {
            Phase::Skipped => true,
            Phase::Done => shard.verdict == Verdict::Skipped,
            Phase::Pending | Phase::Failed | Phase::Cancelled => false,
        })
    }

    /// The key of a shard.
    #[must_use]
    pub fn key(&self, stage: usize, index: usize) -> String {
        let Some(state) = self.stages.get(stage) else {
            return String::new();
        };
        if let Some(key) = state.keys.get(index) {
            return key.clone();
        }
        let kind = &self.spec.stages[stage].kind;
        if let Some(key) = kind.single_key() {
            return key.to_owned();
        }
        let key = kind
            .source()
            .and_then(|source| shards::key_at(source, index as u64));
        key.unwrap_or_default()
    }
}

/// How many failures a stage remembers by index: enough to show, without a look at a million shards.
pub(crate) const FIRST_FAILURES: usize = 10;

impl Stage {
    pub(crate) fn new(count: usize, work: &StageWork) -> Self {
        Self {
            keys: work.keys.clone(),
            shards: vec![Shard::default(); count],
            counts: Counts::default(),
            first_failures: Vec::new(),
            started_at: None,
            details: work.details.clone(),
            contents: work.contents.clone(),
            expected_ms: work.expected_ms.clone(),
        }
    }

    /// What is known of a shard beside its key.
    pub(crate) fn detail(&self, index: usize) -> Option<Box<ShardDetail>> {
        let detail = self.details.0.get(index).filter(|d| !d.is_empty())?;
        Some(Box::new(detail.clone()))
    }

    /// How long a shard is expected to run, in ms; 0: nobody knows.
    pub(crate) fn expected(&self, index: usize) -> u32 {
        self.expected_ms.get(index).copied().unwrap_or_default()
    }

    /// Shards that failed or did not run.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.counts.failed + self.counts.cancelled
    }

    /// All of it is committed, or skipped with what it needs.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.counts.done + self.counts.skipped == self.shards.len() as u64
    }

    /// Shards that are committed and did not say that there was nothing to do.
    #[must_use]
    pub fn really_done(&self) -> u64 {
        self.counts.done - self.counts.verdict_skipped
    }

    /// Shards that were skipped, by their own word or with what they need.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.counts.verdict_skipped + self.counts.skipped
    }

    /// Nothing of it is pending.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pending() == 0
    }

    /// Shards that have to run or run.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let Counts {
            done,
            failed,
            cancelled,
            skipped,
            ..
        } = self.counts;
        self.shards.len() as u64 - done - failed - cancelled - skipped
    }
}

impl Shard {
    /// Failures since the job was last opened.
    #[must_use]
    pub fn failures(&self) -> FailureCounts {
        self.detail.as_ref().map(|d| d.failures).unwrap_or_default()
    }

    /// Attempts that have ended.
    #[must_use]
    pub fn ended_attempts(&self) -> u32 {
        self.failures().total() + u32::from(self.phase == Phase::Done)
    }
}

impl FailureCounts {
    /// Of all kinds.
    #[must_use]
    pub fn total(&self) -> u32 {
        FailureKind::ALL.iter().map(|k| self.of(*k)).sum()
    }

    /// Of one kind.
    #[must_use]
    pub fn of(&self, kind: FailureKind) -> u32 {
        match kind {
            FailureKind::Failed => self.failed,
            FailureKind::TimedOut => self.timed_out,
            FailureKind::WorkerLost => self.worker_lost,
            FailureKind::Infrastructure => self.infrastructure,
            FailureKind::Preempted => self.preempted,
        }
    }

    pub(crate) fn add(&mut self, kind: FailureKind) {
        let count = match kind {
            FailureKind::Failed => &mut self.failed,
            FailureKind::TimedOut => &mut self.timed_out,
            FailureKind::WorkerLost => &mut self.worker_lost,
            FailureKind::Infrastructure => &mut self.infrastructure,
            FailureKind::Preempted => &mut self.preempted,
        };
        *count = count.saturating_add(1);
    }
}
