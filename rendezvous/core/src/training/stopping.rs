//! A training group stops: all of it is waited for, the first cause is found and charged, and it goes on or has failed.

use crate::training::cause::{LOSS_SHADOW_MS, Loss};
use crate::training::{Doing, PartState, Training, Why};
use crate::{
    Cause, Charge, Code, Core, Effect, Event, Failure, FailureKind, JobId, LeaseId, LeaveReason,
    Refusal, ToWorker, Verdict, WorkerId,
};
use std::collections::BTreeMap;

impl Core {
    /// A member is none any more.
    pub(crate) fn part_left(&mut self, id: JobId, worker: WorkerId, reason: LeaveReason) {
        let Some(training) = self.volatile.training_mut(id) else {
            return;
        };
        if !training.is_alive(worker) {
            return;
        }
        match reason {
            LeaveReason::Gone | LeaveReason::Silent | LeaveReason::NotBack => {
                training.set(worker, PartState::Lost);
                self.part_lost(id, worker);
            }
            LeaveReason::Left
            | LeaveReason::Drained
            | LeaveReason::ScaledDown
            | LeaveReason::JobEnded
            | LeaveReason::LeftOut => self.part_leaves(id, worker),
        }
    }

    fn part_lost(&mut self, id: JobId, worker: WorkerId) {
        let Some(training) = self.volatile.training(id) else {
            return;
        };
        if let Doing::Running(_) = training.doing {
            let loss = training.losses.iter().find(|l| l.worker == worker);
            let (code, message) = loss.map_or((Code::WorkerGone, String::new()), |l| {
                (l.code, l.message.clone())
            });
            self.stop(id, Why::Fault, code, message);
        }
    }

    fn part_leaves(&mut self, id: JobId, worker: WorkerId) {
        let now = self.now;
        let Some(at) = self.training_job(id) else {
            return;
        };
        let (training, code) = (at.training, Code::MembershipChanged);
        match training.doing {
            Doing::Running(_) => {
                let message = format!("{} leaves", at.name_of(worker));
                self.stop(id, Why::Purpose, code, message);
            }
            // Its processes may have failed, and those of others by it, before its word of leave came.
            Doing::Stopping(epoch, Why::Fault)
                if training.losses.is_empty()
                    && training
                        .failed_at
                        .is_some_and(|at| now.since(at) <= LOSS_SHADOW_MS) =>
            {
                let (stage, message) = (training.stage, format!("{} leaves", at.name_of(worker)));
                self.record(Event::GroupStopping {
                    job: id,
                    stage,
                    epoch,
                    code: code.as_str().to_owned(),
                    message,
                });
                if let Some(training) = self.volatile.training_mut(id) {
                    training.doing = Doing::Stopping(epoch, Why::Purpose);
                }
            }
            Doing::Gathering | Doing::Preparing(_) | Doing::Stopping(..) => {}
        }
    }

    /// Something failed: a running group stops.
    pub(crate) fn fault(&mut self, id: JobId, code: Code, message: String) {
        if self
            .volatile
            .training(id)
            .is_some_and(|t| matches!(t.doing, Doing::Running(_)))
        {
            self.stop(id, Why::Fault, code, message);
        }
    }

    /// Has all members stop their processes.
    pub(crate) fn stop(&mut self, id: JobId, why: Why, code: Code, message: String) {
        let now = self.now;
        let Some(training) = self.volatile.training_mut(id) else {
            return;
        };
        let Doing::Running(epoch) = training.doing else {
            return;
        };
        training.turn(Doing::Stopping(epoch, why), now);
        let stage = training.stage;
        let alive: Vec<WorkerId> = training
            .parts
            .iter()
            .filter(|(_, p)| p.state.is_alive())
            .map(|(w, _)| *w)
            .collect();
        if why == Why::Purpose {
            self.record(Event::GroupStopping {
                job: id,
                stage,
                epoch,
                code: code.as_str().to_owned(),
                message: message.clone(),
            });
        }
        for worker in alive {
            self.stop_part(id, worker, Refusal::new(code, message.clone()));
        }
        self.effect(Effect::Changed(id));
        self.train(id);
    }

