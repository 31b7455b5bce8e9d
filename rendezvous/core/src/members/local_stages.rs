//! Local-stage workers: each is started beside `petctl run`, for the local stages of its job. They are no members of the
//! pool.

use crate::context::JobContext;
use crate::volatile::set;
use crate::volatile::worker::Standing;
use crate::{Core, Epoch, JobId, ToWorker, WorkerId};

impl Core {
    /// Local-stage workers that wait for this job.
    pub(crate) fn local_stage_workers_for(&self, id: JobId) -> Vec<WorkerId> {
        let waiting = self.volatile.local_stage_workers.iter().copied();
        waiting
            .filter(|worker| self.awaited_job(*worker) == Some(id))
            .collect()
    }

    /// The open job for which a local-stage worker waits.
    fn awaited_job(&self, worker: WorkerId) -> Option<JobId> {
        let worker = self.volatile.workers.get(&worker)?;
        let waits = worker.hello.local_stages && worker.standing == Standing::Free;
        let job = self.state.find(&worker.hello.job).filter(|_| waits)?;
        self.open_jobs.contains_key(&job).then_some(job)
    }

    /// A local-stage worker said hello.
    pub(crate) fn local_stage_worker_came(&mut self, id: WorkerId) {
        set(&mut self.volatile.local_stage_workers, id, true);
        let standing = self.volatile.workers.get(&id).map(|w| w.standing.clone());
        let job = match standing {
            Some(Standing::LocalStages(job)) => Some(job),
            Some(Standing::Free) => self.awaited_job(id),
            Some(Standing::Member(..) | Standing::Draining(..)) | None => return,
        };
        let Some(job) = job else {
            return self.release_if_late(id);
        };
        self.with_job(job, |at| {
            at.seat_local_stage_worker(id);
            at.schedule();
        });
    }

    /// Whether anybody is there who may run a job's local stages.
    pub(crate) fn has_local_stage_worker(&self, job: JobId) -> bool {
        let here = |id: &WorkerId| {
            self.volatile
                .workers
                .get(id)
                .is_some_and(|w| w.standing == Standing::LocalStages(job) && w.conn.is_some())
        };
        self.volatile.local_stage_workers.iter().any(here)
    }

    /// The standing of a local-stage worker that this coordinator did not know.
    pub(crate) fn local_stage_standing(&self, job: &str) -> Standing {
        let job = self.state.find(job);
        match job.filter(|job| self.open_jobs.contains_key(job)) {
            Some(job) => Standing::LocalStages(job),
            None => Standing::Free,
        }
    }
}

impl JobContext<'_> {
    /// A local-stage worker may begin. It has no rank; the message wants one.
    pub(crate) fn seat_local_stage_worker(&mut self, id: WorkerId) {
        if let Some(worker) = self.volatile.workers.get_mut(&id) {
            worker.standing = Standing::LocalStages(self.id);
        }
        let message = ToWorker::Assignment {
            job: self.id,
            rank: 0,
            world_size: 1,
        };
        self.send(id, message);
        self.feed(id);
    }

    /// A local-stage worker finishes what it has and goes.
    pub(crate) fn drain_local_stage_worker(&mut self, id: WorkerId) {
        if let Some(worker) = self.volatile.workers.get_mut(&id) {
            worker.standing = Standing::Draining(self.id, Epoch(0));
        }
        self.feed(id);
        self.changed();
    }
}
