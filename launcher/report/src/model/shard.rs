//! A shard of a job.

use crate::shards::has_run;

use super::{ShardState, Verdict};
use petctl_proto::v1;
use petctl_spec::ShardDetail;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// How a shard stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shard {
    /// Its stage.
    pub stage: String,
    /// Its key.
    pub shard: String,
    /// Its number in its stage, from 0.
    pub index: u32,
    /// How it stands.
    pub state: ShardState,
    /// What it says of itself in its `result.json`; null: nothing.
    pub verdict: Option<Verdict>,
    /// Attempts that were started.
    pub attempts: u32,
    /// How long the last attempt that ended took; null: none has.
    pub duration_ms: Option<u64>,
    /// The worker that runs it, or ran it last; null: none has.
    pub worker: Option<String>,
    /// Why it has this verdict, as its `result.json` says.
    pub reasons: Vec<String>,
    /// The numbers of its `result.json`.
    pub numbers: BTreeMap<String, f64>,
    /// Files of its outputs.
    pub files: u32,
    /// Bytes of its outputs.
    pub bytes: u64,
    /// Its last failure; null: it has none.
    pub error: Option<Failed>,
    /// Failures so far.
    pub failures: Failures,
    /// It was done in an earlier version of the job, and did not run again.
    pub reused: bool,
    /// What is known of it beside its key; null: nothing.
    pub detail: Option<Detail>,
}

impl From<&v1::ShardRow> for Shard {
    fn from(row: &v1::ShardRow) -> Self {
        Self {
            stage: row.stage_name.clone(),
            shard: row.key.clone(),
            index: row.shard,
            state: row.state().into(),
            verdict: Verdict::of(row.verdict()),
            attempts: row.attempts,
            duration_ms: has_run(row).then_some(row.duration_ms),
            worker: (!row.worker.is_empty()).then(|| row.worker.clone()),
            reasons: row.reasons.clone(),
            numbers: row
                .numbers
                .iter()
                .map(|number| (number.name.clone(), number.value))
                .collect(),
            files: row.output_files,
            bytes: row.output_bytes,
            error: (!row.code.is_empty()).then(|| Failed::from(row)),
            failures: row.failures.unwrap_or_default().into(),
            reused: row.reused,
            detail: serde_json::from_str::<ShardDetail>(&row.detail_json)
                .ok()
                .map(Detail::from),
        }
    }
}

/// Why a shard failed, or why it did not run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failed {
    /// What happened, by its code; a page of the docs tells of it.
    pub code: String,
    /// The same as a sentence.
    pub message: String,
    /// What the command exited with; null: it did not exit by itself.
    pub exit_code: Option<i32>,
    /// The signal that ended it; null: none did.
    pub signal: Option<u32>,
    /// The last lines of its log.
    pub log_tail: String,
}

impl From<&v1::ShardRow> for Failed {
    fn from(row: &v1::ShardRow) -> Self {
        Self {
            code: row.code.clone(),
            message: row.message.clone(),
            exit_code: row.exit_code,
            signal: (row.signal > 0).then_some(row.signal),
            log_tail: row.log_tail.clone(),
        }
    }
}

/// Attempts that failed, by whose fault it was.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failures {
    /// The command's own.
    pub failed: u32,
    /// They ran longer than the stage's timeout.
    pub timed_out: u32,
    /// Their worker was lost.
    pub worker_lost: u32,
    /// The machine's or the storage's.
    pub infrastructure: u32,
    /// Their worker went away.
    pub preempted: u32,
}

impl From<v1::FailureCounts> for Failures {
    fn from(counts: v1::FailureCounts) -> Self {
        Self {
            failed: counts.failed,
            timed_out: counts.timed_out,
            worker_lost: counts.worker_lost,
            infrastructure: counts.infrastructure,
            preempted: counts.preempted,
        }
    }
}

/// What a list of shards says of one beside its key.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Detail {
    /// Names of its inputs, below the job's input.
    pub inputs: Vec<String>,
    /// Parameters of its own.
    pub params: BTreeMap<String, String>,
    /// Bytes of its inputs together; null: unknown.
    pub size: Option<u64>,
    /// How long it is expected to run; null: unknown.
    pub expected_ms: Option<u64>,
}

impl From<ShardDetail> for Detail {
    fn from(detail: ShardDetail) -> Self {
        Self {
            inputs: detail.inputs,
            params: detail.params,
            size: detail.size,
            expected_ms: detail.expected_ms,
        }
    }
}
