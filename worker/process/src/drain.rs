//! How long the outputs of a process are read once it has ended.

use std::time::{Duration, Instant};

/// How long outputs may stay open without a byte once their process has ended: something in a session of its own holds
/// them.
const IDLE: Duration = Duration::from_millis(200);
/// How long they may stay open at all.
const LIMIT: Duration = Duration::from_secs(2);

/// What is left of that time, for one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    idle_at: Instant,
    limit_at: Instant,
}

impl Drain {
    /// Of a process that ended at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            idle_at: now + IDLE,
            limit_at: now + LIMIT,
        }
    }

    /// Something was read at `now`.
    pub fn read(&mut self, now: Instant) {
        self.idle_at = now + IDLE;
    }

    /// When nobody waits for more.
    pub fn ends_at(self) -> Instant {
        self.idle_at.min(self.limit_at)
    }
}
