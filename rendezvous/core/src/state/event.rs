//! What is durable: the event log's records.
//!
//! Encoded by position, so variants and fields are append-only: a variant that must change gets a new one beside it,
//! and the storage format's version grows.

use crate::{Cause, EndState, Epoch, JobId, LeaseId, Master, Millis, ShardId, StageWork, WorkerId};
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
        /// 1 for the first start.
        incarnation: u32,
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
}

/// A member, as an epoch records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Its process.
    pub worker: WorkerId,
    /// For people.
    pub name: String,
    /// Its host.
    pub host: String,
    /// How other workers reach it; a loopback address: on the coordinator's host.
    pub address: String,
    /// Training processes it starts.
    pub processes: u32,
}

/// Why a member is none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LeaveReason {
    /// Its process died or its stream stayed broken.
    Gone,
    /// It was silent.
    Silent,
    /// It announced its leave.
    Left,
    /// The pool shrank.
    ScaledDown,
    /// It did not come back after the coordinator's restart.
    NotBack,
    /// The job ended.
    JobEnded,
    /// Somebody drained it.
    Drained,
    /// It stays, outside: training goes better without it, or `unit` leaves no place for it.
    LeftOut,
}

/// The kinds of failure, each with a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureKind {
    /// The command's own.
    Failed,
    /// Ran into `timeout`.
    TimedOut,
    /// Its worker died or went silent.
    WorkerLost,
    /// Disk full, process not startable.
    Infrastructure,
    /// Its worker announced its leave.
    Preempted,
}

impl FailureKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 5] = [
        Self::Failed,
        Self::TimedOut,
        Self::WorkerLost,
        Self::Infrastructure,
        Self::Preempted,
    ];

    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::WorkerLost => "worker_lost",
            Self::Infrastructure => "infrastructure",
            Self::Preempted => "preempted",
        }
    }
}

/// What is known of a failed attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Wall time of the command.
    pub duration_ms: u64,
    /// If it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it; 0: none.
    pub signal: u32,
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Last lines of its log.
    pub log_tail: String,
}

/// A shard's own judgement of its outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// It gave none.
    #[default]
    None,
    /// Its checks passed.
    Pass,
    /// Its checks failed.
    Fail,
    /// There was nothing to check.
    Skipped,
}
