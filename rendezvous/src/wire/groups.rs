//! Training groups, to the wire.

use super::views::reason;
use petctl_core::{Cause, Checkpoint, GroupView};
use petctl_proto::v1;

/// How a training stage stands.
pub(super) fn group(group: GroupView) -> v1::GroupStatus {
    v1::GroupStatus {
        stage: group.stage,
        stage_name: group.stage_name,
        phase: group.phase.as_str().to_owned(),
        epoch: group.epoch.0,
        world_size: group.world_size,
        master_addr: group.master.address,
        master_port: u32::from(group.master.port),
        running_since_ms: group.running_since.map_or(0, |since| since.0),
        restarts_used: group.restarts_used,
        max_restarts: group.max_restarts,
        checkpoints: group.checkpoints.into_iter().map(checkpoint).collect(),
        at_risk_ms: group.at_risk_ms,
        at_risk_steps: group.at_risk_steps,
        step: group.step,
        causes: group.causes.into_iter().map(cause).collect(),
        stragglers: group.stragglers.into_iter().map(reason).collect(),
        left_out: group.left_out.into_iter().map(reason).collect(),
        joining: group.joining,
    }
}

fn checkpoint(checkpoint: Checkpoint) -> v1::CheckpointRow {
    v1::CheckpointRow {
        step: checkpoint.step,
        path: checkpoint.path,
        epoch: checkpoint.epoch.0,
        at_ms: checkpoint.at.0,
    }
}

fn cause(cause: Cause) -> v1::FirstCause {
    v1::FirstCause {
        epoch: cause.epoch.0,
        at_ms: cause.at.0,
        rank: cause.rank,
        local_rank: cause.local_rank,
        worker: cause.worker,
        host: cause.host,
        code: cause.code,
        message: cause.message,
        log_tail: cause.log_tail,
        exit_code: cause.exit_code,
        signal: cause.signal,
        others: cause.others,
        charged: cause.charged.as_str().to_owned(),
    }
}
