//! What the machine is told, and what it asks for.

use std::collections::BTreeSet;
use std::time::Instant;

use petctl_proto::v1::{
    Assignment, AttachRequest, AttachResponse, AttemptResult, Lease, LogChunk, LogRequest,
};

use crate::options::{Ended, WorkerError};
use crate::process::StopOrder;

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
    /// Attempts ended.
    Ended(Vec<AttemptResult>),
    /// These leases had not started and are out of the queue.
    Withdrawn {
        lease_ids: Vec<u64>,
        with: AttemptResult,
    },
    LogRead(LogChunk),
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
    /// Choose a new worker id; answer with [`Input::Renamed`].
    Rename,
    /// The worker has ended.
    Finish(Result<Ended, WorkerError>),
}
