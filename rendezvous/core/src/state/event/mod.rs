//! What is durable: the event log's records.
//!
//! Encoded by position, so variants and fields are append-only: a variant that must change gets a new one beside it,
//! and the log format's version grows. A new one gets a line of [`Event::about`], what it says to people and programs
//! (in the file of its group), and what it means ([`State::apply`](crate::State::apply)).

mod describe;
mod jobs;
mod parts;
mod pool;
mod shards;
mod training;

pub use self::describe::Description;
pub use self::parts::{Failure, FailureKind, LeaveReason, MemberRecord, Verdict};

use self::describe::Show;

use crate::{
    Cause, EndState, Epoch, JobId, LeaseId, Lineage, Master, Millis, ShardId, StageWork, WorkerId,
};
use petctl_spec::JobSpec;
use serde::{Deserialize, Serialize};

/// An event and when it was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 1, 2, 3, … without gaps.
    pub sequence: u64,
    /// The coordinator's clock.
    pub at: Millis,
    /// What was decided.
    pub event: Event,
}

/// A decision that outlives the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A coordinator started on this log.
    CoordinatorStarted {
        /// This log: the same from its first start on.
        lineage: Lineage,
        /// Larger than that of any start before, and at least the clock's seconds.
        incarnation: u32,
        /// 1 for the first start.
        starts: u32,
    },
    /// A job was accepted.
    JobSubmitted {
        /// Its number.
        job: JobId,
        /// Its job file, resolved.
        spec: Box<JobSpec>,
        /// Tells the same job from another.
        fingerprint: [u8; 32],
        /// What is said of its shards, by stage.
        work: Vec<StageWork>,
        /// Outputs that a lease below this one committed are of an earlier version, unless they are carried over.
        first_lease: LeaseId,
        /// The earlier version whose done shards are carried over, and which goes.
        replaces: Option<JobId>,
        /// Attempts of others may be at its output: of an earlier version, or of another log.
        follows: bool,
    },
    /// An ended job goes on: failed and cancelled shards are pending again, with fresh budgets.
    JobReopened {
        /// Which.
        job: JobId,
    },
    /// The same job was submitted again with other sizes, timeouts or budgets: they hold from here on.
    JobRetuned {
        /// Which.
        job: JobId,
        /// Its file now; its work is the same.
        spec: Box<JobSpec>,
    },
    /// A pool's sizes changed.
    PoolScaled {
        /// Whose pool.
        job: JobId,
        /// Minimum.
        min: u32,
        /// Maximum.
        max: u32,
        /// Wanted.
        wanted: u32,
    },
    /// A new membership: the survivors in their order, then those who joined.
    EpochFormed {
        /// Whose pool.
        job: JobId,
        /// Its number.
        epoch: Epoch,
        /// New members, in rank order after the survivors.
        joined: Vec<MemberRecord>,
        /// Members who are none any more.
        left: Vec<(WorkerId, LeaveReason)>,
    },
    /// Members left and too few remain to form an epoch.
    QuorumLost {
        /// Whose pool.
        job: JobId,
        /// Members who are none any more.
        left: Vec<(WorkerId, LeaveReason)>,
    },
    /// A shard's outputs stand.
    ShardCommitted {
        /// Whose shard.
        job: JobId,
        /// Which.
        shard: ShardId,
        /// The attempt whose outputs stand.
        lease: LeaseId,
        /// Where its lease is from, if not from this log.
        foreign: Option<Lineage>,
        /// Where it ran: index into the job's worker names.
        worker: u32,
        /// Wall time of the command.
        duration_ms: u64,
        /// Committed files.
        files: u32,
        /// Committed bytes.
        bytes: u64,
        /// Of result.json.
        verdict: Verdict,
        /// Of result.json.
        reasons: Vec<String>,
        /// Of result.json.
        numbers: Vec<(String, f64)>,
        /// SHA-256 of the manifest.
        manifest: Option<Box<[u8; 32]>>,
    },
    /// An attempt ended without a commit, and its kind's budget was charged.
    AttemptFailed {
        /// Whose shard.
        job: JobId,
        /// Which.
        shard: ShardId,
        /// The attempt.
        lease: LeaseId,
        /// Where it ran: index into the job's worker names.
        worker: u32,
        /// Which budget.
        kind: FailureKind,
        /// The rest.
        failure: Box<Failure>,
        /// No attempts are left.
        quarantined: bool,
    },
    /// Shards that can't run because what they need failed.
    ShardsUnreachable {
        /// Whose shards.
        job: JobId,
        /// Which.
        shards: Vec<ShardId>,
    },
    /// Somebody asked for the end.
    JobCancelled {
        /// Which.
        job: JobId,
        /// For people.
        reason: String,
    },
    /// Nothing is left to do.
    JobEnded {
        /// Which.
        job: JobId,
        /// How.
        end: EndState,
    },
    /// The job is forgotten.
    JobDeleted {
        /// Which.
        job: JobId,
    },
    /// A stage's needs were met for the first time: its deadline counts from here.
    StageStarted {
        /// Whose stage.
        job: JobId,
        /// Which.
        stage: u32,
    },
    /// A stage's time is over: what is pending of it has failed.
    StageDeadlinePassed {
        /// Whose stage.
        job: JobId,
        /// Which.
        stage: u32,
    },
    /// All members of an epoch may start their processes.
    GroupStarted {
        /// Whose group.
        job: JobId,
        /// Its stage.
        stage: u32,
        /// The epoch.
        epoch: Epoch,
        /// Processes of all members.
        world_size: u32,
        /// Where rank 0 listens.
        master: Master,
        /// Step of the checkpoint it goes on from.
        resume_step: Option<u64>,
    },
    /// A group stopped that nobody had asked to.
    GroupFailed {
        /// Whose group.
        job: JobId,
        /// Its stage.
        stage: u32,
        /// The first cause, with what it was charged to.
        cause: Box<Cause>,
        /// Restarts used now, this one included.
        restarts_used: u32,
        /// Lost workers used now, this one included.
        lost_used: u32,
    },
    /// A group is stopped on purpose: what its processes do from here on is no failure.
    GroupStopping {
        /// Whose group.
        job: JobId,
        /// Its stage.
        stage: u32,
        /// The epoch that stops.
        epoch: Epoch,
        /// Stable code.
        code: String,
        /// For people.
        message: String,
    },
    /// A checkpoint is complete.
    CheckpointCommitted {
        /// Whose.
        job: JobId,
        /// Its stage.
        stage: u32,
        /// The epoch that wrote it.
        epoch: Epoch,
        /// The step it holds.
        step: u64,
        /// Absolute.
        path: String,
    },
    /// Somebody stopped the job's work for a while.
    JobSuspended {
        /// Which.
        job: JobId,
        /// For people.
        reason: String,
    },
    /// The job's work goes on.
    JobResumed {
        /// Which.
        job: JobId,
    },
    /// A second attempt at a straggler ended, or another attempt was faster.
    SecondAttemptEnded {
        /// Whose shard.
        job: JobId,
        /// Which.
        shard: ShardId,
        /// Its outputs stand.
        won: bool,
    },
    /// Shards that do not run because what they need was skipped.
    ShardsSkipped {
        /// Whose shards.
        job: JobId,
        /// Which.
        shards: Vec<ShardId>,
    },
    /// The place of a job's workers knows why one of them that had joined has ended.
    WorkerEnded {
        /// Whose worker.
        job: JobId,
        /// Its name.
        worker: String,
        /// Stable code.
        code: String,
        /// One sentence.
        message: String,
    },
}

