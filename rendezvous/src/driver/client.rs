//! How the rest of the process speaks to the driver's thread.

use super::message::{Message, View};
use super::pulse::Pulse;
use super::stop::StopReason;
use super::watches::Watches;
use crate::event_log::EventReader;
use petctl_codes::Code;
use petctl_core::{ClientRequest, ConnId, Refusal, Reply, RequestId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Why a question has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotAnswered {
    /// The core said no.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The coordinator has stopped.
    #[error("the coordinator has stopped; start it again to go on where it was")]
    Stopped,
}

impl NotAnswered {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Stopped => Code::CoordinatorStopped,
        }
    }
}

/// A cheap clone of the way to the core.
#[derive(Clone)]
pub(crate) struct Client {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) watches: Arc<Watches>,
    pub(super) reader: Arc<dyn EventReader>,
    pub(super) drained: watch::Receiver<bool>,
    pub(super) stopped: watch::Receiver<Option<StopReason>>,
    pub(super) next: AtomicU64,
    pub(super) draining: AtomicBool,
    pub(super) pulse: Pulse,
    pub(super) stop: CancellationToken,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn next_conn(&self) -> ConnId {
        ConnId(self.next())
    }

    /// Never used twice in this process.
    pub(crate) fn next(&self) -> u64 {
        self.shared.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn watches(&self) -> &Watches {
        &self.shared.watches
    }

    pub(crate) fn reader(&self) -> Arc<dyn EventReader> {
        Arc::clone(&self.shared.reader)
    }

    /// Waits for room. `Err`: the coordinator has stopped.
    pub(crate) async fn send(&self, message: Message) -> Result<(), NotAnswered> {
        self.shared
            .messages
            .send(message)
            .await
            .map_err(|_| NotAnswered::Stopped)
    }

    /// Changes something; answered when the change is durable.
    pub(crate) async fn call(&self, request: ClientRequest) -> Result<Reply, NotAnswered> {
        let id = RequestId(self.next());
        let (answer, answered) = oneshot::channel();
        self.send(Message::Call {
            id,
            request,
            answer,
        })
        .await?;
        answered
            .await
            .map_err(|_| NotAnswered::Stopped)?
            .map_err(NotAnswered::Refused)
    }

    /// Looks at the coordinator.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, NotAnswered> {
        let (answer, answered) = oneshot::channel();
        let query = move |view: &View<'_>| {
            // Whoever asked may have gone.
            let _gone = answer.send(ask(view));
        };
        self.send(Message::Query(Box::new(query))).await?;
        answered.await.map_err(|_| NotAnswered::Stopped)
    }

    /// Hands out nothing more; ends when nothing runs any more.
    pub(crate) async fn drain(&self, reason: &str) -> Result<(), NotAnswered> {
        tracing::info!(reason, "the coordinator drains");
        self.shared.draining.store(true, Ordering::Relaxed);
        self.call(ClientRequest::DrainCoordinator).await?;
        let mut drained = self.shared.drained.clone();
        let drained = drained.wait_for(|drained| *drained).await;
        drained.map(|_| ()).map_err(|_| NotAnswered::Stopped)
    }

    /// What the core's thread is at.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.shared.pulse
    }

    /// Whether it hands out nothing more.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Whether it was told to stop, or has stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stop.is_cancelled() || self.has_stopped().is_some()
    }

    /// Why it has stopped, if it has.
    pub(crate) fn has_stopped(&self) -> Option<StopReason> {
        self.shared.stopped.borrow().clone()
    }

    /// Tells the coordinator to stop.
    pub(crate) fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// Ends when the coordinator has stopped.
    pub(crate) async fn stopped(&self) -> StopReason {
        let mut stopped = self.shared.stopped.clone();
        let reason = stopped
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| {
            StopReason::Bug("the coordinator's thread ended without a word".to_owned())
        })
    }
}
