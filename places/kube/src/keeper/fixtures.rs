//! Pools of tests.

use petctl_core::{JobId, JobState, Pool, PoolWorker, Standings};

/// A worker of that name.
pub(super) fn worker(name: &str, member: bool, drains: bool) -> PoolWorker {
    PoolWorker {
        name: name.to_owned(),
        member,
        drains,
    }
}

/// A pool that wants so many workers, finds work for all, and has these.
pub(super) fn pool(wanted: u32, workers: Vec<PoolWorker>) -> Pool {
    Pool {
        job: JobId(1),
        name: "us101".to_owned(),
        min: 1,
        unit: 1,
        wanted,
        useful: wanted.max(100),
        slots: 1,
        gpus: 0,
        grace_ms: 10_000,
        suspended: false,
        cancelled: false,
        standing: Standings {
            state: JobState::Waiting,
            stage: None,
            reason: None,
        },
        workers,
    }
}
