//! What people and programs see, as messages of `petctl.v1`: the same for a living coordinator and for a state that
//! is read offline.

mod event_json;
mod groups;
mod submitted;
mod views;

pub use self::submitted::submit_response;
pub use self::views::{detail_json, job_status, job_summary, reason, shard_row};

use petctl_core::{JobId, Record, State};
use petctl_proto::v1;

/// A record as a line of the event log.
#[must_use]
pub fn event_row(state: &State, record: &Record) -> v1::EventRow {
    let description = state.describe(record);
    v1::EventRow {
        sequence: record.sequence,
        at_ms: record.at.0,
        epoch: description.epoch.0,
        kind: description.kind.to_owned(),
        text: description.text,
        fields_json: event_json::fields(&record.event).to_string(),
    }
}

/// The job that a record is about.
#[must_use]
pub fn job_of(record: &Record) -> Option<JobId> {
    use petctl_core::Event;
    match &record.event {
        Event::CoordinatorStarted { .. } => None,
        Event::JobSubmitted { job, .. }
        | Event::JobReopened { job }
        | Event::JobRetuned { job, .. }
        | Event::PoolScaled { job, .. }
        | Event::EpochFormed { job, .. }
        | Event::QuorumLost { job, .. }
        | Event::ShardCommitted { job, .. }
        | Event::AttemptFailed { job, .. }
        | Event::ShardsUnreachable { job, .. }
        | Event::JobCancelled { job, .. }
        | Event::JobEnded { job, .. }
        | Event::JobDeleted { job }
        | Event::StageStarted { job, .. }
        | Event::StageDeadlinePassed { job, .. }
        | Event::GroupStarted { job, .. }
        | Event::GroupFailed { job, .. }
        | Event::GroupStopping { job, .. }
        | Event::CheckpointCommitted { job, .. }
        | Event::JobSuspended { job, .. }
        | Event::JobResumed { job }
        | Event::SecondAttemptEnded { job, .. } => Some(*job),
    }
}
