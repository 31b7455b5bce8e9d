//! Who wants to know that a job changed.

use petctl_core::JobId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Counts of a job's changes and of its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) changes: u64,
    pub(crate) ends: u64,
}

/// A mark for every job that is watched.
#[derive(Default)]
pub(crate) struct Watches {
    jobs: Mutex<BTreeMap<JobId, watch::Sender<Mark>>>,
    records: watch::Sender<u64>,
    any: watch::Sender<u64>,
}

impl Watches {
    /// To be asked for before the job is looked at, so that no change falls between.
    pub(crate) fn watch(&self, job: JobId) -> watch::Receiver<Mark> {
        self.jobs().entry(job).or_default().subscribe()
    }

    /// Sequence number of the newest durable record.
    pub(crate) fn records(&self) -> watch::Receiver<u64> {
        self.records.subscribe()
    }

    /// Grows with every change of any job.
    pub(crate) fn any(&self) -> watch::Receiver<u64> {
        self.any.subscribe()
    }

    pub(super) fn changed(&self, job: JobId) {
        self.mark(job, |mark| mark.changes += 1);
    }

    pub(super) fn ended(&self, job: JobId) {
        self.mark(job, |mark| mark.ends += 1);
    }

    pub(super) fn recorded(&self, newest: u64) {
        self.records.send_replace(newest);
        self.any.send_modify(|changes| *changes += 1);
    }

    fn mark(&self, job: JobId, change: impl FnOnce(&mut Mark)) {
        self.any.send_modify(|changes| *changes += 1);
        let mut jobs = self.jobs();
        let Some(sender) = jobs.get(&job) else { return };
        if sender.is_closed() {
            jobs.remove(&job);
        } else {
            sender.send_modify(change);
        }
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<JobId, watch::Sender<Mark>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
