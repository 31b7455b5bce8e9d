//! Workers that are gone: what becomes of their leases, and of the membership.

use crate::context::JobContext;
use crate::volatile::Volatile;
use crate::volatile::worker::Worker;
use crate::{
    Code, Config, Core, Failure, FailureKind, JobId, LeaveReason, Millis, Refusal, ToWorker,
    WorkerId,
};
use std::collections::BTreeMap;

impl Core {
    pub(crate) fn worker_gone(&mut self, id: WorkerId) {
        let left = (id, LeaveReason::Gone);
        if self.volatile.workers.contains_key(&id) {
            self.lose(&[left]);
            return;
        }
        let expecting = self.open_jobs.iter();
        let expecting: Vec<(JobId, bool)> = expecting
            .filter(|(_, own)| own.expected.contains(&id))
            .map(|(job, own)| (*job, own.expected.len() == 1 && !own.seeded))
            .collect();
        for (job, opens) in expecting {
            self.with_job(job, |at| {
                at.own.expected.remove(&id);
                at.note_losses(&BTreeMap::from([left]));
                if !opens {
                    at.reshape(vec![left]);
                }
            });
            if opens {
                self.open_without(job, vec![left]);
            }
        }
    }

    /// Gives up the workers that have been silent for too long.
    pub(crate) fn end_worker_deadlines(&mut self) {
        let mut lost = Vec::new();
        while let Some(id) = self.volatile.worker_deadlines.due(self.now) {
            let Some(worker) = self.volatile.workers.get(&id) else {
                continue;
            };
            let broken = worker
                .broken_since
                .map(|since| since.plus(self.config.reconnect_grace_ms));
            let due = broken.unwrap_or(worker.last_heard.plus(self.config.heartbeat_timeout_ms));
            if due > self.now {
                self.volatile.worker_deadlines.set(id, Some(due));
            } else {
                lost.push((
                    id,
                    if broken.is_some() {
                        LeaveReason::Gone
                    } else {
                        LeaveReason::Silent
                    },
                ));
            }
        }
        self.lose(&lost);
    }

    /// Gives workers up: their leases are lost, and they are fenced should they still be there. All at once, so that
    /// a thousand lost in one moment make one new epoch.
    pub(crate) fn lose(&mut self, lost: &[(WorkerId, LeaveReason)]) {
        let mut by_job: BTreeMap<JobId, BTreeMap<WorkerId, LeaveReason>> = BTreeMap::new();
        for (id, reason) in lost {
            if let Some(job) = self.volatile.workers.get(id).and_then(Worker::job) {
                by_job.entry(job).or_default().insert(*id, *reason);
            }
        }
        // How members of training groups were lost, while it can still be told.
        for (job, lost) in by_job {
            self.with_job(job, |at| at.note_losses(&lost));
        }
        let mut left: BTreeMap<JobId, Vec<(WorkerId, LeaveReason)>> = BTreeMap::new();
        for (id, reason) in lost {
            let Some(worker) = self.volatile.workers.get(id) else {
                continue;
            };
            let job = worker.job();
            let failure = self.fence(*id, *reason);
            let Some(job) = job else {
                self.volatile.forget(*id);
                continue;
            };
            let left = left.entry(job).or_default();
            match self.with_job(job, |at| at.lose(*id, &failure)) {
                Some(true) => left.push((*id, *reason)),
                Some(false) => {}
                None => self.forget(*id),
            }
        }
        for (job, left) in left {
            self.with_job(job, |at| {
                if left.is_empty() {
                    at.schedule();
                } else {
                    at.reshape(left);
                }
                at.settle();
                at.changed();
            });
        }
    }

    /// Ends a worker's stream, so that it stops what it has; what is to be said of its attempts.
    fn fence(&mut self, id: WorkerId, reason: LeaveReason) -> Failure {
        let Some(worker) = self.volatile.workers.get(&id) else {
            return Failure::default();
        };
        let (code, why) = why_lost(self.now, &self.config, worker, reason);
        let failure = Failure {
            code: code.as_str().to_owned(),
            message: format!("worker {} was lost: {why}", Self::name_of(&worker.hello)),
            ..Failure::default()
        };
        if let Some(conn) = worker.conn {
            let message = format!("this worker was given up: {why}");
            self.send(id, ToWorker::Fenced(Refusal::new(code, message.clone())));
            self.close(conn, code, message);
        }
        failure
    }

    /// A worker is known no more.
    pub(crate) fn forget(&mut self, id: WorkerId) {
        let job = self.volatile.forget(id);
        if let Some(own) = job.and_then(|job| self.open_jobs.get_mut(&job)) {
            own.forget_worker(id);
        }
    }
}

impl Volatile {
    /// A worker is known no more; the job in which it had a place.
    pub(crate) fn forget(&mut self, id: WorkerId) -> Option<JobId> {
        self.worker_deadlines.set(id, None);
        let worker = self.workers.remove(&id)?;
        self.free.remove(&(worker.arrival, id));
        self.local_stage_workers.remove(&id);
        if self.names.get(&worker.hello.name) == Some(&id) {
            self.names.remove(&worker.hello.name);
        }
        worker.job()
    }
}

impl JobContext<'_> {
    /// A worker of the job is lost: its attempts have ended. Whether it was a member, or has processes of its training.
    fn lose(&mut self, id: WorkerId, failure: &Failure) -> bool {
        let Some(worker) = self.volatile.workers.get(&id) else {
            return false;
        };
        let trains = self.own.training.as_ref().is_some_and(|t| t.is_alive(id));
        let member = worker.is_member() || trains;
        for lease in worker.leases.clone() {
            self.end_attempt(lease, FailureKind::WorkerLost, failure.clone());
        }
        self.forget(id);
        member
    }
}

/// Code and words of a loss.
pub(crate) fn why_lost(
    now: Millis,
    config: &Config,
    worker: &Worker,
    reason: LeaveReason,
) -> (Code, String) {
    let silent_ms = now.since(worker.last_heard);
    match reason {
        LeaveReason::Silent if silent_ms < config.heartbeat_timeout_ms => (
            Code::WorkerSilent,
            "it did not do in time what it was asked to".to_owned(),
        ),
        LeaveReason::Silent => (Code::WorkerSilent, format!("silent for {silent_ms} ms")),
        LeaveReason::Gone
        | LeaveReason::Left
        | LeaveReason::ScaledDown
        | LeaveReason::NotBack
        | LeaveReason::Drained
        | LeaveReason::LeftOut
        | LeaveReason::JobEnded => (
            Code::WorkerGone,
            "its process died or its stream stayed broken".to_owned(),
        ),
    }
}
