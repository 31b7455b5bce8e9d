//! What commands print for programs: JSON with a version, CSV.

use petctl_proto::v1::{
    CheckpointRow, EventRow, FailureCounts, FirstCause, GroupStatus, JobStatus, JobSummary, Member,
    Reason, ShardRow, StageStatus,
};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::{job_state, member_state, shard_state, verdict};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Of all JSON that the program prints. It grows when a key changes its meaning or goes away; keys may be added.
pub const SCHEMA_VERSION: u32 = 1;

/// A job's status.
pub fn status_json(status: &JobStatus) -> Value {
    let summary = status.summary.clone().unwrap_or_default();
    let mut object = summary_fields(&summary);
    object.insert("schema_version".into(), json!(SCHEMA_VERSION));
    object.insert("at_ms".into(), json!(status.at_ms));
    object.insert("epoch".into(), json!(status.epoch));
    object.insert("incarnation".into(), json!(status.incarnation));
    object.insert("output".into(), json!(status.output_root));
    object.insert("rate_per_s".into(), json!(status.rate_per_s));
    object.insert("left_ms".into(), json!(status.left_ms));
    object.insert("waiting".into(), reasons(&status.waiting));
    object.insert(
        "workers".into(),
        json!({
            "min": status.min_workers,
            "max": status.max_workers,
            "wanted": status.wanted_workers,
            "members": status.members.iter().map(member_json).collect::<Vec<_>>(),
        }),
    );
    object.insert(
        "stages".into(),
        status.stages.iter().map(stage_json).collect(),
    );
    object.insert(
        "training".into(),
        status.groups.iter().map(group_json).collect(),
    );
    object.insert(
        "first_failures".into(),
        status.first_failures.iter().map(shard_json).collect(),
    );
    object.insert(
        "last_events".into(),
        status.last_events.iter().map(event_json).collect(),
    );
    Value::Object(object)
}

/// A job in a list.
pub fn summary_json(summary: &JobSummary) -> Value {
    Value::Object(summary_fields(summary))
}

fn summary_fields(summary: &JobSummary) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("job".into(), json!(summary.name));
    object.insert("job_id".into(), json!(summary.job_id));
    object.insert("state".into(), json!(job_state(summary.state())));
    object.insert("verdict".into(), json!(summary.verdict));
    object.insert("submitted_at_ms".into(), json!(summary.submitted_at_ms));
    object.insert(
        "ended_at_ms".into(),
        json!((summary.ended_at_ms > 0).then_some(summary.ended_at_ms)),
    );
    object.insert("shards".into(), json!(summary.shards));
    object.insert("done".into(), json!(summary.done));
    object.insert("failed".into(), json!(summary.failed));
    object
}

fn reasons(reasons: &[Reason]) -> Value {
    reasons
        .iter()
        .map(|reason| json!({ "code": reason.code, "message": reason.message }))
        .collect()
}

fn member_json(member: &Member) -> Value {
    json!({
        "id": member.worker_id,
        "name": member.name,
        "host": member.host,
        "pid": member.pid,
        "rank": member.rank,
        "state": member_state(member.state()),
        "slots": member.slots,
        "leases": member.leases,
        "done": member.done,
        "last_heard_ms_ago": member.last_heard_ms_ago,
    })
}

fn stage_json(stage: &StageStatus) -> Value {
    json!({
        "stage": stage.name,
        "kind": stage.kind,
        "shards": stage.shards,
        "done": stage.done,
        "running": stage.running,
        "failed": stage.failed,
        "ready": stage.ready,
        "blocked": stage.blocked,
        "backoff": stage.backoff,
        "cancelled": stage.cancelled,
        "verdict_fail": stage.verdict_fail,
        "verdict_skipped": stage.verdict_skipped,
        "retries": stage.retries,
        "mean_s": (stage.mean_s > 0.0).then_some(stage.mean_s),
        "reused": stage.reused,
        "speculative": stage.speculative,
        "speculative_won": stage.speculative_won,
        "failures_allowed": stage.failures_allowed,
    })
}

/// A training group.
pub fn group_json(group: &GroupStatus) -> Value {
    json!({
        "stage": group.stage_name,
        "phase": group.phase,
        "epoch": group.epoch,
        "world_size": group.world_size,
        "master": { "address": group.master_addr, "port": group.master_port },
        "running_since_ms": (group.running_since_ms > 0).then_some(group.running_since_ms),
        "restarts_used": group.restarts_used,
        "max_restarts": group.max_restarts,
        "step": group.step,
        "checkpoints": group.checkpoints.iter().map(checkpoint_json).collect::<Vec<_>>(),
        "at_risk_ms": group.at_risk_ms,
        "at_risk_steps": group.at_risk_steps,
        "causes": group.causes.iter().map(cause_json).collect::<Vec<_>>(),
        "stragglers": reasons(&group.stragglers),
        "left_out": reasons(&group.left_out),
        "joining": group.joining,
    })
}

