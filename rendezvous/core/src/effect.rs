//! What a coordinator decides, for its driver to carry out in order.

use crate::{
    Checkpoint, Code, ConnId, Epoch, GpuShare, GroupStart, JobId, LeaseId, Lineage, Record, Reply,
    RequestId, ShardId,
};
use petctl_spec::{ContentDigest, ShardDetail};

/// One thing to do. Nothing may be sent before every [`Effect::Persist`] drained with or before it is durable.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make this record durable.
    Persist(Box<Record>),
    /// Send this on a worker's stream.
    Send {
        /// Which stream.
        conn: ConnId,
        /// The epoch of the worker's job; 0: none.
        epoch: Epoch,
        /// What to say.
        message: ToWorker,
    },
    /// End a worker's stream, with the reason.
    Close {
        /// Which stream.
        conn: ConnId,
        /// Why.
        refusal: Refusal,
    },
    /// Answer a client.
    Reply(RequestId, Result<Reply, Refusal>),
    /// This job's status may look different now.
    Changed(JobId),
    /// This job ended (it may be followed by a reopening).
    Ended(JobId),
    /// The coordinator was asked to drain, and nothing runs any more.
    Drained,
}

/// A request refused: a code and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code.
    pub code: Code,
    /// What happened, why, and what to do.
    pub message: String,
}

impl Refusal {
    /// Of a code of the catalogue.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// What a worker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// It is admitted to the coordinator; these of its held leases stand.
    Welcome {
        /// This start of the coordinator.
        incarnation: u32,
        /// Held leases that stand.
        kept: Vec<LeaseId>,
    },
    /// A heartbeat was heard.
    HeartbeatAck(u64),
    /// It is a member of this job; the driver adds the job file.
    Assignment {
        /// The job.
        job: JobId,
        /// Its rank.
        rank: u32,
        /// How many members there are.
        world_size: u32,
    },
    /// Membership changed and it is still a member.
    EpochChange {
        /// Its rank.
        rank: u32,
        /// How many members there are.
        world_size: u32,
    },
    /// Shards to run.
    Leases(Vec<LeaseGrant>),
    /// Results that are durable.
    ResultAck(Vec<LeaseId>),
    /// Results of which nothing was recorded.
    ResultRefusal {
        /// Which.
        leases: Vec<LeaseId>,
        /// Why.
        refusal: Refusal,
    },
    /// Leases taken back.
    Revocation {
        /// Which.
        leases: Vec<LeaseId>,
        /// Why.
        refusal: Refusal,
        /// Those that run go on.
        only_if_queued: bool,
    },
    /// Finish what runs, hand back the rest, leave.
    Drain(String),
    /// The job needs it no more.
    Release(Refusal),
    /// It was given up.
    Fenced(Refusal),
    /// It holds rank 0 of a new epoch: pick a port, and look which of these checkpoints is there.
    GroupPrepare {
        /// The job.
        job: JobId,
        /// Its training stage.
        stage: u32,
        /// The epoch.
        epoch: Epoch,
        /// Newest first.
        checkpoints: Vec<Checkpoint>,
    },
    /// Start an epoch's processes.
    GroupStart(Box<GroupStart>),
    /// Stop an epoch's processes.
    GroupStop {
        /// The job.
        job: JobId,
        /// Its training stage.
        stage: u32,
        /// The epoch.
        epoch: Epoch,
        /// Why.
        refusal: Refusal,
        /// Write the stacks of all processes into their logs first.
        dump_stacks: bool,
    },
    /// To a checkpoint's report.
    CheckpointAnswer {
        /// The worker's number for it.
        request: u64,
        /// Why it was not committed.
        refusal: Option<Refusal>,
        /// Paths of checkpoints that are not kept any more.
        drop: Vec<String>,
    },
    /// Run this job's preflight checks; the driver adds the job file.
    Preflight(JobId),
}

/// One shard handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The grant.
    pub lease: LeaseId,
    /// The shard.
    pub shard: ShardId,
    /// Its key.
    pub key: String,
    /// 1 for the first.
    pub attempt: u32,
    /// An earlier attempt may still run somewhere.
    pub fence: bool,
    /// What is known of the shard beside its key.
    pub detail: Option<Box<ShardDetail>>,
    /// Where the lease is from.
    pub lineage: Lineage,
    /// Outputs that a lease of this lineage below this one committed are of an earlier version of the shard.
    pub replaces_below: LeaseId,
    /// What its outputs will be made of, where that is known.
    pub content: Option<ContentDigest>,
    /// It was asked to run again: outputs of before are not taken for its own, whatever they are made of.
    pub fresh: bool,
    /// GPUs of the worker that are this attempt's.
    pub gpus: Vec<GpuShare>,
    /// Another attempt at this shard runs elsewhere, and both may go on.
    pub speculative: bool,
}

/// Why the core wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineReason {
    /// A worker may have gone silent.
    Worker,
    /// A shard's backoff ends.
    Backoff,
    /// The time for members of before to come back ends.
    Recovery,
    /// A training group settles, hangs or is slow to stop.
    Group,
    /// A stage's time is over.
    Stage,
}
