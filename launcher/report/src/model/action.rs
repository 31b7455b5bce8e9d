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
    /// Nothing was changed: it only says what would be.
    pub dry_run: bool,
    /// It was told to go.
    pub drained: bool,
}

/// A job was stopped for a while.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Suspended {
    /// The job's name.
    pub job: String,
    /// Nothing was changed: it only says what would be.
    pub dry_run: bool,
    /// This has suspended it.
    pub suspended: bool,
    /// It was suspended before.
    pub already_suspended: bool,
}

/// A suspended job goes on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Resumed {
    /// The job's name.
    pub job: String,
    /// Nothing was changed: it only says what would be.
    pub dry_run: bool,
    /// This lets it go on.
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
    /// Nothing was changed: it only says what would be.
    pub dry_run: bool,
    /// It is remembered for good.
    pub recorded: bool,
}