fn checkpoint_json(checkpoint: &CheckpointRow) -> Value {
    json!({
        "step": checkpoint.step,
        "path": checkpoint.path,
        "epoch": checkpoint.epoch,
        "at_ms": checkpoint.at_ms,
    })
}

fn cause_json(cause: &FirstCause) -> Value {
    json!({
        "epoch": cause.epoch,
        "at_ms": cause.at_ms,
        "rank": cause.rank,
        "local_rank": cause.local_rank,
        "worker": cause.worker,
        "host": cause.host,
        "code": cause.code,
        "message": cause.message,
        "log_tail": cause.log_tail,
        "exit_code": cause.exit_code,
        "signal": (cause.signal > 0).then_some(cause.signal),
        "others": cause.others,
        "charged": cause.charged,
    })
}

/// Something that has happened.
pub fn event_json(event: &EventRow) -> Value {
    let fields = serde_json::from_str::<Value>(&event.fields_json).unwrap_or(Value::Null);
    json!({
        "schema_version": SCHEMA_VERSION,
        "sequence": event.sequence,
        "at_ms": event.at_ms,
        "epoch": event.epoch,
        "kind": event.kind,
        "text": event.text,
        "fields": fields,
    })
}

/// A shard.
pub fn shard_json(row: &ShardRow) -> Value {
    let numbers: Map<String, Value> = row
        .numbers
        .iter()
        .map(|number| (number.name.clone(), json!(number.value)))
        .collect();
    let failures = row.failures.unwrap_or_default();
    let verdict = verdict(row.verdict());
    json!({
        "stage": row.stage_name,
        "shard": row.key,
        "state": shard_state(row.state()),
        "verdict": (!verdict.is_empty()).then_some(verdict),
        "attempts": row.attempts,
        "duration_ms": row.duration_ms,
        "worker": row.worker,
        "reasons": row.reasons,
        "numbers": numbers,
        "files": row.output_files,
        "bytes": row.output_bytes,
        "error": error_json(row),
        "failures": failures_json(failures),
        "reused": row.reused,
        "detail": serde_json::from_str::<Value>(&row.detail_json).unwrap_or(Value::Null),
    })
}

fn error_json(row: &ShardRow) -> Value {
    if row.code.is_empty() {
        return Value::Null;
    }
    json!({
        "code": row.code,
        "message": row.message,
        "exit_code": row.exit_code,
        "signal": (row.signal > 0).then_some(row.signal),
        "log_tail": row.log_tail,
    })
}

fn failures_json(failures: FailureCounts) -> Value {
    json!({
        "failed": failures.failed,
        "timed_out": failures.timed_out,
        "worker_lost": failures.worker_lost,
        "infrastructure": failures.infrastructure,
        "preempted": failures.preempted,
    })
}

/// Names of all numbers in the rows, in alphabetical order.
pub fn number_names(rows: &[ShardRow]) -> Vec<String> {
    let names: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| &row.numbers)
        .map(|number| number.name.as_str())
        .collect();
    names.into_iter().map(str::to_owned).collect()
}

/// A shard's number of that name.
pub fn number_of(row: &ShardRow, name: &str) -> Option<f64> {
    row.numbers
        .iter()
        .find(|number| number.name == name)
        .map(|number| number.value)
}

/// One line per shard, one column per number.
pub fn shards_csv(rows: &[ShardRow]) -> Result<Vec<u8>> {
    let names = number_names(rows);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fixed = [
        "stage", "shard", "state", "verdict", "attempts", "seconds", "worker", "code", "reasons",
    ];
    let mut head: Vec<String> = fixed.map(str::to_owned).to_vec();
    head.extend(names.iter().cloned());
    writer.write_record(&head).map_err(|error| bug(&error))?;
    for row in rows {
        let mut cells = vec![
            row.stage_name.clone(),
            row.key.clone(),
            shard_state(row.state()).to_owned(),
            verdict(row.verdict()).to_owned(),
            row.attempts.to_string(),
            seconds(row.duration_ms),
            row.worker.clone(),
            row.code.clone(),
            row.reasons.join("; "),
        ];
        cells.extend(
            names.iter().map(|name| {
                number_of(row, name).map_or_else(String::new, |value| value.to_string())
            }),
        );
        writer.write_record(&cells).map_err(|error| bug(&error))?;
    }
    writer.into_inner().map_err(|error| bug(error.error()))
}

fn seconds(duration_ms: u64) -> String {
    format!("{}.{:03}", duration_ms / 1_000, duration_ms % 1_000)
}

fn bug(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::new(Code::Bug, "can't write the report").because(error)
}
