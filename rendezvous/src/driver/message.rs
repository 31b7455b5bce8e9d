//! What the driver's thread is told.

use super::connections::Outbox;
use super::recent::Recent;
use crate::metrics::Counts;
use petctl_core::{
    ClientRequest, ConnId, Core, Effect, Epoch, FromWorker, Hello, JobId, Millis, PlaceReport,
    Refusal, Reply, RequestId, WorkerId,
};
use tokio::sync::oneshot;

/// All that can reach the core.
pub(crate) enum Message {
    /// A worker's stream opened.
    Hello {
        conn: ConnId,
        hello: Box<Hello>,
        outbox: Outbox,
    },
    /// A worker said something.
    Worker(ConnId, Epoch, FromWorker),
    /// A worker's stream ended.
    Disconnected(ConnId),
    /// A worker's process is dead.
    WorkerGone(WorkerId),
    /// What the place of a job's workers says of them.
    Place(JobId, PlaceReport),
    /// A client wants something changed.
    Call {
        id: RequestId,
        request: ClientRequest,
        answer: oneshot::Sender<Result<Reply, Refusal>>,
    },
    /// Somebody wants to look.
    Query(Query),
    /// A log is wanted of the worker at the other end of this stream.
    Log {
        conn: ConnId,
        request: petctl_proto::v1::LogRequest,
        accepted: oneshot::Sender<bool>,
    },
}

/// Looks at the coordinator and sends what it saw to whoever asked. Runs on the driver's thread, after everything
/// that it could see is durable: it must be quick.
pub(crate) type Query = Box<dyn FnOnce(&View<'_>) + Send>;

/// What a query sees.
pub(crate) struct View<'a> {
    pub(crate) core: &'a Core,
    pub(crate) recent: &'a Recent,
    pub(crate) counts: &'a Counts,
    pub(crate) now: Millis,
}

/// A batch's effects, apart: what must be durable before the rest happens.
#[derive(Default)]
pub(super) struct Decided {
    pub(super) records: Vec<petctl_core::Record>,
    pub(super) effects: Vec<Effect>,
}

impl Decided {
    /// Both in the order in which the core decided them.
    pub(super) fn of(effects: Vec<Effect>) -> Self {
        let mut decided = Self::default();
        for effect in effects {
            match effect {
                Effect::Persist(record) => decided.records.push(*record),
                Effect::Send { .. }
                | Effect::Close { .. }
                | Effect::Reply(..)
                | Effect::Changed(_)
                | Effect::Ended(_)
                | Effect::Drained => decided.effects.push(effect),
            }
        }
        decided
    }
}
