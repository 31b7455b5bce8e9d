//! A training group stops: all of it is waited for, the first cause is found and charged, and it goes on or has failed.

use crate::context::JobContext;
use crate::members::losses::why_lost;
use crate::training::cause::{LOSS_SHADOW_MS, Loss};
use crate::training::{Doing, Ending, Flow, PartState, Training, Why};
use crate::{
    Cause, Charge, Code, Core, Event, Failure, FailureKind, LeaseId, LeaveReason, Refusal,
    ToWorker, Verdict, WorkerId,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

impl Training {
    /// A member is none any more.
    pub(crate) fn part_left(
        &mut self,
        at: &mut JobContext<'_>,
        worker: WorkerId,
        reason: LeaveReason,
    ) -> Flow {
        if !self.is_alive(worker) {
            return ControlFlow::Continue(());
        }
        match reason {
            LeaveReason::Gone | LeaveReason::Silent | LeaveReason::NotBack => {
                self.set(worker, PartState::Lost);
                let loss = self.losses.iter().find(|l| l.worker == worker);
                let refusal = loss.map_or_else(
                    || Refusal::new(Code::WorkerGone, ""),
                    |l| Refusal::new(l.code, l.message.clone()),
                );
                self.stop(at, Why::Fault, refusal)
            }
            LeaveReason::Left
            | LeaveReason::Drained
            | LeaveReason::ScaledDown
            | LeaveReason::JobEnded
            | LeaveReason::LeftOut => self.part_leaves(at, worker),
        }
    }

    fn part_leaves(&mut self, at: &mut JobContext<'_>, worker: WorkerId) -> Flow {
        let mut members = at.job.members.iter();
        let member = members.find(|m| m.member.worker == worker);
        let name = member.map_or("a worker", |m| m.member.name.as_str());
        let refusal = Refusal::new(Code::MembershipChanged, format!("{name} leaves"));
        match self.doing {
            Doing::Running(_) => return self.stop(at, Why::Purpose, refusal),
            // Its processes may have failed, and those of others by it, before its word of leave came.
            Doing::Stopping(epoch, Why::Fault)
                if self.losses.is_empty()
                    && self
                        .failed_at
                        .is_some_and(|failed| at.now.since(failed) <= LOSS_SHADOW_MS) =>
            {
                at.record(Event::GroupStopping {
                    job: at.id,
                    stage: self.stage,
                    epoch,
                    code: refusal.code.as_str().to_owned(),
                    message: refusal.message,
                });
                self.doing = Doing::Stopping(epoch, Why::Purpose);
            }
            Doing::Gathering | Doing::Preparing(_) | Doing::Stopping(..) => {}
        }
        ControlFlow::Continue(())
    }

    /// The job's work is to stop for a while, or for good.
    pub(crate) fn stop_for(&mut self, at: &mut JobContext<'_>, refusal: Refusal) -> Flow {
        match self.doing {
            Doing::Running(_) => self.stop(at, Why::Purpose, refusal),
            Doing::Preparing(_) => self.advance(at),
            Doing::Gathering | Doing::Stopping(..) => ControlFlow::Continue(()),
        }
    }

    /// Its stage's time is over.
    pub(crate) fn end_in_time(&mut self, at: &mut JobContext<'_>, refusal: Refusal) -> Flow {
        match self.doing {
            Doing::Running(_) => self.stop(at, Why::Purpose, refusal),
            Doing::Gathering | Doing::Preparing(_) => ControlFlow::Break(Ending::Stopped),
            Doing::Stopping(..) => ControlFlow::Continue(()),
        }
    }

    /// Has all members stop their processes, if they run.
    pub(crate) fn stop(&mut self, at: &mut JobContext<'_>, why: Why, refusal: Refusal) -> Flow {
        let Doing::Running(epoch) = self.doing else {
            return ControlFlow::Continue(());
        };
        self.begin(Doing::Stopping(epoch, why), at.now);
        if why == Why::Purpose {
            at.record(Event::GroupStopping {
                job: at.id,
                stage: self.stage,
                epoch,
                code: refusal.code.as_str().to_owned(),
                message: refusal.message.clone(),
            });
        }
        for (worker, part) in &self.parts {
            if part.state.is_alive() {
                self.stop_part(at, *worker, refusal.clone());
            }
        }
        at.changed();
        self.advance(at)
    }

    /// Has one member stop its processes of the newest epoch.
    pub(crate) fn stop_part(&self, at: &mut JobContext<'_>, worker: WorkerId, refusal: Refusal) {
        let Some(epoch) = self.epoch() else {
            return;
        };
        let message = ToWorker::GroupStop {
            job: at.id,
            stage: self.stage,
            epoch,
            refusal,
            dump_stacks: self.hang.is_some(),
        };
        at.send(worker, message);
    }

    /// Goes on once all have stopped; gives up those that take too long.
    pub(crate) fn stop_on(&mut self, at: &mut JobContext<'_>) -> Flow {
        if self.alive == 0 {
            return self.stopped(at);
        }
        if at.now.since(self.since) >= self.stop_patience_ms(at) {
            let late = self.parts.iter().filter(|(_, p)| p.state.is_alive());
            let late = late.map(|(worker, _)| (*worker, LeaveReason::Silent));
            at.later.lost.extend(late);
        }
        ControlFlow::Continue(())
    }

    /// No process of the epoch is left.
    fn stopped(&mut self, at: &mut JobContext<'_>) -> Flow {
        let Doing::Stopping(epoch, why) = self.doing else {
            return ControlFlow::Continue(());
        };
        if self.succeeded == self.parts.len() {
            return self.succeed(at);
        }
        let cause = self.first_cause(at, epoch, why);
        self.forget_epoch(at.now);
        if let Some(cause) = cause {
            self.charge_cause(at, cause)?;
        }
        at.changed();
        self.after_stop(at)
    }

    /// Records a cause. The stage may have failed for good by it.
    fn charge_cause(&mut self, at: &mut JobContext<'_>, cause: Cause) -> Flow {
        let Some((bill, limit)) = self.charge(at, &cause) else {
            return ControlFlow::Continue(());
        };
        at.record(Event::GroupFailed {
            job: at.id,
            stage: self.stage,
            cause: Box::new(cause.clone()),
            restarts_used: bill.restarts_used,
            lost_used: bill.lost_used,
        });
        if bill.over {
            return self.fail_for_good(at, cause, limit);
        }
        ControlFlow::Continue(())
    }

    fn fail_for_good(&self, at: &mut JobContext<'_>, cause: Cause, limit: u32) -> Flow {
        if !self.is_pending(at.job) {
            // Its time was over before: it has failed by that.
            return ControlFlow::Break(Ending::Stopped);
        }
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
            duration_ms: self.trained_ms(at),
            exit_code: cause.exit_code,
            signal: cause.signal,
            code: cause.code,
            message,
            log_tail: cause.log_tail,
        };
        at.record(Event::AttemptFailed {
            job: at.id,
            shard: self.shard(),
            lease: LeaseId(0),
            worker: at.job.worker_index(&cause.worker),
            kind,
            failure: Box::new(failure),
            quarantined: true,
        });
        ControlFlow::Break(Ending::Failed)
    }

    /// Every process of the group exited 0.
    pub(crate) fn succeed(&self, at: &mut JobContext<'_>) -> Flow {
        if !self.is_pending(at.job) {
            // Its time was over before its last process exited.
            return ControlFlow::Break(Ending::Stopped);
        }
        let first = at.job.members.first();
        let first = first.map_or("", |m| m.member.name.as_str());
        at.record(Event::ShardCommitted {
            job: at.id,
            shard: self.shard(),
            lease: LeaseId(0),
            foreign: None,
            worker: at.job.worker_index(first),
            duration_ms: self.trained_ms(at),
            files: 0,
            bytes: 0,
            verdict: Verdict::None,
            reasons: Vec::new(),
            numbers: Vec::new(),
            manifest: None,
        });
        ControlFlow::Break(Ending::Succeeded)
    }

    /// After a stop that was nobody's failure, or one that is charged: again, or no more.
    fn after_stop(&mut self, at: &mut JobContext<'_>) -> Flow {
        let stage = at.job.stages.get(self.stage as usize);
        let pending = stage.is_some_and(|s| !s.is_settled());
        if pending && at.job.cancelled.is_none() {
            self.gather(at);
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(Ending::Stopped)
        }
    }
}

impl JobContext<'_> {
    /// Notes how workers were lost, while it can still be told.
    pub(crate) fn note_losses(&mut self, lost: &BTreeMap<WorkerId, LeaveReason>) {
        let Some(training) = &self.own.training else {
            return;
        };
        let losses: Vec<Loss> = lost
            .iter()
            .filter(|(w, _)| training.is_alive(**w))
            .map(|(w, reason)| self.loss(training, *w, *reason))
            .collect();
        if let Some(training) = &mut self.own.training {
            training.losses.extend(losses);
        }
    }

    fn loss(&self, training: &Training, id: WorkerId, reason: LeaveReason) -> Loss {
        let Some(worker) = self.volatile.workers.get(&id) else {
            let rank = training.parts.get(&id).map_or(0, |p| p.group_rank as usize);
            let member = self.job.members.get(rank);
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
        let (code, why) = why_lost(self.now, self.config, worker, reason);
        Loss {
            worker: id,
            at: Some(at),
            code,
            message: format!("worker {} was lost: {why}", Core::name_of(&worker.hello)),
        }
    }
}
