//! The workers' streams, as the driver's thread sees them: queues that it never waits for.

use crate::grpc::refused;
use petctl_codes::Code;
use petctl_core::{ConnId, Epoch, JobId, Lineage, ToWorker};
use petctl_proto::v1::LogRequest;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Messages that may wait for a worker to read them. One that reads less is given up.
const QUEUED_MESSAGES: usize = 1_024;

/// What goes out on a worker's stream.
pub(crate) enum Outgoing {
    /// As the core said it.
    Message { epoch: Epoch, message: ToWorker },
    /// With the job file that the core's message leaves out.
    Assignment {
        epoch: Epoch,
        assignment: Box<Assignment>,
    },
    /// A job's checks, with the job file that holds them.
    Preflight {
        job: JobId,
        name: String,
        spec_json: Arc<str>,
    },
    /// A log is wanted.
    Log(LogRequest),
}

/// A membership and its job file.
pub(crate) struct Assignment {
    pub(crate) job: JobId,
    pub(crate) name: String,
    pub(crate) spec_json: Arc<str>,
    pub(crate) rank: u32,
    pub(crate) world_size: u32,
    /// Of its leases.
    pub(crate) lineage: Lineage,
}

/// The driver's end of a stream.
pub(crate) struct Outbox {
    queue: mpsc::Sender<Outgoing>,
    ending: Ending,
}

/// The stream's end of it.
pub(crate) struct Inbox {
    pub(crate) queue: mpsc::Receiver<Outgoing>,
    pub(crate) ending: Ending,
}

/// How a stream ends, known to both of its halves.
#[derive(Clone, Default)]
pub(crate) struct Ending {
    status: Arc<OnceLock<Status>>,
    /// What is queued is of no use any more.
    abandoned: CancellationToken,
    ended: CancellationToken,
    gone: CancellationToken,
}

impl Ending {
    /// Ends the stream; the first reason stands.
    pub(crate) fn end(&self, status: Status) {
        // Only the first reason is wanted.
        let _second = self.status.set(status);
        self.ended.cancel();
    }

    /// Ends the stream, and forgets what is queued: nobody reads it.
    fn abandon(&self, status: Status) {
        self.abandoned.cancel();
        self.end(status);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.is_cancelled()
    }

    /// The worker has heard its end, or is not there to hear it.
    pub(crate) fn gone(&self) {
        self.gone.cancel();
        self.ended.cancel();
    }

    pub(crate) fn status(&self) -> Option<Status> {
        self.status.get().cloned()
    }

    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Until nothing of the stream is left.
    pub(crate) async fn is_gone(&self) {
        self.gone.cancelled().await;
    }
}

/// Both ends of a new stream.
pub(crate) fn stream() -> (Outbox, Inbox) {
    let (sender, receiver) = mpsc::channel(QUEUED_MESSAGES);
    let ending = Ending::default();
    (
        Outbox {
            queue: sender,
            ending: ending.clone(),
        },
        Inbox {
            queue: receiver,
            ending,
        },
    )
}

/// The living streams.
#[derive(Default)]
pub(super) struct Connections {
    outboxes: BTreeMap<ConnId, Outbox>,
    /// Ended by something else than the core, which has yet to hear of it.
    broken: Vec<ConnId>,
}

impl Connections {
    pub(super) fn open(&mut self, conn: ConnId, outbox: Outbox) {
        self.outboxes.insert(conn, outbox);
    }

    pub(super) fn is_open(&self, conn: ConnId) -> bool {
        self.outboxes.contains_key(&conn)
    }

    /// Queues a message. `false`: there is no such stream any more, or its worker does not read.
    pub(super) fn send(&mut self, conn: ConnId, outgoing: Outgoing) -> bool {
        let Some(outbox) = self.outboxes.get(&conn) else {
            return false;
        };
        match outbox.queue.try_send(outgoing) {
            Ok(()) => return true,
            // Its own end is about to be told; what can't be sent is told at once.
            Err(mpsc::error::TrySendError::Closed(_)) => self.close(conn, Status::cancelled("")),
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!(
                    conn = conn.0,
                    "a worker does not read its stream, which is closed"
                );
                if let Some(outbox) = self.outboxes.remove(&conn) {
                    outbox.ending.abandon(refused(
                        Code::StreamStalled,
                        tonic::Code::ResourceExhausted,
                        "the worker did not read what the coordinator sent; it may connect again",
                    ));
                }
            }
        }
        self.broken.push(conn);
        false
    }

    /// Streams that broke since the last call.
    pub(super) fn take_broken(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.broken)
    }

    /// Ends a stream: what is queued still goes out, then the reason.
    pub(super) fn close(&mut self, conn: ConnId, status: Status) {
        if let Some(outbox) = self.outboxes.remove(&conn) {
            outbox.ending.end(status);
        }
    }

    pub(super) fn forget(&mut self, conn: ConnId) -> bool {
        self.outboxes.remove(&conn).is_some()
    }

    pub(super) fn close_all(&mut self, status: &Status) {
        for outbox in std::mem::take(&mut self.outboxes).into_values() {
            outbox.ending.end(status.clone());
        }
    }
}
