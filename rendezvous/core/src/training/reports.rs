//! What workers report of their training processes.

use crate::training::{Busy, Change, Doing, PartState};
use crate::{
    Code, Core, Epoch, FromWorker, GroupPhase, GroupProgress, GroupReport, JobId, Millis, Refusal,
    ToWorker, WorkerId,
};
use std::collections::BTreeMap;

impl Core {
    pub(crate) fn training_said(&mut self, worker: WorkerId, message: FromWorker) {
        match message {
            FromWorker::Group(report) => self.group_report(worker, &report),
            FromWorker::Master(offer) => self.master_offered(worker, &offer),
            FromWorker::Checkpoint(report) => self.checkpoint(worker, report),
            FromWorker::Progress(progress) => self.progress(worker, &progress),
            FromWorker::Preflight { job, failure } => self.preflighted(worker, job, failure),
            FromWorker::Heartbeat { .. } | FromWorker::Results(_) | FromWorker::Leaving(_) => {}
        }
    }

    /// How a member's processes stand, or those that a worker still has of an epoch that is over.
    pub(crate) fn group_report(&mut self, id: WorkerId, report: &GroupReport) {
        self.note_busy(id, report);
        let now = self.now;
        let current = self
            .volatile
            .training_mut(report.job)
            .filter(|t| t.stage == report.stage && t.epoch() == Some(report.epoch))
            .filter(|t| t.parts.get(&id).is_some_and(|p| p.state != PartState::Lost));
        let Some(training) = current else {
            return self.stale_report(id, report);
        };
        let change = training.report(now, id, report);
        match change {
            Change::Nothing | Change::Confirmed => {}
            Change::Failed => self.report_fault(report),
            Change::Stopped => {
                self.report_fault(report);
                self.train(report.job);
            }
            Change::Succeeded => self.train(report.job),
        }
    }

    /// A running group stops by the first report of a failure.
    fn report_fault(&mut self, report: &GroupReport) {
        let message = report.failures.first().map_or_else(
            || "a worker stopped its processes".to_owned(),
            |f| format!("rank {} failed: {}", f.rank, f.message),
        );
        self.fault(report.job, Code::GroupFailed, message);
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
        let Some(job) = self.volatile.workers.get(&id).and_then(|w| w.job()) else {
            return;
        };
        let Some(at) = self.training_job(job) else {
            return;
        };
        let training = at.training;
        let has = |epoch: Epoch| {
            report.is_some_and(|r| r.job == job && r.stage == training.stage && r.epoch == epoch)
        };
        match training.doing {
            Doing::Gathering => self.train(job),
            Doing::Preparing(_) => self.ask_rank_0(job),
            Doing::Running(epoch) => {
                let state = training.parts.get(&id).map(|p| p.state);
                match state.filter(|_| !has(epoch)) {
                    // The order was lost with the stream, or with the coordinator.
                    Some(PartState::Ordered) => {
                        if !at.is_recovering() {
                            self.start_part(job, id);
                        }
                    }
                    Some(PartState::Running | PartState::Failing) => self.part_stopped(job, id),
                    Some(PartState::Stopped | PartState::Succeeded | PartState::Lost) | None => {}
                }
            }
            Doing::Stopping(epoch, _) => {
                if !training.is_alive(id) {
                    return;
                }
                if has(epoch) {
                    let refusal = Refusal::new(Code::MembershipChanged, "the group stops");
                    self.stop_part(job, id, refusal);
                } else {
                    self.part_stopped(job, id);
                }
            }
        }
    }

    fn part_stopped(&mut self, job: JobId, id: WorkerId) {
        if let Some(worker) = self.volatile.workers.get_mut(&id) {
            worker.busy = None;
        }
        if let Some(training) = self.volatile.training_mut(job) {
            training.set(id, PartState::Stopped);
        }
        let message = "a worker lost its processes".to_owned();
        self.fault(job, Code::GroupFailed, message);
        self.train(job);
    }

    /// All members of before a restart are back, or given up: those that never heard the order to start hear it now.
    pub(crate) fn resume_group(&mut self, id: JobId) {
        let Some(at) = self.training_job(id) else {
            return;
        };
        let processes: BTreeMap<WorkerId, u32> = at.processes().collect();
        let Some(training) = self.volatile.training_mut(id) else {
            return;
        };
        training.lay_out(|worker, before| processes.get(&worker).copied().unwrap_or(before));
        if let Doing::Running(_) = training.doing {
            let ordered: Vec<WorkerId> = training
                .parts
                .iter()
                .filter(|(_, p)| p.state == PartState::Ordered)
                .map(|(w, _)| *w)
                .collect();
            for worker in ordered {
                self.start_part(id, worker);
            }
        }
        self.train(id);
    }

    /// How a member's processes get on.
    fn progress(&mut self, id: WorkerId, progress: &GroupProgress) {
        let now = self.now;
        let Some(training) = self.volatile.training_mut(progress.job) else {
            return;
        };
        if training.doing != Doing::Running(progress.epoch) {
            return;
        }
        let Some(part) = training.parts.get_mut(&id) else {
            return;
        };
        let active = Millis(now.0.saturating_sub(progress.quiet_ms));
        let ranks = part.first_rank..part.first_rank.saturating_add(part.processes);
        for rank in progress.ranks.iter().filter(|r| ranks.contains(&r.rank)) {
            part.steps.insert(rank.rank, (rank.step, rank.step_time_us));
            training.step = training.step.max(Some(rank.step));
        }
        if active > training.last_active {
            training.last_active = active;
            self.set_group_deadline(progress.job);
        }
    }
}