    /// Has one member stop its processes of the newest epoch.
    pub(crate) fn stop_part(&mut self, id: JobId, worker: WorkerId, refusal: Refusal) {
        let Some(training) = self.volatile.training(id) else {
            return;
        };
        let Some(epoch) = training.epoch() else {
            return;
        };
        let message = ToWorker::GroupStop {
            job: id,
            stage: training.stage,
            epoch,
            refusal,
            dump_stacks: training.hang.is_some(),
        };
        self.send(worker, message);
    }

    /// Goes on once all have stopped; gives up those that take too long.
    pub(crate) fn stop_on(&mut self, id: JobId) {
        let Some(at) = self.training_job(id) else {
            return;
        };
        let training = at.training;
        if training.alive == 0 {
            return self.stopped(id);
        }
        if self.now.since(training.since) < at.stop_patience_ms() {
            return;
        }
        let late: Vec<(WorkerId, LeaveReason)> = training
            .parts
            .iter()
            .filter(|(w, p)| p.state.is_alive() && self.volatile.workers.contains_key(w))
            .map(|(w, _)| (*w, LeaveReason::Silent))
            .collect();
        if !late.is_empty() {
            self.lose(&late);
        }
    }

    /// No process of the epoch is left.
    fn stopped(&mut self, id: JobId) {
        let Some(at) = self.training_job(id) else {
            return;
        };
        let Doing::Stopping(epoch, why) = at.training.doing else {
            return;
        };
        if at.training.succeeded == at.training.parts.len() {
            return self.succeed(id);
        }
        let (cause, now) = (at.first_cause(epoch, why), self.now);
        if let Some(training) = self.volatile.training_mut(id) {
            training.gather(now);
        }
        if let Some(cause) = cause
            && self.charge_cause(id, cause)
        {
            return;
        }
        self.effect(Effect::Changed(id));
        self.after_stop(id);
    }

    /// Records a cause. Whether the stage has failed for good by it.
    fn charge_cause(&mut self, id: JobId, cause: Cause) -> bool {
        let Some(at) = self.training_job(id) else {
            return false;
        };
        let (stage, bill) = (at.training.stage, at.charge(&cause));
        let limit = match cause.charged {
            Charge::WorkerLost => at.job.spec.stages[stage as usize].budgets.worker_lost,
            Charge::Restart | Charge::Nothing => at.rules.max_restarts,
        };
        self.record(Event::GroupFailed {
            job: id,
            stage,
            cause: Box::new(cause.clone()),
            restarts_used: bill.restarts_used,
            lost_used: bill.lost_used,
        });
        if bill.over {
            self.fail_for_good(id, &cause, limit);
        }
        bill.over
    }

    fn fail_for_good(&mut self, id: JobId, cause: &Cause, limit: u32) {
        let Some(at) = self.training_job(id) else {
            return;
        };
        let (shard, duration_ms) = (at.shard(), at.trained_ms());
        let worker = at.name_index(&cause.worker);
        let (kind, what) = match cause.charged {
            Charge::WorkerLost => (FailureKind::WorkerLost, "budgets.worker_lost"),
            Charge::Restart | Charge::Nothing => (FailureKind::Failed, "max_restarts"),
        };
        let restarts = match limit {
            0 => format!("it may not start again ({what} = 0)"),
            1 => format!("it has started again once before, as often as it may ({what})"),
            n => format!("it has started again {n} times before, as often as it may ({what})"),
        };
        let message = format!("{}; {restarts}", cause.describe());
        let failure = Failure {
            duration_ms,
            exit_code: cause.exit_code,
            signal: cause.signal,
            code: cause.code.clone(),
            message,
            log_tail: cause.log_tail.clone(),
        };
        self.record(Event::AttemptFailed {
            job: id,
            shard,
            lease: LeaseId(0),
            worker,
            kind,
            failure: Box::new(failure),
            quarantined: true,
        });
        self.end_training(id, |core| core.give_up(id, &[shard]));
    }

