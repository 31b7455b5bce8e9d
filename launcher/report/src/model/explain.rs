//! Why a job or a shard stands where it does: `petctl explain`.

use super::{Reason, Shard, Training};
use petctl_proto::v1;
use schemars::JsonSchema;
use serde::Serialize;

/// Why a job or a shard waits or failed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Explanation {
    /// The job's name.
    pub job: String,
    /// The most important first.
    pub why: Vec<Reason>,
    /// The shards that are spoken of.
    pub rows: Vec<Explained>,
    /// How the training stands that was asked for; where nothing was asked for, all of them.
    pub training: Vec<Training>,
}

/// A shard, and how to run it by hand.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Explained {
    #[serde(flatten)]
    shard: Shard,
    /// The line for a shell that runs it again on this machine; null: the job was submitted on another one.
    reproduce: Option<String>,
}

impl Explained {
    /// `reproduce`: the line that runs it again.
    pub fn new(row: &v1::ShardRow, reproduce: Option<String>) -> Self {
        Self {
            shard: Shard::from(row),
            reproduce,
        }
    }
}
