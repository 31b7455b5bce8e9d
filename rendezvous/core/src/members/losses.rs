//! Workers that are gone: what becomes of their leases, and of the membership.

use crate::volatile::worker::Worker;
use crate::{
    Code, Core, Effect, FailureKind, JobId, LeaseId, LeaveReason, Refusal, ToWorker, WorkerId,
};
use std::collections::BTreeMap;

impl Core {
    pub(crate) fn worker_gone(&mut self, id: WorkerId) {
        if self.volatile.workers.contains_key(&id) {
            self.lose(&[(id, LeaveReason::Gone)]);
            return;
        }
        let expecting: Vec<JobId> = self
            .volatile
            .jobs
            .iter()
            .filter(|(_, j)| j.expected.contains(&id))
            .map(|(job, _)| *job)
            .collect();
        for job in expecting {
            if let Some(volatile) = self.volatile.jobs.get_mut(&job) {
                volatile.expected.remove(&id);
            }
            self.note_losses(job, &BTreeMap::from([(id, LeaveReason::Gone)]));
            let left = vec![(id, LeaveReason::Gone)];
            let last = self.volatile.jobs.get(&job);
            if last.is_some_and(|j| j.expected.is_empty() && !j.seeded) {
                self.open_without(job, left);
            } else {
                self.reshape(job, left);
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
        let mut left: BTreeMap<JobId, Vec<(WorkerId, LeaveReason)>> = BTreeMap::new();
        self.note_group_losses(lost);
        for (id, reason) in lost {
            let Some(worker) = self.volatile.workers.get(id) else {
                continue;
            };
            let job = worker.job();
            let trains = job
                .and_then(|job| self.volatile.training(job))
                .is_some_and(|t| t.is_alive(*id));
            let member = worker.is_member() || trains;
            self.end_attempts_of(*id, *reason);
            self.forget(*id);
            if let Some(job) = job {
                let left = left.entry(job).or_default();
                if member {
                    left.push((*id, *reason));
                }
            }
        }
        for (job, left) in left {
            if left.is_empty() {
                self.schedule(job);
            } else {
                self.reshape(job, left);
            }
            self.settle(job);
            self.effect(Effect::Changed(job));
        }
    }

    fn end_attempts_of(&mut self, id: WorkerId, reason: LeaveReason) {
        let Some(worker) = self.volatile.workers.get(&id) else {
            return;
        };
        let (code, why) = self.why_lost(worker, reason);
        let failure = crate::Failure {
            code: code.as_str().to_owned(),
            message: format!("worker {} was lost: {why}", Self::name_of(&worker.hello)),
            ..crate::Failure::default()
        };
        let leases: Vec<LeaseId> = worker.leases.iter().copied().collect();
        if let Some(conn) = worker.conn {
            let message = format!("this worker was given up: {why}");
            self.send(id, ToWorker::Fenced(Refusal::new(code, message.clone())));
            self.close(conn, code, message);
        }
        for lease in leases {
            self.end_attempt(lease, FailureKind::WorkerLost, failure.clone());
        }
    }

    /// Code and words of a loss.
    pub(crate) fn why_lost(&self, worker: &Worker, reason: LeaveReason) -> (Code, String) {
        let silent_ms = self.now.since(worker.last_heard);
        match reason {
            LeaveReason::Silent if silent_ms < self.config.heartbeat_timeout_ms => (
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

    /// Notes how members of training groups were lost, while it can still be told.
    fn note_group_losses(&mut self, lost: &[(WorkerId, LeaveReason)]) {
        let mut by_job: BTreeMap<JobId, BTreeMap<WorkerId, LeaveReason>> = BTreeMap::new();
        for (id, reason) in lost {
            if let Some(job) = self.volatile.workers.get(id).and_then(Worker::job) {
                by_job.entry(job).or_default().insert(*id, *reason);
            }
        }
        for (job, lost) in by_job {
            self.note_losses(job, &lost);
        }
    }

    pub(crate) fn forget(&mut self, id: WorkerId) {
        if let Some(worker) = self.volatile.workers.remove(&id) {
            self.volatile.free.remove(&(worker.arrival, id));
            self.volatile.launchers.remove(&id);
            if self.volatile.names.get(&worker.hello.name) == Some(&id) {
                self.volatile.names.remove(&worker.hello.name);
            }
            if let Some(job) = worker.job().and_then(|j| self.volatile.jobs.get_mut(&j)) {
                job.forget_worker(id);
            }
        }
        self.volatile.worker_deadlines.set(id, None);
    }
}
