//! Holds the processes of an attempt to the memory that their stage asks for.
//!
//! Where this worker may make control groups of its own the kernel holds them to it (`cgroup`). Elsewhere their use
//! is looked at four times a second (`usage`), and what is over its limit is killed; a command that takes memory
//! faster than that is seen too late, and the machine may run out.

mod cgroup;
mod usage;

use std::time::{Duration, Instant};

use rustix::process::Pid;

use self::cgroup::Cgroup;
use self::usage::Usage;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);
const MIB: u64 = 1024 * 1024;

/// The bound on one process and what it starts.
#[derive(Debug)]
pub struct MemoryHold {
    limit_bytes: u64,
    leader: Pid,
    lease_id: u64,
    way: Way,
    excess: Option<Excess>,
}

#[derive(Debug)]
enum Way {
    Held(Cgroup),
    Watched { next: Instant },
}

/// More was used than is allowed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// So much was used.
    pub used: u64,
    /// So much is allowed.
    pub allowed: u64,
}

impl MemoryHold {
    /// For a process that has just been started. `None` where nothing is asked for.
    pub fn new(limit_mib: u64, leader: Pid, lease_id: u64) -> Option<Self> {
        if limit_mib == 0 {
            return None;
        }
        let limit_bytes = limit_mib.saturating_mul(MIB);
        let way = match cgroup::make(lease_id, limit_bytes, leader) {
            Some(group) => Way::Held(group),
            None => Way::Watched {
                next: Instant::now() + INTERVAL,
            },
        };
        Some(Self {
            limit_bytes,
            leader,
            lease_id,
            way,
            excess: None,
        })
    }

    /// When [`Self::is_exceeded`] wants to be asked; never, where the kernel looks.
    pub fn next_check(&self) -> Option<Instant> {
        match (&self.way, self.excess) {
            (Way::Watched { next }, None) => Some(*next),
            (Way::Watched { .. }, Some(_)) | (Way::Held(_), _) => None,
        }
    }

    /// Whether more is used than is allowed; looks where it is time to.
    pub fn is_exceeded(&mut self, now: Instant) -> bool {
        let Way::Watched { next } = &mut self.way else {
            return false;
        };
        if self.excess.is_some() || now < *next {
            return false;
        }
        *next = now + INTERVAL;
        let used = Usage::now().of(self.leader, self.lease_id, self.limit_bytes);
        if used > self.limit_bytes {
            self.excess = Some(Excess {
                used,
                allowed: self.limit_bytes,
            });
        }
        self.excess.is_some()
    }

    /// The process has ended.
    pub fn end(self) -> Option<Excess> {
        match self.way {
            Way::Watched { .. } => self.excess,
            Way::Held(group) => group.out_of_memory().then(|| Excess {
                used: group.peak().unwrap_or(self.limit_bytes),
                allowed: self.limit_bytes,
            }),
        }
    }
}