/// What can be said of an event without knowing what it is about.
#[derive(Clone, Copy, Debug)]
struct About<'a> {
    kind: &'static str,
    job: Option<JobId>,
    epoch: Epoch,
    left: &'a [(WorkerId, LeaveReason)],
    show: Show,
}

impl<'a> About<'a> {
    fn coordinator(kind: &'static str, show: Show) -> Self {
        Self {
            kind,
            job: None,
            epoch: Epoch(0),
            left: &[],
            show,
        }
    }

    fn job(kind: &'static str, job: JobId, show: Show) -> Self {
        Self {
            job: Some(job),
            ..Self::coordinator(kind, show)
        }
    }

    fn epoch(self, epoch: Epoch) -> Self {
        Self { epoch, ..self }
    }

    fn left(self, left: &'a [(WorkerId, LeaveReason)]) -> Self {
        Self { left, ..self }
    }
}

impl Event {
    /// Stable name of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.about().kind
    }

    /// The job it is about.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.about().job
    }

    /// The epoch it speaks of; 0 where it does not.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.about().epoch
    }

    /// Members who are none any more by it.
    #[must_use]
    pub fn left(&self) -> &[(WorkerId, LeaveReason)] {
        self.about().left
    }

    fn about(&self) -> About<'_> {
        match self {
            Self::CoordinatorStarted { .. } => {
                About::coordinator("coordinator_started", jobs::show)
            }
            Self::JobSubmitted { job, .. } => About::job("job_submitted", *job, jobs::show),
            Self::JobReopened { job } => About::job("job_reopened", *job, jobs::show),
            Self::JobRetuned { job, .. } => About::job("job_retuned", *job, jobs::show),
            Self::PoolScaled { job, .. } => About::job("pool_scaled", *job, pool::show),
            Self::EpochFormed {
                job, epoch, left, ..
            } => About::job("epoch_formed", *job, pool::show)
                .epoch(*epoch)
                .left(left),
            Self::QuorumLost { job, left } => {
                About::job("quorum_lost", *job, pool::show).left(left)
            }
            Self::ShardCommitted { job, .. } => About::job("shard_committed", *job, shards::show),
            Self::AttemptFailed { job, .. } => About::job("attempt_failed", *job, shards::show),
            Self::ShardsUnreachable { job, .. } => {
                About::job("shards_unreachable", *job, shards::show)
            }
            Self::JobCancelled { job, .. } => About::job("job_cancelled", *job, jobs::show),
            Self::JobEnded { job, .. } => About::job("job_ended", *job, jobs::show),
            Self::JobDeleted { job } => About::job("job_deleted", *job, jobs::show),
            Self::StageStarted { job, .. } => About::job("stage_started", *job, shards::show),
            Self::StageDeadlinePassed { job, .. } => {
                About::job("stage_deadline_passed", *job, shards::show)
            }
            Self::GroupStarted { job, epoch, .. } => {
                About::job("group_started", *job, training::show).epoch(*epoch)
            }
            Self::GroupFailed { job, cause, .. } => {
                About::job("group_failed", *job, training::show).epoch(cause.epoch)
            }
            Self::GroupStopping { job, epoch, .. } => {
                About::job("group_stopping", *job, training::show).epoch(*epoch)
            }
            Self::CheckpointCommitted { job, epoch, .. } => {
                About::job("checkpoint_committed", *job, training::show).epoch(*epoch)
            }
            Self::JobSuspended { job, .. } => About::job("job_suspended", *job, jobs::show),
            Self::JobResumed { job } => About::job("job_resumed", *job, jobs::show),
            Self::SecondAttemptEnded { job, .. } => {
                About::job("second_attempt_ended", *job, shards::show)
            }
            Self::ShardsSkipped { job, .. } => About::job("shards_skipped", *job, shards::show),
            Self::WorkerEnded { job, .. } => About::job("worker_ended", *job, jobs::show),
        }
    }
}
