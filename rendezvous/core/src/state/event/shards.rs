//! What events about shards, and about their stages, say.

use super::describe::{Names, Shown, shown};
use super::{Event, Failure, Verdict};
use crate::ShardId;
use crate::view::wording::count;
use serde_json::{Map, Value, json};

/// Shards listed in one event; `count` has them all.
const MAX_LISTED: usize = 1_000;

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others are of other groups"
)]
pub(super) fn show(event: &Event, names: &Names<'_>) -> Option<Shown> {
    match event {
        Event::ShardCommitted {
            job: _,
            shard,
            lease,
            foreign,
            worker,
            duration_ms,
            files,
            bytes,
            verdict,
            reasons,
            numbers,
            manifest,
        } => {
            let judged = match verdict {
                Verdict::None => "",
                Verdict::Pass => ", passed",
                Verdict::Fail => ", did not pass its checks",
                Verdict::Skipped => ", skipped",
            };
            let (name, on) = (names.shard_name(*shard), on(names, *worker));
            let numbers = numbers
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)));
            let fields = json!({
                "stage": names.stage(shard.stage),
                "shard": names.key(*shard),
                "index": shard.index,
                "lease": lease.to_string(),
                "lineage": foreign.map(|lineage| lineage.to_string()),
                "worker": names.worker(*worker),
                "duration_ms": duration_ms,
                "files": files,
                "bytes": bytes,
                "verdict": verdict.as_str(),
                "reasons": reasons,
                "numbers": numbers.collect::<Map<_, _>>(),
                "manifest_sha256": manifest.as_ref().map(|hash| petctl_text::hex(hash.as_slice())),
            });
            shown(
                format!("{name} committed after {duration_ms} ms{on}: {files} files{judged}"),
                fields,
            )
        }
        Event::AttemptFailed {
            job: _,
            shard,
            lease,
            worker,
            kind,
            failure,
            quarantined,
        } => {
            let Failure {
                duration_ms,
                exit_code,
                signal,
                code,
                message,
                log_tail,
            } = failure.as_ref();
            let end = if *quarantined {
                "; no attempts are left"
            } else {
                ""
            };
            let (name, on) = (names.shard_name(*shard), on(names, *worker));
            let fields = json!({
                "stage": names.stage(shard.stage),
                "shard": names.key(*shard),
                "index": shard.index,
                "lease": lease.to_string(),
                "worker": names.worker(*worker),
                "failure": kind.as_str(),
                "duration_ms": duration_ms,
                "exit_code": exit_code,
                "signal": (*signal > 0).then_some(signal),
                "code": code,
                "message": message,
                "log_tail": log_tail,
                "quarantined": quarantined,
            });
            shown(
                format!("{name} {}{on}: {message}{end}", kind.as_str()),
                fields,
            )
        }
        Event::ShardsUnreachable { job: _, shards } => {
            several(shards, "will not run, what they need failed", names)
        }
        Event::ShardsSkipped { job: _, shards } => {
            several(shards, "skipped, what they need was skipped", names)
        }
        Event::SecondAttemptEnded { job: _, shard, won } => {
            let end = if *won { "was faster" } else { "was not needed" };
            let fields = json!({
                "stage": names.stage(shard.stage),
                "shard": names.key(*shard),
                "index": shard.index,
                "won": won,
            });
            shown(
                format!("{}: its second attempt {end}", names.shard_name(*shard)),
                fields,
            )
        }
        Event::StageStarted { job: _, stage } => shown(
            format!("stage {} may start", names.stage_name(*stage)),
            json!({ "stage": names.stage(*stage) }),
        ),
        Event::StageDeadlinePassed { job: _, stage } => shown(
            format!("time of stage {} is over", names.stage_name(*stage)),
            json!({ "stage": names.stage(*stage) }),
        ),
        _ => None,
    }
}

/// What became of several shards at once.
fn several(shards: &[ShardId], what: &str, names: &Names<'_>) -> Option<Shown> {
    let first = shards.first().map(|shard| names.shard_name(*shard));
    let more = if shards.len() > 1 { ", …" } else { "" };
    let text = format!(
        "{} {what}: {}{more}",
        count(shards.len(), "shard"),
        first.unwrap_or_default()
    );
    let listed = shards.iter().take(MAX_LISTED).map(|shard| {
        json!({
            "stage": names.stage(shard.stage),
            "shard": names.key(*shard),
            "index": shard.index,
        })
    });
    let listed: Vec<Value> = listed.collect();
    shown(text, json!({ "count": shards.len(), "shards": listed }))
}

fn on(names: &Names<'_>, worker: u32) -> String {
    let name = names.worker(worker);
    name.map_or_else(String::new, |name| format!(" on {name}"))
}
