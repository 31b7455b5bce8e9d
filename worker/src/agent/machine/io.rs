//! What the machine is told, and what it asks for.

use std::collections::BTreeSet;
use std::time::Instant;

use petctl_group::{GroupOrder, Note};
use petctl_process::StopOrder;
use petctl_proto::v1::{
    Assignment, AttachRequest, AttachResponse, AttemptResult, GroupPrepare, GroupStart, Lease,
    LogChunk, LogRequest, MasterOffer, Preflight, PreflightReport,
};
use petctl_tls::TlsError;

use crate::options::{Ended, WorkerError};

/// What stays the same over reconnects.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Identity {
    pub(in crate::agent) worker_id: String,
    pub(in crate::agent) name: String,
    pub(in crate::agent) host: String,
    pub(in crate::agent) pid: u32,
    pub(in crate::agent) job: String,
    pub(in crate::agent) slots: u32,
    pub(in crate::agent) gpus: u32,
    pub(in crate::agent) cpu_milli: u32,
    pub(in crate::agent) memory_mib: u64,
    pub(in crate::agent) program_version: String,
    pub(in crate::agent) address: String,
    /// How other workers reach this one; empty: to be found out.
    pub(in crate::agent) advertise: String,
    /// Training processes; 0: as the job file says.
    pub(in crate::agent) processes: u32,
    pub(in crate::agent) node_rank: Option<u32>,
    pub(in crate::agent) index: Option<u32>,
    pub(in crate::agent) local_stages: bool,
}

/// What happened.
#[derive(Debug)]
pub(in crate::agent) enum Input {
    Received(AttachResponse),
    /// The stream broke or could not be opened.
    Disconnected {
        cause: String,
    },
    /// The coordinator refused the stream for good.
    Refused {
        code: String,
        message: String,
    },
    /// Whoever answers is not trusted.
    Untrusted(TlsError),
    /// Attempts ended.
    Ended(Vec<AttemptResult>),
    /// These leases had not started and are out of the queue.
    Withdrawn {
        lease_ids: Vec<u64>,
        with: AttemptResult,
    },
    LogRead(LogChunk),
    /// Of a training group.
    Group(GroupInput),
    /// A script, or a marker, says that a checkpoint is complete; answered with [`Effect::CheckpointAnswered`].
    Checkpoint {
        request_id: u64,
        step: u64,
        path: String,
    },
    /// A fresh id, for after a [`Fenced`].
    Renamed {
        worker_id: String,
    },
    /// The caller wants the worker to leave.
    Leave {
        reason: String,
    },
    /// The caller wants it to end now.
    Abort,
    Tick,
}

/// What happened around a training group.
#[derive(Debug)]
pub(in crate::agent) enum GroupInput {
    /// Its thread says something.
    Note(Note),
    /// The answer to [`Effect::PrepareGroup`].
    Offer(MasterOffer),
    /// The answer to [`Effect::Preflight`].
    Preflight(PreflightReport),
}

/// What to do.
#[derive(Debug)]
pub(in crate::agent) enum Effect {
    /// Open a stream and send this first.
    Connect(Box<AttachRequest>),
    /// Let go of the stream.
    Disconnect,
    /// End the sending side, after what was sent.
    CloseSending,
    /// Leases stand until then.
    Renew(Instant),
    /// No lease stands.
    Invalidate,
    /// This worker is a member of that job now.
    Assign(Assignment),
    /// Of none.
    Forget,
    /// The job that it forgets next has ended.
    JobEnded,
    Enqueue(Vec<Lease>),
    /// Take leases (`None`: all) out of the queue, and answer with [`Input::Withdrawn`] where there were any.
    Withdraw {
        wanted: Option<BTreeSet<u64>>,
        with: AttemptResult,
    },
    /// Stop attempts (`None`: all) that run.
    Stop {
        wanted: Option<BTreeSet<u64>>,
        order: StopOrder,
    },
    ReadLog(LogRequest, bool),
    /// Pick a port, and look which checkpoint is there.
    PrepareGroup(GroupPrepare),
    /// Start an epoch's processes. Nothing of an older one is left.
    StartGroup(GroupStart),
    /// Stop what runs of a group.
    StopGroup(GroupOrder),
    /// What came of a checkpoint: an empty code, or why it is not committed. Those to be dropped go.
    CheckpointAnswered {
        request_id: u64,
        code: String,
        message: String,
        drop: Vec<String>,
    },
    Preflight(Preflight),
    /// Choose a new worker id; answer with [`Input::Renamed`].
    Rename,
    /// The worker has ended.
    Finish(Result<Ended, WorkerError>),
}
