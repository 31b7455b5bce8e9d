//! What a training group is made of: what workers report of it, and what must not be forgotten of it.

use crate::{Epoch, JobId, Millis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a worker's part of a training group stands. The whole truth, so that hearing it twice does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// The job.
    pub job: JobId,
    /// Its training stage.
    pub stage: u32,
    /// The epoch whose processes this speaks of.
    pub epoch: Epoch,
    /// How they are.
    pub phase: GroupPhase,
    /// Ranks that failed by themselves, the first first.
    pub failures: Vec<RankFailure>,
    /// Local ranks that have exited 0.
    pub exited: u32,
    /// Local ranks in all.
    pub processes: u32,
}

/// How a worker's processes of one epoch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupPhase {
    /// They run, or are being started.
    Running,
    /// One failed; the others are being stopped.
    Failing,
    /// None is left.
    Stopped,
    /// All exited 0.
    Succeeded,
}

/// A process of a training group that failed by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RankFailure {
    /// Its rank.
    pub rank: u32,
    /// Its rank on its worker.
    pub local_rank: u32,
    /// Its process id.
    pub pid: u32,
    /// If it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it; 0: none.
    pub signal: u32,
    /// Stable code.
    pub code: String,
    /// One line.
    pub message: String,
    /// How long before its report was sent it failed.
    pub age_ms: u64,
    /// Last lines of its log.
    pub log_tail: String,
}

/// What a worker that holds rank 0 offers for a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterOffer {
    /// The job.
    pub job: JobId,
    /// The epoch.
    pub epoch: Epoch,
    /// A free port there.
    pub port: u16,
    /// The newest checkpoint that is there.
    pub resume_step: Option<u64>,
}

/// A script said that a checkpoint is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// The worker's number for it.
    pub request: u64,
    /// The job.
    pub job: JobId,
    /// Its training stage.
    pub stage: u32,
    /// The epoch that wrote it.
    pub epoch: Epoch,
    /// The step it holds.
    pub step: u64,
    /// Absolute.
    pub path: String,
}

/// How the processes of a running group get on.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupProgress {
    /// The job.
    pub job: JobId,
    /// The epoch.
    pub epoch: Epoch,
    /// Since anything was last seen of any local process.
    pub quiet_ms: u64,
    /// Ranks that report steps.
    pub ranks: Vec<RankProgress>,
}

/// How far a rank is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankProgress {
    /// Which.
    pub rank: u32,
    /// Its newest step.
    pub step: u64,
    /// Mean time of a step; 0: unknown.
    pub step_time_ms: f64,
}

/// The order to start an epoch's processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStart {
    /// The job.
    pub job: JobId,
    /// Its training stage.
    pub stage: u32,
    /// The epoch.
    pub epoch: Epoch,
    /// The worker's rank among the workers.
    pub group_rank: u32,
    /// How many workers there are.
    pub group_world_size: u32,
    /// Rank of the worker's first process.
    pub first_rank: u32,
    /// How many it starts.
    pub processes: u32,
    /// Processes of all workers.
    pub world_size: u32,
    /// Where rank 0 listens.
    pub master: Master,
    /// Restarts charged so far.
    pub restart_count: u32,
    /// Restarts the group may have.
    pub max_restarts: u32,
    /// Where to go on.
    pub resume: Option<Checkpoint>,
}

/// Where rank 0 of an epoch listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Master {
    /// IP address or host name; empty: the host of the coordinator, as each worker reaches it.
    pub address: String,
    /// TCP port.
    pub port: u16,
}

/// A complete checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The step it holds.
    pub step: u64,
    /// Absolute.
    pub path: String,
    /// The epoch that wrote it.
    pub epoch: Epoch,
    /// When it was committed.
    pub at: Millis,
}

/// Why a group stopped that nobody had asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The epoch that stopped.
    pub epoch: Epoch,
    /// When, by the coordinator's clock.
    pub at: Millis,
    /// The rank that failed first; `None`: a worker as a whole was lost.
    pub rank: Option<u32>,
    /// Its rank on its worker.
    pub local_rank: Option<u32>,
    /// Its worker's name.
    pub worker: String,
    /// Its worker's host.
    pub host: String,
    /// Stable code.
    pub code: String,
    /// One line.
    pub message: String,
    /// Last lines of its log.
    pub log_tail: String,
    /// If it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it; 0: none.
    pub signal: u32,
    /// Ranks that failed after it.
    pub others: Vec<u32>,
    /// What it cost.
    pub charged: Charge,
}