    /// Every process of the group exited 0.
    pub(crate) fn succeed(&mut self, id: JobId) {
        let Some(at) = self.training_job(id) else {
            return;
        };
        if !at.is_pending() {
            // Its time was over before its last process exited.
            return self.end_training(id, |_| ());
        }
        let first = at
            .job
            .members
            .first()
            .map_or("", |m| m.member.name.as_str());
        let worker = at.name_index(first);
        let (shard, duration_ms) = (at.shard(), at.trained_ms());
        self.record(Event::ShardCommitted {
            job: id,
            shard,
            lease: LeaseId(0),
            worker,
            duration_ms,
            files: 0,
            bytes: 0,
            verdict: Verdict::None,
            reasons: Vec::new(),
            numbers: Vec::new(),
            manifest: None,
        });
        self.end_training(id, |core| core.unblock(id, shard));
    }

    /// After a stop that was nobody's failure, or one that is charged: again, or no more.
    fn after_stop(&mut self, id: JobId) {
        let Some(at) = self.training_job(id) else {
            return;
        };
        let job = at.job;
        let pending = job
            .stages
            .get(at.training.stage as usize)
            .is_some_and(|s| !s.is_settled());
        if pending && job.cancelled.is_none() {
            self.gather(id);
        } else {
            self.end_training(id, |_| ());
        }
    }

    /// The job's other work may have its workers now.
    pub(crate) fn end_training(&mut self, id: JobId, then: impl FnOnce(&mut Self)) {
        let Some(training) = self
            .volatile
            .jobs
            .get_mut(&id)
            .and_then(|l| l.training.take())
        else {
            return;
        };
        self.volatile.group_deadlines.set(id, None);
        self.send_away(&training.left);
        then(self);
        // A cancelled job has no use for another epoch.
        if self
            .state
            .jobs
            .get(&id)
            .is_some_and(|j| j.cancelled.is_some())
        {
            self.settle(id);
        }
        self.reshape(id, training.left.into_iter().collect());
        self.settle(id);
        self.effect(Effect::Changed(id));
    }

    /// Notes how a worker was lost, while it can still be told.
    pub(crate) fn note_losses(&mut self, job: JobId, lost: &BTreeMap<WorkerId, LeaveReason>) {
        let Some(training) = self.volatile.training(job) else {
            return;
        };
        let losses: Vec<Loss> = lost
            .iter()
            .filter(|(w, _)| training.is_alive(**w))
            .map(|(w, reason)| self.loss(job, training, *w, *reason))
            .collect();
        if let Some(training) = self.volatile.training_mut(job) {
            training.losses.extend(losses);
        }
    }

    fn loss(&self, job: JobId, training: &Training, id: WorkerId, reason: LeaveReason) -> Loss {
        let Some(worker) = self.volatile.workers.get(&id) else {
            let rank = training.parts.get(&id).map_or(0, |p| p.group_rank as usize);
            let member = self.state.jobs.get(&job).and_then(|j| j.members.get(rank));
            let name = member.map_or_else(String::new, |m| {
                format!("{} on {}", m.member.name, m.member.host)
            });
            return Loss {
                worker: id,
                at: None,
                code: Code::WorkerGone,
                message: format!("worker {name} did not come back after the coordinator's restart"),
            };
        };
        let at = match reason {
            LeaveReason::Silent => worker.last_heard,
            LeaveReason::Gone
            | LeaveReason::Left
            | LeaveReason::ScaledDown
            | LeaveReason::NotBack
            | LeaveReason::JobEnded
            | LeaveReason::Drained
            | LeaveReason::LeftOut => worker.broken_since.unwrap_or(self.now),
        };
        let (code, why) = self.why_lost(worker, reason);
        Loss {
            worker: id,
            at: Some(at),
            code,
            message: format!("worker {} was lost: {why}", Self::name_of(&worker.hello)),
        }
    }
}
