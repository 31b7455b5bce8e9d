//! This worker's part of a training group, as the machine knows it: what was ordered, what was reported, and what the
//! coordinator has not confirmed yet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use petctl_codes::Code;
use petctl_group::{Failure, Note};
use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::{
    CheckpointReport, GroupPhase, GroupReport, GroupStart, MasterOffer, PreflightReport,
};

use crate::agent::machine::io::GroupInput;

/// Checkpoints that may wait for their acknowledgement.
pub(super) const MAX_CHECKPOINTS: usize = 256;

/// What is known of the group, and what is to be said of it.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    /// The newest epoch that this worker started, or was told to stop.
    current: Option<Current>,
    /// Processes of some epoch may be there: of `current`, or of one that is of no more interest.
    alive: bool,
    /// To be started once nothing is alive.
    next: Option<GroupStart>,
    report_due: bool,
    progress_due: bool,
    offer: Option<MasterOffer>,
    preflight: Option<PreflightReport>,
    checkpoints: BTreeMap<u64, CheckpointReport>,
    unsent: VecDeque<u64>,
}

#[derive(Debug)]
struct Current {
    job_id: u64,
    stage: u32,
    epoch: u64,
    phase: GroupPhase,
    failures: Vec<Failure>,
    exited: u32,
    processes: u32,
}

/// What to do about an order to start.
#[derive(Debug)]
pub(super) enum Begin {
    /// Start it.
    Now(GroupStart),
    /// Stop the older one; it starts after that.
    AfterStop,
    /// It runs, or is over.
    Known,
}

impl GroupState {
    /// Processes may be there.
    pub(super) fn is_alive(&self) -> bool {
        self.alive
    }

    /// Nothing runs and the coordinator has heard all.
    pub(super) fn is_settled(&self) -> bool {
        !self.alive && self.next.is_none() && !self.report_due && self.checkpoints.is_empty()
    }

    pub(super) fn begin(&mut self, start: GroupStart) -> Begin {
        if let Some(current) = &self.current
            && current.job_id == start.job_id
            && start.epoch <= current.epoch
        {
            // It may not have heard how that epoch is.
            self.report_due |= start.epoch == current.epoch;
            return Begin::Known;
        }
        if self.alive {
            let is_newer = self
                .next
                .as_ref()
                .is_none_or(|next| next.epoch < start.epoch);
            if is_newer {
                self.next = Some(start);
            }
            return Begin::AfterStop;
        }
        self.set_current(&start, GroupPhase::Running);
        self.alive = true;
        Begin::Now(start)
    }

    /// An order to start that can't be followed: the epoch is over before it began.
    pub(super) fn decline(&mut self, start: &GroupStart) {
        self.alive = false;
        self.set_current(start, GroupPhase::Stopped);
    }

    /// Whether processes of that epoch, or of an older one, are to be stopped. Where none are there, that is reported.
    pub(super) fn ends(&mut self, job_id: u64, stage: u32, epoch: u64) -> bool {
        if self.next.as_ref().is_some_and(|next| next.epoch <= epoch) {
            self.next = None;
        }
        let current = self
            .current
            .as_ref()
            .filter(|current| current.job_id == job_id);
        match current.map(|current| current.epoch) {
            Some(known) if epoch < known => false,
            Some(known) if epoch == known => {
                self.report_due |= !self.alive;
                self.alive
            }
            Some(_) | None => {
                // It was never started here. If an older one runs, nothing is reported before that is gone.
                let never = GroupStart {
                    job_id,
                    stage,
                    epoch,
                    ..GroupStart::default()
                };
                let phase = if self.alive {
                    GroupPhase::Running
                } else {
                    GroupPhase::Stopped
                };
                self.set_current(&never, phase);
                self.alive
            }
        }
    }

    /// Its epoch is over. Processes that are still there go on being spoken of until they are gone: a worker that has
    /// some can't take part in another. The ids of checkpoints that nobody will confirm.
    pub(super) fn abandon(&mut self) -> Vec<u64> {
        let before = std::mem::take(self);
        if before.alive {
            (self.alive, self.current) = (true, before.current);
        }
        before.checkpoints.into_keys().collect()
    }

    /// What the group's thread says. Once an epoch is gone, the next one to start, if any.
    pub(super) fn noted(&mut self, note: GroupInput) -> Option<GroupStart> {
        match note {
            GroupInput::Note(Note::Exited { epoch, count }) => {
                if let Some(current) = self.of_epoch(epoch) {
                    current.exited = count;
                    self.report_due = true;
                }
            }
            GroupInput::Note(Note::Failing { epoch, failure }) => {
                if let Some(current) = self.of_epoch(epoch) {
                    current.phase = GroupPhase::Failing;
                    current.failures = vec![*failure];
                    self.report_due = true;
                }
            }
            GroupInput::Note(Note::Ended {
                epoch,
                succeeded,
                failures,
            }) => return self.ended(epoch, succeeded, failures),
            // It comes as an input of its own, with a number.
            GroupInput::Note(Note::Checkpoint { .. }) => {}
            GroupInput::Offer(offer) => self.offer = Some(offer),
            GroupInput::Preflight(report) => self.preflight = Some(report),
        }
        None
    }