/// Which budget a cause was charged to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Charge {
    /// None: it followed from a departure.
    #[default]
    Nothing,
    /// `max_restarts`.
    Restart,
    /// `budgets.worker_lost`.
    WorkerLost,
}

impl Charge {
    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Restart => "restart",
            Self::WorkerLost => "worker_lost",
        }
    }
}

/// What must not be forgotten of a training stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The newest epoch that was started; 0: none was.
    pub epoch: Epoch,
    /// Where its rank 0 listens.
    pub master: Master,
    /// Its processes.
    pub world_size: u32,
    /// When it was started.
    pub started_at: Millis,
    /// The checkpoint it went on from.
    pub resume: Option<Checkpoint>,
    /// Restarts charged since the last healthy window.
    pub restarts_used: u32,
    /// Lost workers charged since the last healthy window.
    pub lost_used: u32,
    /// Complete checkpoints, newest first, at most `keep_checkpoints`.
    pub checkpoints: Vec<Checkpoint>,
    /// How often each worker was the first cause, by name and host.
    pub blame: BTreeMap<String, u32>,
    /// Newest first, at most [`MAX_CAUSES`].
    pub causes: Vec<Cause>,
    /// When it was first started after the last charge.
    pub healthy_since: Option<Millis>,
    /// The epoch that was stopped on purpose.
    pub stopping: Option<Epoch>,
}

/// Causes that a group remembers.
pub const MAX_CAUSES: usize = 10;

impl Group {
    pub(crate) fn start(
        &mut self,
        at: Millis,
        epoch: Epoch,
        world_size: u32,
        master: &Master,
        resume_step: Option<u64>,
    ) {
        self.epoch = epoch;
        self.master = master.clone();
        self.world_size = world_size;
        self.started_at = at;
        self.healthy_since.get_or_insert(at);
        self.resume = resume_step
            .and_then(|step| self.checkpoints.iter().find(|c| c.step == step))
            .cloned();
    }

    pub(crate) fn fail(&mut self, cause: &Cause, restarts_used: u32, lost_used: u32) {
        self.restarts_used = restarts_used;
        self.lost_used = lost_used;
        if cause.charged != Charge::Nothing {
            self.healthy_since = None;
        }
        if cause.charged == Charge::Restart && !cause.worker.is_empty() {
            let times = self
                .blame
                .entry(blame_key(&cause.worker, &cause.host))
                .or_default();
            *times = times.saturating_add(1);
        }
        self.causes.insert(0, cause.clone());
        self.causes.truncate(MAX_CAUSES);
    }

    /// Puts a complete checkpoint in its place. The order is that of the epochs that wrote them, then of their steps;
    /// a step or a path written again is another checkpoint than before.
    pub(crate) fn commit(&mut self, new: Checkpoint, keep: u32) {
        self.checkpoints
            .retain(|c| c.step != new.step && c.path != new.path);
        let place = self
            .checkpoints
            .partition_point(|c| (c.epoch, c.step) > (new.epoch, new.step));
        self.checkpoints.insert(place, new);
        self.checkpoints.truncate(keep.max(1) as usize);
    }

    /// A job that is run again starts with fresh budgets.
    pub(crate) fn forgive(&mut self) {
        self.restarts_used = 0;
        self.lost_used = 0;
        self.healthy_since = None;
        self.blame.clear();
    }
}

/// Under which name the blame of a worker is kept: its process may be another by now.
pub(crate) fn blame_key(worker: &str, host: &str) -> String {
    format!("{worker}@{host}")
}

impl Cause {
    /// "rank 3 on node-2 failed first: RuntimeError: boom; 2 others after it".
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = match self.rank {
            Some(rank) => format!(
                "rank {rank} on {} failed first: {}",
                self.host, self.message
            ),
            None => self.message.clone(),
        };
        match self.others.len() {
            0 => {}
            1 => text.push_str("; 1 other after it"),
            more => text.push_str(&format!("; {more} others after it")),
        }
        text
    }
}
