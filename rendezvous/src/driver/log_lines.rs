//! What the coordinator's own log says of its events. A warning is worth waking somebody.

use petctl_core::{Core, Event, LeaveReason, Record, WorkerId};

/// Logs a record that is durable now.
pub(super) fn log(core: &Core, record: &Record) {
    let event = &record.event;
    // By far the most, and the report has them.
    if matches!(event, Event::ShardCommitted { .. }) {
        return;
    }
    if matches!(event, Event::AttemptFailed { .. }) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let description = core.state().describe(record);
            tracing::debug!(job = ?description.job.map(|job| job.0), "{}", description.text);
        }
        return;
    }
    let description = core.state().describe(record);
    let job = description.job.map(|job| job.0);
    tracing::info!(
        job,
        epoch = description.epoch.0,
        kind = description.kind,
        "{}",
        description.text
    );
    for (worker, reason) in event.left() {
        if is_loss(*reason) {
            warn_of(job, description.epoch.0, *worker, *reason);
        }
    }
}

fn is_loss(reason: LeaveReason) -> bool {
    match reason {
        LeaveReason::Gone | LeaveReason::Silent | LeaveReason::NotBack => true,
        LeaveReason::Left
        | LeaveReason::ScaledDown
        | LeaveReason::JobEnded
        | LeaveReason::Drained
        | LeaveReason::LeftOut => false,
    }
}

fn warn_of(job: Option<u64>, epoch: u64, worker: WorkerId, reason: LeaveReason) {
    tracing::warn!(job, epoch, %worker, ?reason, "a worker is lost; its shards run again elsewhere");
}
