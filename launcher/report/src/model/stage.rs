//! A stage of a job.

use super::StageKind;
use petctl_proto::v1;
use schemars::JsonSchema;
use serde::Serialize;

/// How a stage stands: of its shards, how many are where.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Stage {
    /// Its name.
    pub stage: String,
    /// What it is.
    pub kind: StageKind,
    /// All of its shards.
    pub shards: u64,
    /// Their outputs are committed.
    pub done: u64,
    /// They run.
    pub running: u64,
    /// They failed, and have no attempts left.
    pub failed: u64,
    /// They can run now.
    pub ready: u64,
    /// They wait for what the stage needs.
    pub blocked: u64,
    /// They failed, and run again in a while.
    pub backoff: u64,
    /// They were cancelled with the job.
    pub cancelled: u64,
    /// They are done, and failed their own checks.
    pub verdict_fail: u64,
    /// They are done, and had nothing to check.
    pub verdict_skipped: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Mean duration of a committed attempt; null: there is none.
    pub mean_s: Option<f64>,
    /// They were done in an earlier version of the job, and did not run again.
    pub reused: u64,
    /// Second attempts at stragglers.
    pub speculative: u64,
    /// Those of them that were faster.
    pub speculative_won: u64,
    /// What needs this stage starts although shards of it failed.
    pub failures_allowed: bool,
}

impl From<&v1::StageStatus> for Stage {
    fn from(stage: &v1::StageStatus) -> Self {
        Self {
            stage: stage.name.clone(),
            kind: stage.kind.as_str().into(),
            shards: stage.shards,
            done: stage.done,
            running: stage.running,
            failed: stage.failed,
            ready: stage.ready,
            blocked: stage.blocked,
            backoff: stage.backoff,
            cancelled: stage.cancelled,
            verdict_fail: stage.verdict_fail,
            verdict_skipped: stage.verdict_skipped,
            retries: stage.retries,
            mean_s: (stage.mean_s > 0.0).then_some(stage.mean_s),
            reused: stage.reused,
            speculative: stage.speculative,
            speculative_won: stage.speculative_won,
            failures_allowed: stage.failures_allowed,
        }
    }
}
