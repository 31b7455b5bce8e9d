//! A stage of a job.

use super::StageKind;
use petctl_proto::v1;
use petctl_ui::terminal::committed;
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

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
    pub checks_failed: u64,
    /// Of those that are done: skipped, by their own word or with the shard that they need.
    pub skipped: u64,
    /// Fewest that must be done and not skipped; null: none need be.
    pub min_done: Option<u64>,
    /// Attempts after the first.
    pub retries: u64,
    /// Mean duration of a committed attempt; null: there is none.
    pub mean_ms: Option<u64>,
    /// They were done in an earlier version of the job, and did not run again.
    pub reused: u64,
    /// Second attempts at stragglers.
    pub second_attempts: u64,
    /// Those of them that were faster.
    pub second_attempts_won: u64,
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
            checks_failed: stage.verdict_fail,
            skipped: stage.skipped,
            min_done: (stage.min_done > 0).then_some(stage.min_done),
            retries: stage.retries,
            mean_ms: mean_ms(stage),
            reused: stage.reused,
            second_attempts: stage.speculative,
            second_attempts_won: stage.speculative_won,
            failures_allowed: stage.failures_allowed,
        }
    }
}

fn mean_ms(stage: &v1::StageStatus) -> Option<u64> {
    let mean = Duration::try_from_secs_f64(stage.mean_s).ok()?;
    let is_known = committed(stage) > 0;
    is_known.then(|| u64::try_from(mean.as_millis()).unwrap_or(u64::MAX))
}
