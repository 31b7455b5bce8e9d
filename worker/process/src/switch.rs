//! How a running attempt, or a running group, is told to stop, from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::Notify;

use crate::supervisor::Stop;

/// An order to stop, with what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopOrder<S = Stop> {
    /// How hard.
    pub stop: S,
    /// Stable code.
    pub code: String,
    /// Why, for people.
    pub message: String,
}

/// One per slot, and one per group: the order for what it runs, and a descriptor that wakes it. Of two orders the
/// greater is the harder.
#[derive(Debug)]
pub struct StopSwitch<S = Stop> {
    event: OwnedFd,
    order: Mutex<Option<StopOrder<S>>>,
    ordered: Notify,
}

impl<S: Copy + Ord> StopSwitch<S> {
    /// Without an order.
    ///
    /// # Errors
    /// Where the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            event,
            order: Mutex::new(None),
            ordered: Notify::new(),
        })
    }

    /// Orders it to stop. A harder order replaces a softer one.
    pub fn request(&self, order: StopOrder<S>) {
        let mut current = self.lock();
        if current
            .as_ref()
            .is_none_or(|current| current.stop < order.stop)
        {
            *current = Some(order);
        }
        // Can only fail where it is signalled already.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        self.ordered.notify_waiters();
    }

    /// The first order that `counts`, when there is one.
    pub async fn ordered(&self, counts: impl Fn(S) -> bool) -> StopOrder<S> {
        loop {
            let mut ordered = pin!(self.ordered.notified());
            // From here on no order is missed.
            ordered.as_mut().enable();
            if let Some(order) = self.order().filter(|order| counts(order.stop)) {
                return order;
            }
            ordered.await;
        }
    }

    /// The order, when there is one.
    pub fn order(&self) -> Option<StopOrder<S>> {
        self.lock().clone()
    }

    /// How hard it is to stop, when there is an order.
    pub fn stop(&self) -> Option<S> {
        self.lock().as_ref().map(|order| order.stop)
    }

    /// For the next attempt.
    pub fn reset(&self) {
        if self.lock().take().is_some() {
            self.clear_event();
        }
    }

    /// Readable after a request.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Until the next request, it is not readable any more.
    pub fn clear_event(&self) {
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
    }

    fn lock(&self) -> MutexGuard<'_, Option<StopOrder<S>>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
