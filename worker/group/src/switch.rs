//! How a running group is told to stop, from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::Stop;

/// An order to stop, with what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOrder {
    /// How.
    pub stop: Stop,
    /// Stable code.
    pub code: String,
    /// Why, for people.
    pub message: String,
}

/// The order for one group, and a descriptor that wakes its thread.
#[derive(Debug)]
pub(super) struct GroupSwitch {
    event: OwnedFd,
    order: Mutex<Option<GroupOrder>>,
}

impl GroupSwitch {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            order: Mutex::new(None),
        })
    }

    /// A harder order replaces a softer one.
    pub(super) fn request(&self, order: GroupOrder) {
        let mut current = self.lock();
        if current
            .as_ref()
            .is_none_or(|current| current.stop < order.stop)
        {
            *current = Some(order);
        }
        // Can only fail where it is signalled already.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    pub(super) fn order(&self) -> Option<GroupOrder> {
        self.lock().clone()
    }

    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    pub(super) fn clear_event(&self) {
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
    }

    fn lock(&self) -> MutexGuard<'_, Option<GroupOrder>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
