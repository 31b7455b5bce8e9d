//! What workers report of their training processes.

use crate::context::JobContext;
use crate::training::{Busy, Change, Doing, Flow, PartState, Training, Why};
use crate::{
    Code, Core, Epoch, FromWorker, GroupPhase, GroupProgress, GroupReport, Millis, Refusal,
    ToWorker, WorkerId,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

impl Core {
    pub(crate) fn training_said(&mut self, worker: WorkerId, message: FromWorker) {
        match message {
            FromWorker::Group(report) => self.group_report(worker, &report),
            FromWorker::Master(offer) => self.master_offered(worker, &offer),
            FromWorker::Checkpoint(report) => self.checkpoint(worker, &report),
            FromWorker::Progress(progress) => self.progress(worker, &progress),
            FromWorker::Preflight { job, failure } => self.preflighted(worker, job, failure),
            FromWorker::Heartbeat { .. } | FromWorker::Results(_) | FromWorker::Leaving(_) => {}
        }
    }

    /// How a member's processes stand, or those that a worker still has of an epoch that is over.
    fn group_report(&mut self, id: WorkerId, report: &GroupReport) {
        self.note_busy(id, report);
        let taken = self.with_job(report.job, |at| {
            let training = at.own.training.as_ref();
            let current = training.is_some_and(|t| t.awaits(id, report));
            at.with_training(|training, at| {
                if current {
                    training.take_report(at, id, report)
                } else {
                    ControlFlow::Continue(())
                }
            });
            current
        });
        if taken != Some(true) {
            self.stale_report(id, report);
        }
    }

    /// A worker with processes is no candidate, and must not start others.
    fn note_busy(&mut self, id: WorkerId, report: &GroupReport) {
        let Some(worker) = self.volatile.workers.get_mut(&id) else {
            return;
        };
        let was = worker.busy;
        if was.is_some_and(|b| b.job == report.job && report.epoch < b.epoch) {
            return;
        }
        worker.busy = match report.phase {
            GroupPhase::Running | GroupPhase::Failing => Some(Busy {
                job: report.job,
                epoch: report.epoch,
            }),
            GroupPhase::Stopped | GroupPhase::Succeeded => None,
        };
        if was.is_some() && worker.busy.is_none() && worker.job().is_none() {
            self.feed(id);
            self.admit();
        }
    }

    /// Processes of an epoch that is over must go.
    fn stale_report(&mut self, id: WorkerId, report: &GroupReport) {
        match report.phase {
            GroupPhase::Stopped | GroupPhase::Succeeded => {}
            GroupPhase::Running | GroupPhase::Failing => {
                let refusal =
                    Refusal::new(Code::StaleEpoch, format!("epoch {} is over", report.epoch));
                let message = ToWorker::GroupStop {
                    job: report.job,
                    stage: report.stage,
                    epoch: report.epoch,
                    refusal,
                    dump_stacks: false,
                };
                self.send(id, message);
            }
        }
    }

    /// A worker said Hello: what it has and what it should have are brought together.
    pub(crate) fn greet(&mut self, id: WorkerId, report: Option<&GroupReport>) {
        if let Some(report) = report {
            self.group_report(id, report);
        } else if let Some(worker) = self.volatile.workers.get_mut(&id) {
            worker.busy = None;
        }
        if let Some(job) = self.volatile.workers.get(&id).and_then(|w| w.job()) {
            self.with_job(job, |at| {
                at.with_training(|training, at| training.greet(at, id, report));
            });
        }
    }

    /// How a member's processes get on.
    fn progress(&mut self, id: WorkerId, progress: &GroupProgress) {
        self.with_job(progress.job, |at| {
            at.with_training(|training, at| {
                training.progress(at, id, progress);
                ControlFlow::Continue(())
            });
        });
    }
}

impl Training {
    /// Whether a report speaks of the newest epoch's processes, and of a member that was not given up.
    fn awaits(&self, id: WorkerId, report: &GroupReport) -> bool {
        let part = self.parts.get(&id);
        self.stage == report.stage
            && self.epoch() == Some(report.epoch)
            && part.is_some_and(|p| p.state != PartState::Lost)
    }

    fn take_report(&mut self, at: &mut JobContext<'_>, id: WorkerId, report: &GroupReport) -> Flow {
        match self.report(at.now, id, report) {
            Change::Nothing | Change::Confirmed => ControlFlow::Continue(()),
            Change::Failed => self.report_fault(at, report),
            Change::Stopped => {
                self.report_fault(at, report)?;
                self.advance(at)
            }
            Change::Succeeded => self.advance(at),
        }
    }

    /// A running group stops by the first report of a failure.
    fn report_fault(&mut self, at: &mut JobContext<'_>, report: &GroupReport) -> Flow {
        let message = report.failures.first().map_or_else(
            || "a worker stopped its processes".to_owned(),
            |f| format!("rank {} failed: {}", f.rank, f.message),
        );
        let refusal = Refusal::new(Code::GroupFailed, message);
        self.stop(at, Why::Fault, refusal)
    }

    /// A member said Hello, with what it has of processes.
    fn greet(
        &mut self,
        at: &mut JobContext<'_>,
        id: WorkerId,
        report: Option<&GroupReport>,
    ) -> Flow {
        let stage = self.stage;
        let has = |epoch: Epoch| {
            report.is_some_and(|r| r.job == at.id && r.stage == stage && r.epoch == epoch)
        };
        match self.doing {
            Doing::Gathering => return self.advance(at),
            Doing::Preparing(_) => self.ask_rank_0(at),
            Doing::Running(epoch) => {
                let state = self.parts.get(&id).map(|p| p.state);
                match state.filter(|_| !has(epoch)) {
                    // The order was lost with the stream, or with the coordinator.
                    Some(PartState::Ordered) => {
                        if !self.is_recovering(at) {
                            self.start_part(at, id);
                        }
                    }
                    Some(PartState::Running | PartState::Failing) => {
                        return self.part_stopped(at, id);
                    }
                    Some(PartState::Stopped | PartState::Succeeded | PartState::Lost) | None => {}
                }
            }
            Doing::Stopping(epoch, _) if self.is_alive(id) => {
                if !has(epoch) {
                    return self.part_stopped(at, id);
                }
                let refusal = Refusal::new(Code::MembershipChanged, "the group stops");
                self.stop_part(at, id, refusal);
            }
            Doing::Stopping(..) => {}
        }
        ControlFlow::Continue(())
    }

    fn part_stopped(&mut self, at: &mut JobContext<'_>, id: WorkerId) -> Flow {
        if let Some(worker) = at.volatile.workers.get_mut(&id) {
            worker.busy = None;
        }
        self.set(id, PartState::Stopped);
        let refusal = Refusal::new(Code::GroupFailed, "a worker lost its processes");
        self.stop(at, Why::Fault, refusal)?;
        self.advance(at)
    }

    /// All members of before a restart are back, or given up: those that never heard the order to start hear it now.
    pub(crate) fn resume(&mut self, at: &mut JobContext<'_>) -> Flow {
        let processes: BTreeMap<WorkerId, u32> = self.processes(at).into_iter().collect();
        self.lay_out(|worker, before| processes.get(&worker).copied().unwrap_or(before));
        if let Doing::Running(_) = self.doing {
            for (worker, part) in &self.parts {
                if part.state == PartState::Ordered {
                    self.start_part(at, *worker);
                }
            }
        }
        self.advance(at)
    }

    fn progress(&mut self, at: &mut JobContext<'_>, id: WorkerId, progress: &GroupProgress) {
        if self.doing != Doing::Running(progress.epoch) {
            return;
        }
        let Some(part) = self.parts.get_mut(&id) else {
            return;
        };
        let active = Millis(at.now.0.saturating_sub(progress.quiet_ms));
        let ranks = part.first_rank..part.first_rank.saturating_add(part.processes);
        for rank in progress.ranks.iter().filter(|r| ranks.contains(&r.rank)) {
            part.steps.insert(rank.rank, (rank.step, rank.step_time_ms));
            self.step = self.step.max(Some(rank.step));
        }
        if active > self.last_active {
            self.last_active = active;
            self.set_deadline(at);
        }
    }
}
