//! What events about jobs say.

use super::Event;
use super::describe::{Names, Shown, shown};
use crate::EndState;
use crate::view::wording::count;
use serde_json::json;

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others are of other groups"
)]
pub(super) fn show(event: &Event, names: &Names<'_>) -> Option<Shown> {
    match event {
        Event::CoordinatorStarted {
            lineage,
            incarnation,
            starts,
        } => shown(
            format!("coordinator started, for the {} time", ordinal(*starts)),
            json!({
                "lineage": lineage.to_string(),
                "incarnation": incarnation,
                "starts": starts,
            }),
        ),
        Event::JobSubmitted {
            job: _,
            spec,
            fingerprint,
            work,
            first_lease,
            replaces,
            follows,
        } => {
            let carried = work.iter().flat_map(|stage| &stage.carried);
            let reused: u64 = carried.map(|run| u64::from(run.count)).sum();
            let taken: usize = work.iter().map(|stage| stage.taken.len()).sum();
            let mut text = format!(
                "job {} submitted: {}, {}",
                spec.name,
                count(spec.stages.len(), "stage"),
                count(names.shards(), "shard")
            );
            if replaces.is_some() {
                text.push_str(&format!(", {reused} of them done in an earlier version"));
            }
            if taken > 0 {
                text.push_str(&format!(", {taken} of them taken over from others"));
            }
            let stages: Vec<&str> = spec
                .stages
                .iter()
                .map(|stage| stage.name.as_str())
                .collect();
            let fields = json!({
                "job": spec.name,
                "fingerprint": petctl_text::hex(fingerprint),
                "stages": stages,
                "listed_shards": work.iter().map(|stage| stage.keys.len()).sum::<usize>(),
                "reused": reused,
                "taken": taken,
                "first_lease": first_lease.to_string(),
                "replaces": replaces.map(|job| job.0),
                "follows": follows,
                "min": spec.workers.min,
                "max": spec.workers.max,
                "wanted": spec.workers.wanted,
                "output": spec.storage.output,
            });
            shown(text, fields)
        }
        Event::JobReopened { job: _ } => shown("job runs again what failed", json!({})),
        Event::JobRetuned { job: _, spec } => shown(
            "job goes on with other sizes, timeouts or budgets",
            json!({
                "min": spec.workers.min,
                "max": spec.workers.max,
                "wanted": spec.workers.wanted,
            }),
        ),
        Event::JobCancelled { job: _, reason } => shown(
            format!("job cancelled: {reason}"),
            json!({ "reason": reason }),
        ),
        Event::JobSuspended { job: _, reason } => {
            let why = if reason.is_empty() {
                String::new()
            } else {
                format!(": {reason}")
            };
            shown(format!("job suspended{why}"), json!({ "reason": reason }))
        }
        Event::JobResumed { job: _ } => shown("job goes on", json!({})),
        Event::WorkerEnded {
            job: _,
            worker,
            code,
            message,
        } => shown(
            format!("worker {worker} ended: {message}"),
            json!({ "worker": worker, "code": code, "message": message }),
        ),
        Event::JobEnded { job: _, end } => {
            let text = match end {
                EndState::Succeeded => "job succeeded",
                EndState::Failed => "job failed",
                EndState::Cancelled => "job was cancelled",
            };
            shown(text, json!({ "end": end.as_str() }))
        }
        Event::JobDeleted { job: _ } => shown("job deleted", json!({})),
        _ => None,
    }
}

fn ordinal(n: u32) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        (0 | 4.., _) => "th",
    };
    format!("{n}{suffix}")
}
