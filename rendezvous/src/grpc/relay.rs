//! Logs that only a worker can read, asked for over its stream.

use super::bounds::LOG_TIMEOUT;
use crate::driver::{Client, Message};
use petctl_core::ConnId;
use petctl_proto::v1::{LogChunk, LogRequest};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Requests on their way, by number.
#[derive(Clone, Default)]
pub(super) struct Relay {
    waiting: Arc<Mutex<BTreeMap<u64, Waiting>>>,
}

struct Waiting {
    conn: ConnId,
    answer: oneshot::Sender<LogChunk>,
}

impl Relay {
    /// Asks a worker for a part of a log. `None`: it has gone, or does not answer.
    pub(super) async fn ask(
        &self,
        client: &Client,
        conn: ConnId,
        mut request: LogRequest,
    ) -> Option<LogChunk> {
        let id = client.next();
        request.request_id = id;
        let (answer, answered) = oneshot::channel();
        self.waiting().insert(id, Waiting { conn, answer });
        let _forgets = Forgets { relay: self, id };
        let (accepted, taken) = oneshot::channel();
        client
            .send(Message::Log {
                conn,
                request,
                accepted,
            })
            .await
            .ok()?;
        if !taken.await.ok()? {
            return None;
        }
        timeout(LOG_TIMEOUT, answered).await.ok()?.ok()
    }

    /// A worker's answer. One to somebody else's question is dropped.
    pub(super) fn deliver(&self, conn: ConnId, chunk: LogChunk) {
        let mut waiting = self.waiting();
        let theirs = waiting
            .get(&chunk.request_id)
            .is_some_and(|waiting| waiting.conn == conn);
        if let Some(waiting) = theirs.then(|| waiting.remove(&chunk.request_id)).flatten() {
            // Whoever asked may have gone.
            let _gone = waiting.answer.send(chunk);
        }
    }

    /// A worker has gone; whoever waits for it need not.
    pub(super) fn forget(&self, conn: ConnId) {
        self.waiting().retain(|_, waiting| waiting.conn != conn);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a question back, also when whoever asked it goes away.
struct Forgets<'a> {
    relay: &'a Relay,
    id: u64,
}

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.relay.waiting().remove(&self.id);
    }
}
