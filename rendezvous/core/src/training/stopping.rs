//! A training group stops: all of it is waited for, the first cause is found and charged, and it goes on or has failed.

use crate::shards::needs::is_pending;
use crate::training::cause::{LOSS_SHADOW_MS, Loss, charge, first_cause};
use crate::training::machine::{group, rules};
use crate::training::{Doing, PartState, Training, Why};
use crate::{
    Cause, Charge, Code, Core, Effect, Event, Failure, FailureKind, Job, JobId, LeaseId,
    LeaveReason, Refusal, ShardId, ToWorker, Verdict, WorkerId,
};
use std::collections::BTreeMap;

/// What a worker has beyond the grace of its processes until it must have said that they are gone.
const STOP_SLACK_MS: u64 = 15_000;

/// And beyond that, to write stacks down first.
const STACKS_MS: u64 = 30_000;

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
        let (Some(job), Some(training)) = (self.state.jobs.get(&id), self.volatile.training(id))
        else {
            return;
        };
        let code = Code::MembershipChanged;
        match training.doing {
            Doing::Running(_) => {
                let message = format!("{} leaves", name_of(job, worker));
                self.stop(id, Why::Purpose, code, message);
            }
            // Its processes may have failed, and those of others by it, before its word of leave came.
            Doing::Stopping(epoch, Why::Fault)
                if training.losses.is_empty()
                    && training
                        .failed_at
                        .is_some_and(|at| now.since(at) <= LOSS_SHADOW_MS) =>
            {
                let (stage, message) = (training.stage, format!("{} leaves", name_of(job, worker)));
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

    /// How long a group may take to stop.
    pub(crate) fn stop_patience_ms(&self, job: &Job, training: &Training) -> u64 {
        let grace_ms = job
            .spec
            .stages
            .get(training.stage as usize)
            .map_or(0, |s| s.grace_ms);
        let stacks_ms = if training.hang.is_some() {
            STACKS_MS
        } else {
            0
        };
        grace_ms.saturating_add(STOP_SLACK_MS + stacks_ms)
    }

    /// Goes on once all have stopped; gives up those that take too long.
    pub(crate) fn stop_on(&mut self, id: JobId) {
        let (Some(job), Some(training)) = (self.state.jobs.get(&id), self.volatile.training(id))
        else {
            return;
        };
        if training.alive == 0 {
            return self.stopped(id);
        }
        if self.now.since(training.since) < self.stop_patience_ms(job, training) {
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
        let now = self.now;
        let Some((job, volatile)) = self.job(id) else {
            return;
        };
        let Some(training) = &mut volatile.training else {
            return;
        };
        let Doing::Stopping(epoch, why) = training.doing else {
            return;
        };
        if training.succeeded == training.parts.len() {
            return self.succeed(id);
        }
        let cause = match why {
            Why::Fault => {
                let group = group(job, training.stage).filter(|g| g.epoch == epoch);
                let started = group.map_or(now, |g| g.started_at).min(now);
                Some(first_cause(now, started, epoch, training, &job.members))
            }
            Why::Purpose => None,
        };
        training.gather(now);
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
        let (Some(job), Some(training)) = (self.state.jobs.get(&id), self.volatile.training(id))
        else {
            return false;
        };
        let stage = training.stage;
        let Some((remembered, train)) = rules(job, stage) else {
            return false;
        };
        let none = crate::Group::default();
        let budgets = &job.spec.stages[stage as usize].budgets;
        let bill = charge(
            &cause,
            remembered.unwrap_or(&none),
            train,
            budgets,
            self.now,
        );
        let limit = match cause.charged {
            Charge::WorkerLost => budgets.worker_lost,
            Charge::Restart | Charge::Nothing => train.max_restarts,
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
        let Some(training) = self.volatile.training(id) else {
            return;
        };
        let shard = ShardId {
            stage: training.stage,
            index: 0,
        };
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
        let duration_ms = self.trained_ms(id, shard.stage);
        let failure = Failure {
            duration_ms,
            exit_code: cause.exit_code,
            signal: cause.signal,
            code: cause.code.clone(),
            message,
            log_tail: cause.log_tail.clone(),
        };
        let worker = self.name_index(id, &cause.worker);
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
        let (Some(job), Some(training)) = (self.state.jobs.get(&id), self.volatile.training(id))
        else {
            return;
        };
        let shard = ShardId {
            stage: training.stage,
            index: 0,
        };
        if !is_pending(job, shard) {
            // Its time was over before its last process exited.
            return self.end_training(id, |_| ());
        }
        let first = job.members.first().map(|m| m.member.name.clone());
        let worker = self.name_index(id, &first.unwrap_or_default());
        let duration_ms = self.trained_ms(id, shard.stage);
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
        let (Some(job), Some(training)) = (self.state.jobs.get(&id), self.volatile.training(id))
        else {
            return;
        };
        let stage = training.stage;
        let pending = job
            .stages
            .get(stage as usize)
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

    /// Since a stage may run.
    fn trained_ms(&self, id: JobId, stage: u32) -> u64 {
        let Some(job) = self.state.jobs.get(&id) else {
            return 0;
        };
        let stage_started = job.stages.get(stage as usize).and_then(|s| s.started_at);
        let started = stage_started.or_else(|| group(job, stage).map(|g| g.started_at));
        started.map_or(0, |at| self.now.since(at))
    }

    fn name_index(&self, id: JobId, name: &str) -> u32 {
        let names = self.state.jobs.get(&id).map(|j| j.worker_names.as_slice());
        names
            .and_then(|names| names.iter().position(|n| n == name))
            .and_then(|index| u32::try_from(index).ok())
            .unwrap_or(u32::MAX)
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

fn name_of(job: &Job, worker: WorkerId) -> &str {
    let member = job.members.iter().find(|m| m.member.worker == worker);
    member.map_or("a worker", |m| m.member.name.as_str())
}
