//! A training stage.

use super::{Charge, Phase, Reason};
use petctl_proto::v1;
use schemars::JsonSchema;
use serde::Serialize;

/// How a training stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Training {
    /// Its stage.
    pub stage: String,
    /// Where it stands.
    pub phase: Phase,
    /// Of the newest group that was started; 0: none was.
    pub epoch: u64,
    /// Processes of that group.
    pub world_size: u32,
    /// Where that group's processes meet; null: none was started.
    pub master: Option<Master>,
    /// Since when that group runs, in ms since 1970; null: it does not.
    pub started_at_ms: Option<u64>,
    /// Restarts so far that count.
    pub restarts_used: u32,
    /// As many as it may have.
    pub max_restarts: u32,
    /// The newest step that a rank has reported; null: none has.
    pub step: Option<u64>,
    /// The newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Work that would be lost now: since the newest checkpoint, or the start of the group.
    pub at_risk_ms: u64,
    /// The same in steps; null: the script reports none.
    pub at_risk_steps: Option<u64>,
    /// Why groups stopped, the newest first; at most 10.
    pub causes: Vec<Cause>,
    /// Ranks whose steps take twice the median.
    pub stragglers: Vec<Reason>,
    /// Workers that are left out, and why.
    pub left_out: Vec<Reason>,
    /// Workers that wait to join at the next checkpoint.
    pub joining: u32,
}

impl From<&v1::GroupStatus> for Training {
    fn from(group: &v1::GroupStatus) -> Self {
        Self {
            stage: group.stage_name.clone(),
            phase: group.phase.as_str().into(),
            epoch: group.epoch,
            world_size: group.world_size,
            master: (!group.master_addr.is_empty()).then(|| Master {
                address: group.master_addr.clone(),
                port: group.master_port,
            }),
            started_at_ms: (group.running_since_ms > 0).then_some(group.running_since_ms),
            restarts_used: group.restarts_used,
            max_restarts: group.max_restarts,
            step: group.step,
            checkpoints: group.checkpoints.iter().map(Checkpoint::from).collect(),
            at_risk_ms: group.at_risk_ms,
            at_risk_steps: group.at_risk_steps,
            causes: group.causes.iter().map(Cause::from).collect(),
            stragglers: group.stragglers.iter().map(Reason::from).collect(),
            left_out: group.left_out.iter().map(Reason::from).collect(),
            joining: group.joining,
        }
    }
}

/// Where a group's processes meet.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Master {
    /// An IP address or a host name.
    pub address: String,
    /// The port there.
    pub port: u32,
}

/// A checkpoint that is complete.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Checkpoint {
    /// The step that it holds.
    pub step: u64,
    /// The file or folder.
    pub path: String,
    /// The epoch that wrote it.
    pub epoch: u64,
    /// When it was recorded, in ms since 1970.
    pub at_ms: u64,
}

impl From<&v1::CheckpointRow> for Checkpoint {
    fn from(row: &v1::CheckpointRow) -> Self {
        Self {
            step: row.step,
            path: row.path.clone(),
            epoch: row.epoch,
            at_ms: row.at_ms,
        }
    }
}

/// Why a group stopped.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cause {
    /// The group's epoch.
    pub epoch: u64,
    /// In ms since 1970.
    pub at_ms: u64,
    /// The rank that failed first; null: it was a worker, not one of its processes.
    pub rank: Option<u32>,
    /// Its number on its worker.
    pub local_rank: Option<u32>,
    /// Its worker.
    pub worker: String,
    /// The machine that the worker is on.
    pub host: String,
    /// What happened, by its code.
    pub code: String,
    /// The same as a sentence.
    pub message: String,
    /// The last lines of its log.
    pub log_tail: String,
    /// What it exited with; null: it did not exit by itself.
    pub exit_code: Option<i32>,
    /// The signal that ended it; null: none did.
    pub signal: Option<u32>,
    /// Ranks that failed after it.
    pub others: Vec<u32>,
    /// What it cost.
    pub charged: Charge,
}

impl From<&v1::FirstCause> for Cause {
    fn from(cause: &v1::FirstCause) -> Self {
        Self {
            epoch: cause.epoch,
            at_ms: cause.at_ms,
            rank: cause.rank,
            local_rank: cause.local_rank,
            worker: cause.worker.clone(),
            host: cause.host.clone(),
            code: cause.code.clone(),
            message: cause.message.clone(),
            log_tail: cause.log_tail.clone(),
            exit_code: cause.exit_code,
            signal: (cause.signal > 0).then_some(cause.signal),
            others: cause.others.clone(),
            charged: cause.charged.as_str().into(),
        }
    }
}
