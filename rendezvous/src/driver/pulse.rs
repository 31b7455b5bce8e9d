//! What the core's thread does, told without asking it: probes must not wait behind what they look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the thread is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Nothing; it waits for something to do.
    Rest,
    /// Deciding.
    Work,
    /// Waiting for the disk.
    Disk,
}

/// A cheap clone of what the thread says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    started: Instant,
    /// Milliseconds since the start, and what it is at since then in the lowest two bits.
    since: Arc<AtomicU64>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            since: Arc::default(),
        }
    }

    /// The thread is at something else from now on, or at the same anew.
    pub(super) fn is_at(&self, at: At) {
        let bits = match at {
            At::Rest => 0,
            At::Work => 1,
            At::Disk => 2,
        };
        self.since
            .store(self.elapsed_ms() << 2 | bits, Ordering::Relaxed);
    }

    /// What the thread is at, and for how long.
    pub(crate) fn look(&self) -> (At, Duration) {
        let since = self.since.load(Ordering::Relaxed);
        let at = match since & 3 {
            1 => At::Work,
            2 => At::Disk,
            _ => At::Rest,
        };
        let ms = self.elapsed_ms().saturating_sub(since >> 2);
        (at, Duration::from_millis(ms))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
