//! A training group as it stands now. Not durable: what must not be forgotten of it is in its [`Group`](crate::Group).
//! Its transitions are its own; each is handed the [job](crate::context::JobContext), and says whether it goes on.
//!
//! ```text
//! Gathering ──EpochFormed──▶ Preparing ──GroupStarted──▶ Running ──GroupStop──▶ Stopping ──all stopped──▶ Gathering
//!  no process                 rank 0 picks                processes               waits for all
//!  runs anywhere              a port                      run                     of them
//! ```

pub(crate) mod cause;
pub(crate) mod checkpoints;
pub(crate) mod forming;
pub(crate) mod machine;
pub(crate) mod reports;
pub(crate) mod rules;
pub(crate) mod starting;
pub(crate) mod stopping;

use crate::training::cause::Loss;
use crate::{
    Epoch, GroupPhase, GroupReport, JobId, LeaveReason, Membership, Millis, RankFailure, WorkerId,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The volatile half of a training group.
#[derive(Clone, Debug)]
pub(crate) struct Training {
    pub(crate) stage: u32,
    pub(crate) doing: Doing,
    /// Since when it does that.
    pub(crate) since: Millis,
    /// It has not trained yet: those who were promised are on their way.
    pub(crate) fresh: bool,
    /// Members in the durable state that are none any more: the next epoch says so.
    pub(crate) left: BTreeMap<WorkerId, LeaveReason>,
    /// The members of the newest epoch, while it may have processes.
    pub(crate) parts: BTreeMap<WorkerId, Part>,
    /// Parts that may have processes.
    pub(crate) alive: usize,
    /// Parts of which all processes exited 0.
    pub(crate) succeeded: usize,
    pub(crate) losses: Vec<Loss>,
    pub(crate) hang: Option<Hang>,
    /// When the earliest failure of its processes happened.
    pub(crate) failed_at: Option<Millis>,
    /// When anything was last seen of any process.
    pub(crate) last_active: Millis,
    /// The newest step that any rank has reported.
    pub(crate) step: Option<u64>,
}

/// What a training group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Waits for workers.
    Gathering,
    /// Waits for rank 0's port.
    Preparing(Epoch),
    /// Its processes run.
    Running(Epoch),
    /// Its processes are being stopped.
    Stopping(Epoch, Why),
}

/// Why a group stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Something failed: there is a cause to be found.
    Fault,
    /// On purpose: what fails meanwhile follows from it.
    Purpose,
}

/// Whether a training goes on after one of its transitions.
pub(crate) type Flow = ControlFlow<Ending>;

/// How a training is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every process exited 0.
    Succeeded,
    /// No restart is left.
    Failed,
    /// Its stage's time is over, or its job was cancelled.
    Stopped,
}

/// One member's processes of the newest epoch.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Rank among the workers; its place in the job's members.
    pub(crate) group_rank: u32,
    /// Rank of its first process.
    pub(crate) first_rank: u32,
    pub(crate) processes: u32,
    pub(crate) state: PartState,
    /// Ranks that failed by themselves, with when they did.
    pub(crate) failures: BTreeMap<u32, (Millis, RankFailure)>,
    /// Step and mean time of a step in ms, by rank.
    pub(crate) steps: BTreeMap<u32, (u64, f64)>,
}

/// How a member's processes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartState {
    /// They were ordered; nobody has confirmed them.
    Ordered,
    Running,
    Failing,
    Stopped,
    Succeeded,
    /// Their worker is gone.
    Lost,
}

/// Nothing happened for too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hang {
    pub(crate) at: Millis,
    pub(crate) quiet_ms: u64,
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    Confirmed,
    Failed,
    Stopped,
    Succeeded,
}

impl PartState {
    /// It may have processes.
    pub(crate) fn is_alive(self) -> bool {
        match self {
            Self::Ordered | Self::Running | Self::Failing => true,
            Self::Stopped | Self::Succeeded | Self::Lost => false,
        }
    }
}

impl Training {
    pub(crate) fn new(stage: u32, fresh: bool, now: Millis) -> Self {
        Self {
            stage,
            doing: Doing::Gathering,
            since: now,
            fresh,
            left: BTreeMap::new(),
            parts: BTreeMap::new(),
            alive: 0,
            succeeded: 0,
            losses: Vec::new(),
            hang: None,
            failed_at: None,
            last_active: now,
            step: None,
        }
    }

    /// A group that an earlier start of the coordinator has started.
    pub(crate) fn resumed(stage: u32, doing: Doing, members: &[Membership], now: Millis) -> Self {
        let mut training = Self::new(stage, false, now);
        let parts = members.iter().map(|m| (m.member.worker, 0));
        training.set_parts(parts);
        training.doing = doing;
        training
    }

