//! Workers that a launcher starts for the local stages of its job. They are no members of the pool.

use crate::context::JobContext;
use crate::volatile::set;
use crate::volatile::worker::Standing;
use crate::{Core, Epoch, JobId, ToWorker, WorkerId};

impl Core {
    /// Launchers that wait for this job.
    pub(crate) fn launchers_for(&self, id: JobId) -> Vec<WorkerId> {
        let waiting = self.volatile.launchers.iter().copied();
        waiting
            .filter(|worker| self.launcher_seat(*worker) == Some(id))
            .collect()
    }

    /// The open job for which a launcher waits.
    fn launcher_seat(&self, worker: WorkerId) -> Option<JobId> {
        let worker = self.volatile.workers.get(&worker)?;
        let waits = worker.hello.launcher && worker.standing == Standing::Free;
        let job = self.state.find(&worker.hello.job).filter(|_| waits)?;
        self.open_jobs.contains_key(&job).then_some(job)
    }

    /// A launcher said hello; whether it has to be told anything more.
    pub(crate) fn launcher_came(&mut self, id: WorkerId) {
        set(&mut self.volatile.launchers, id, true);
        let standing = self.volatile.workers.get(&id).map(|w| w.standing.clone());
        let job = match standing {
            Some(Standing::Launcher(job)) => Some(job),
            Some(Standing::Free) => self.launcher_seat(id),
            Some(Standing::Member(..) | Standing::Draining(..)) | None => return,
        };
        let Some(job) = job else {
            return self.release_if_late(id);
        };
        self.with_job(job, |at| {
            at.seat_launcher(id);
            at.schedule();
        });
    }

    /// Whether anybody is there who may run a job's local stages.
    pub(crate) fn has_launcher(&self, job: JobId) -> bool {
        let here = |id: &WorkerId| {
            self.volatile
                .workers
                .get(id)
                .is_some_and(|w| w.standing == Standing::Launcher(job) && w.conn.is_some())
        };
        self.volatile.launchers.iter().any(here)
    }

    /// The standing of a launcher that this coordinator did not know.
    pub(crate) fn launcher_standing(&self, job: &str) -> Standing {
        let job = self.state.find(job);
        match job.filter(|job| self.open_jobs.contains_key(job)) {
            Some(job) => Standing::Launcher(job),
            None => Standing::Free,
        }
    }
}

impl JobContext<'_> {
    /// A launcher may begin. It has no rank; the message wants one.
    pub(crate) fn seat_launcher(&mut self, id: WorkerId) {
        if let Some(worker) = self.volatile.workers.get_mut(&id) {
            worker.standing = Standing::Launcher(self.id);
        }
        let message = ToWorker::Assignment {
            job: self.id,
            rank: 0,
            world_size: 1,
        };
        self.send(id, message);
        self.feed(id);
    }

    /// A launcher finishes what it has and goes.
    pub(crate) fn drain_launcher(&mut self, id: WorkerId) {
        if let Some(worker) = self.volatile.workers.get_mut(&id) {
            worker.standing = Standing::Draining(self.id, Epoch(0));
        }
        self.feed(id);
        self.changed();
    }
}