    fn ended(&mut self, epoch: u64, succeeded: bool, failures: Vec<Failure>) -> Option<GroupStart> {
        self.alive = false;
        if let Some(current) = &mut self.current {
            if current.epoch == epoch {
                current.failures = failures;
            }
            let whole = succeeded && current.epoch == epoch;
            if whole {
                current.exited = current.processes;
            }
            current.phase = if whole {
                GroupPhase::Succeeded
            } else {
                GroupPhase::Stopped
            };
            self.report_due = true;
        }
        let next = self.next.take()?;
        self.set_current(&next, GroupPhase::Running);
        self.alive = true;
        Some(next)
    }

    fn of_epoch(&mut self, epoch: u64) -> Option<&mut Current> {
        self.current
            .as_mut()
            .filter(|current| current.epoch == epoch)
    }

    fn set_current(&mut self, start: &GroupStart, phase: GroupPhase) {
        self.report_due = phase == GroupPhase::Stopped || start.processes > 0;
        self.current = Some(Current {
            job_id: start.job_id,
            stage: start.stage,
            epoch: start.epoch,
            phase,
            failures: Vec::new(),
            exited: 0,
            processes: start.processes,
        });
    }

    /// Takes a checkpoint, to be reported until it is acknowledged.
    ///
    /// # Errors
    /// Code and sentence, where there is no epoch to which it belongs, or too many wait.
    pub(super) fn checkpoint(
        &mut self,
        request_id: u64,
        step: u64,
        path: String,
    ) -> Result<(), (Code, &'static str)> {
        let Some(current) = self.current.as_ref().filter(|_| self.alive) else {
            return Err((
                Code::StaleEpoch,
                "no training group runs here to which it could belong",
            ));
        };
        if self.checkpoints.len() >= MAX_CHECKPOINTS {
            return Err((
                Code::CheckpointRefused,
                "256 checkpoints wait for the coordinator already; checkpoint less often, or wait for the answer",
            ));
        }
        let report = CheckpointReport {
            request_id,
            job_id: current.job_id,
            stage: current.stage,
            epoch: current.epoch,
            step,
            path,
        };
        self.checkpoints.insert(request_id, report);
        self.unsent.push_back(request_id);
        Ok(())
    }

    /// Whether ranks of that epoch may still write to their logs.
    pub(super) fn may_write(&self, epoch: u64) -> bool {
        self.alive
            && self
                .current
                .as_ref()
                .is_some_and(|current| current.epoch == epoch)
    }

    /// False where it was not waited for.
    pub(super) fn acknowledge(&mut self, request_id: u64) -> bool {
        self.checkpoints.remove(&request_id).is_some()
    }

    /// On a new stream everything without an answer goes out again; the report went with the Hello.
    pub(super) fn resend_all(&mut self) {
        self.unsent = self.checkpoints.keys().copied().collect();
        self.progress_due = false;
    }

    /// For a Hello.
    pub(super) fn report(&self, now: Instant) -> Option<GroupReport> {
        let current = self.current.as_ref()?;
        let failures = current.failures.iter().map(|failure| {
            let age = now.saturating_duration_since(failure.at).as_millis();
            let mut what = failure.what.clone();
            what.age_ms = u64::try_from(age).unwrap_or(u64::MAX);
            what
        });
        Some(GroupReport {
            job_id: current.job_id,
            stage: current.stage,
            epoch: current.epoch,
            phase: current.phase.into(),
            failures: failures.collect(),
            exited: current.exited,
            processes: current.processes,
        })
    }

    pub(super) fn has_message(&self) -> bool {
        self.report_due
            || self.offer.is_some()
            || self.preflight.is_some()
            || !self.unsent.is_empty()
    }

    /// Checkpoints go before reports: a coordinator that has heard that all is stopped goes on to the next epoch.
    pub(super) fn next_message(&mut self, now: Instant) -> Option<Request> {
        if let Some(offer) = self.offer.take() {
            return Some(Request::MasterOffer(offer));
        }
        while let Some(request_id) = self.unsent.pop_front() {
            if let Some(report) = self.checkpoints.get(&request_id) {
                return Some(Request::CheckpointReport(report.clone()));
            }
        }
        if std::mem::take(&mut self.report_due)
            && let Some(report) = self.report(now)
        {
            return Some(Request::GroupReport(report));
        }
        self.preflight.take().map(Request::PreflightReport)
    }

    /// A heartbeat went out: what the processes are at follows it.
    pub(super) fn heartbeat_sent(&mut self) {
        self.progress_due = self.alive && self.current.is_some();
    }

    /// Whether a heartbeat waits for how the processes get on.
    pub(super) fn wants_progress(&self) -> bool {
        self.progress_due && self.alive
    }

    pub(super) fn progress_sent(&mut self) {
        self.progress_due = false;
    }
}