    pub(crate) fn begin(&mut self, doing: Doing, now: Millis) {
        self.doing = doing;
        self.since = now;
    }

    /// Forgets the last epoch: no process of it is left.
    pub(crate) fn forget_epoch(&mut self, now: Millis) {
        self.begin(Doing::Gathering, now);
        self.parts.clear();
        self.alive = 0;
        self.succeeded = 0;
        self.losses.clear();
        self.hang = None;
        self.failed_at = None;
    }

    /// The members of a new epoch in rank order, with how many processes each starts.
    pub(crate) fn set_parts(&mut self, members: impl Iterator<Item = (WorkerId, u32)>) {
        self.forget_epoch(self.since);
        for ((worker, processes), group_rank) in members.zip(0..) {
            let part = Part {
                group_rank,
                first_rank: 0,
                processes,
                state: PartState::Ordered,
                failures: BTreeMap::new(),
                steps: BTreeMap::new(),
            };
            self.parts.insert(worker, part);
        }
        self.alive = self.parts.len();
        self.lay_out(|_, processes| processes);
    }

    /// Gives every part its first rank, its count of processes looked up anew.
    pub(crate) fn lay_out(&mut self, processes: impl Fn(WorkerId, u32) -> u32) {
        let mut by_rank: Vec<(u32, WorkerId)> = self
            .parts
            .iter()
            .map(|(worker, part)| (part.group_rank, *worker))
            .collect();
        by_rank.sort_unstable();
        let mut first_rank = 0_u32;
        for (_, worker) in by_rank {
            if let Some(part) = self.parts.get_mut(&worker) {
                part.processes = processes(worker, part.processes);
                part.first_rank = first_rank;
                first_rank = first_rank.saturating_add(part.processes);
            }
        }
    }

    /// Processes of all parts.
    pub(crate) fn world_size(&self) -> u32 {
        let sizes = self.parts.values().map(|p| p.processes);
        sizes.fold(0, u32::saturating_add)
    }

    /// The epoch whose processes there may be.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match self.doing {
            Doing::Gathering | Doing::Preparing(_) => None,
            Doing::Running(epoch) | Doing::Stopping(epoch, _) => Some(epoch),
        }
    }

    /// Whether this worker may have processes of the newest epoch.
    pub(crate) fn is_alive(&self, worker: WorkerId) -> bool {
        self.epoch().is_some() && self.parts.get(&worker).is_some_and(|p| p.state.is_alive())
    }

    /// Takes a member's report in. A part only ever goes forward, so hearing the same twice changes nothing.
    pub(crate) fn report(&mut self, now: Millis, worker: WorkerId, report: &GroupReport) -> Change {
        let Some(part) = self.parts.get_mut(&worker) else {
            return Change::Nothing;
        };
        if part.state == PartState::Lost {
            return Change::Nothing;
        }
        let bound = (part.processes.max(report.processes) as usize).min(MAX_FAILURES);
        for failure in &report.failures {
            if part.failures.len() >= bound && !part.failures.contains_key(&failure.rank) {
                continue;
            }
            let at = Millis(now.0.saturating_sub(failure.age_ms));
            self.failed_at = Some(self.failed_at.map_or(at, |first| first.min(at)));
            part.failures
                .entry(failure.rank)
                .and_modify(|(first, _)| *first = at.min(*first))
                .or_insert_with(|| (at, failure.clone()));
        }
        let new = match report.phase {
            GroupPhase::Running => PartState::Running,
            GroupPhase::Failing => PartState::Failing,
            GroupPhase::Stopped => PartState::Stopped,
            GroupPhase::Succeeded => PartState::Succeeded,
        };
        self.set(worker, new)
    }

    /// Moves a part forward.
    pub(crate) fn set(&mut self, worker: WorkerId, new: PartState) -> Change {
        let Some(part) = self.parts.get_mut(&worker) else {
            return Change::Nothing;
        };
        if !part.state.is_alive() || new as u8 <= part.state as u8 {
            return Change::Nothing;
        }
        part.state = new;
        if !new.is_alive() {
            self.alive -= 1;
        }
        match new {
            PartState::Ordered => Change::Nothing,
            PartState::Running => Change::Confirmed,
            PartState::Failing => Change::Failed,
            PartState::Stopped | PartState::Lost => Change::Stopped,
            PartState::Succeeded => {
                self.succeeded += 1;
                Change::Succeeded
            }
        }
    }
}

/// Most failures of one worker's processes that are remembered.
const MAX_FAILURES: usize = 64;

/// Where a free worker's processes of before belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy {
    pub(crate) job: JobId,
    pub(crate) epoch: Epoch,
}
