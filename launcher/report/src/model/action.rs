//! What a command has done to a job: `petctl drain`, `suspend`, `resume`, `checkpoint`.

use schemars::JsonSchema;
use serde::Serialize;

/// A worker was taken out of a job.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Drained {
    /// The job's name.
    pub job: String,
    /// The worker's name.
    pub worker: String,
    /// False: this was a dry run.
    pub drained: bool,
}

/// A job was stopped for a while.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Suspended {
    /// The job's name.
    pub job: String,
    /// False: this was a dry run.
    pub suspended: bool,
    /// It was suspended before; null: this was a dry run.
    pub already_suspended: Option<bool>,
}

/// A suspended job goes on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Resumed {
    /// The job's name.
    pub job: String,
    /// False: this was a dry run, or it was not suspended.
    pub resumed: bool,
    /// It was not suspended.
    pub already_running: bool,
}

/// A checkpoint is recorded.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Recorded {
    /// The step that it holds.
    pub step: u64,
    /// The file or folder.
    pub path: String,
    /// False: this was a dry run.
    pub recorded: bool,
}
