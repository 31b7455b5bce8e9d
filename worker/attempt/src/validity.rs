//! Until when this worker's leases are certain to be its own.

use std::pin::pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use petctl_process::supervisor::Stop;
use petctl_process::{StopOrder, StopSwitch};
use tokio::sync::Notify;

/// The leases stand until the moment at which the last acknowledged heartbeat was sent, plus the heartbeat timeout.
/// After that (a stopped worker, a cut network, a coordinator that restarts) nothing is started or committed until
/// the coordinator has confirmed them.
#[derive(Debug, Default)]
pub struct Validity {
    until: Mutex<Option<Instant>>,
    changed: Condvar,
    renewed: Notify,
}

impl Validity {
    /// The leases stand until `until`, at least.
    pub fn renew(&self, until: Instant) {
        let mut current = self.lock();
        if current.is_none_or(|current| current < until) {
            *current = Some(until);
            self.changed.notify_all();
            self.renewed.notify_waiters();
        }
    }

    /// No lease stands.
    pub fn end(&self) {
        *self.lock() = None;
    }

    /// Lets those who wait see what their switches say.
    pub fn wake(&self) {
        let _guard = self.lock();
        self.changed.notify_all();
    }

    /// Waits until the lease stands.
    ///
    /// # Errors
    /// The order to stop, where the lease is lost instead.
    pub fn wait(&self, switch: &StopSwitch) -> Result<(), StopOrder> {
        let mut until = self.lock();
        loop {
            if let Some(order) = switch.order().filter(|order| order.stop != Stop::Preempted) {
                return Err(order);
            }
            if until.is_some_and(|until| Instant::now() < until) {
                return Ok(());
            }
            until = self
                .changed
                .wait(until)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Comes back when the leases stand.
    pub async fn stands(&self) {
        loop {
            let mut renewed = pin!(self.renewed.notified());
            // From here on no renewal is missed.
            renewed.as_mut().enable();
            if self.lock().is_some_and(|until| Instant::now() < until) {
                return;
            }
            renewed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
