//! Workers that a launcher starts for the local stages of its job. They are no members of the pool.

use crate::volatile::set;
use crate::volatile::worker::Standing;
use crate::{Core, Epoch, JobId, ToWorker, WorkerId};

impl Core {
    /// A job is open: launchers that wait for it may begin.
    pub(crate) fn seat_launchers(&mut self, id: JobId) {
        let waiting: Vec<WorkerId> = self.volatile.launchers.iter().copied().collect();
        for worker in waiting {
            if self.launcher_seat(worker) == Some(id) {
                self.seat_launcher(worker, id);
            }
        }
    }

    /// The open job for which a launcher waits.
    pub(crate) fn launcher_seat(&self, worker: WorkerId) -> Option<JobId> {
        let worker = self.volatile.workers.get(&worker)?;
        let waits = worker.hello.launcher && worker.standing == Standing::Free;
        let job = self.state.find(&worker.hello.job).filter(|_| waits)?;
        self.volatile.jobs.contains_key(&job).then_some(job)
    }

    fn seat_launcher(&mut self, id: WorkerId, job: JobId) {
        if let Some(worker) = self.volatile.workers.get_mut(&id) {
            worker.standing = Standing::Launcher(job);
        }
        self.assign_launcher(id, job);
        self.feed(id);
    }

    /// It has no rank; the message wants one.
    pub(crate) fn assign_launcher(&mut self, id: WorkerId, job: JobId) {
        let message = ToWorker::Assignment {
            job,
            rank: 0,
            world_size: 1,
        };
        self.send(id, message);
    }

    /// A launcher said hello; whether it has to be told anything more.
    pub(crate) fn launcher_came(&mut self, id: WorkerId) {
        set(&mut self.volatile.launchers, id, true);
        let standing = self.volatile.workers.get(&id).map(|w| w.standing.clone());
        match standing {
            Some(Standing::Launcher(job)) => {
                self.assign_launcher(id, job);
                self.feed(id);
                self.schedule(job);
            }
            Some(Standing::Free) => match self.launcher_seat(id) {
                Some(job) => {
                    self.seat_launcher(id, job);
                    self.schedule(job);
                }
                None => self.release_if_late(id),
            },
            Some(Standing::Member(..) | Standing::Draining(..)) | None => {}
        }
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
        match job.filter(|job| self.volatile.jobs.contains_key(job)) {
            Some(job) => Standing::Launcher(job),
            None => Standing::Free,
        }
    }

    /// A launcher finishes what it has and goes.
    pub(crate) fn drain_launcher(&mut self, id: WorkerId, job: JobId) {
        if let Some(worker) = self.volatile.workers.get_mut(&id) {
            worker.standing = Standing::Draining(job, Epoch(0));
        }
        self.feed(id);
        self.effect(crate::Effect::Changed(job));
    }
}
