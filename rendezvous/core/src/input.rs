//! What can happen to a coordinator.

use crate::{
    CheckpointReport, ClientRequest, ConnId, Epoch, GroupProgress, GroupReport, JobId, LeaseId,
    Lineage, MasterOffer, Reason, RequestId, ShardId, Verdict, WorkerId,
};
use std::collections::BTreeMap;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A deadline passed.
    Tick,
    /// A client asks for something; the answer is an [`Effect::Reply`](crate::Effect::Reply) of this number.
    Request(RequestId, ClientRequest),
    /// A worker opened a stream.
    Hello(ConnId, Box<Hello>),
    /// A worker said something; the epoch is the one it believes in.
    Worker(ConnId, Epoch, FromWorker),
    /// A stream ended.
    Disconnected(ConnId),
    /// What the place of a job's workers says of them now.
    Place(JobId, PlaceReport),
    /// Somebody who can know (the process's parent) says that this worker's process is dead.
    WorkerGone(WorkerId),
}

/// What a place says of the workers of a job: all that there is to say, so the last one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceReport {
    /// Why workers are missing, most important first.
    pub waiting: Vec<Reason>,
    /// Why workers ended, by their names: deleted, evicted, out of memory, its machine gone.
    pub ended: BTreeMap<String, Reason>,
    /// So many workers it has room for now, spares included, where others need the rest. A job never goes below its
    /// minimum for that.
    pub at_most: Option<u32>,
}

/// How a worker introduces itself.
#[derive(Clone, Debug, Default)]
pub struct Hello {
    /// Its process.
    pub worker: WorkerId,
    /// For people.
    pub name: String,
    /// Its host's name.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// The only job it serves; empty: any.
    pub job: String,
    /// Shards at a time.
    pub slots: u32,
    /// GPUs it has.
    pub gpus: u32,
    /// CPUs it has, in thousandths.
    pub cpu_milli: u32,
    /// Memory it has, in MiB.
    pub memory_mib: u64,
    /// The job it was a member of before a reconnect.
    pub member_of: Option<JobId>,
    /// What it still runs, has queued or has not seen acknowledged.
    pub held: Vec<HeldLease>,
    /// It is on its way out: it takes no new leases.
    pub leaving: bool,
    /// How other workers reach it; a loopback address: on the coordinator's host.
    pub address: String,
    /// Training processes it starts; 0: as the job file says.
    pub processes: u32,
    /// Its place among the ranks, where its user chose one.
    pub node_rank: Option<u32>,
    /// Its number among the workers of its place, where that takes the highest away first.
    pub index: Option<u32>,
    /// How its training group stands.
    pub group: Option<GroupReport>,
    /// It runs stages with `run_mode = "local"` only, and is a member of no pool.
    pub local_stages: bool,
}

/// A lease that a reconnecting worker claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// Where the lease is from.
    pub lineage: Lineage,
    /// The lease.
    pub lease: LeaseId,
    /// What it is for.
    pub shard: ShardId,
    /// The attempt's number.
    pub attempt: u32,
    /// GPUs that it has.
    pub gpus: Vec<GpuShare>,
}

/// A GPU of a worker, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuShare {
    /// Number of the device on the worker, from 0.
    pub device: u32,
    /// Thousandths of it.
    pub milli: u32,
}

/// What a worker says on its stream.
#[derive(Clone, Debug)]
pub enum FromWorker {
    /// It lives; renews its leases.
    Heartbeat {
        /// Comes back in the acknowledgement.
        sequence: u64,
        /// Leases that wait for a slot there.
        queued: u32,
    },
    /// Attempts that ended.
    Results(Vec<AttemptReport>),
    /// It goes away by itself.
    Leaving(String),
    /// Its part of a training group changed.
    Group(Box<GroupReport>),
    /// It answers a request to prepare an epoch.
    Master(MasterOffer),
    /// A script of its completed a checkpoint.
    Checkpoint(CheckpointReport),
    /// How its part of a running group gets on.
    Progress(GroupProgress),
    /// What came of a job's preflight checks.
    Preflight {
        /// Whose checks.
        job: JobId,
        /// The code and the sentence of what failed.
        failure: Option<(String, String)>,
    },
}

/// How an attempt ended, as its worker saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttemptReport {
    /// The attempt's lease.
    pub lease: LeaseId,
    /// Its shard.
    pub shard: ShardId,
    /// What became of it.
    pub outcome: Outcome,
    /// Wall time of the command, in ms.
    pub duration_ms: u64,
    /// If it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it; 0: none.
    pub signal: u32,
    /// Of result.json.
    pub verdict: Verdict,
    /// Of result.json.
    pub reasons: Vec<String>,
    /// Of result.json.
    pub numbers: Vec<(String, f64)>,
    /// Committed files.
    pub files: u32,
    /// Committed bytes.
    pub bytes: u64,
    /// SHA-256 of the manifest.
    pub manifest: Option<Box<[u8; 32]>>,
    /// Whose outputs stand, if another attempt's do.
    pub adopted: Option<Adopted>,
    /// Stable code of a failure.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Last lines of its log.
    pub log_tail: String,
}

/// The attempt whose outputs another one has taken for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Where its lease is from.
    pub lineage: Lineage,
    /// Its lease.
    pub lease: LeaseId,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Its outputs are committed.
    Committed,
    /// The command failed.
    #[default]
    Failed,
    /// It ran into its timeout.
    TimedOut,
    /// The worker's surroundings failed.
    Infrastructure,
    /// It was stopped because its worker leaves.
    Preempted,
    /// It was stopped because the coordinator took the lease back.
    Revoked,
    /// It was never started.
    Returned,
}
