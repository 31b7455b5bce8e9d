//! What people and programs see, as messages of `petctl.v1`: the same for a living coordinator and for a state that
//! is read offline.

mod groups;
mod submitted;
mod views;

pub use self::submitted::submit_response;
pub use self::views::{detail_json, job_status, job_summary, reason, shard_row};

use petctl_core::{Record, State};
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
        fields_json: description.fields.to_string(),
    }
}
