//! What a submission says of a job's shards, as the log keeps it.

use crate::Made;
use petctl_spec::{ShardContent, ShardDetail, StageContent};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// What a submission says of one stage's shards, and what an earlier version of the job has of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageWork {
    /// Keys that can't be computed; empty where they can.
    pub keys: Vec<String>,
    /// What is known of shards beside their keys; empty, or one for each.
    pub details: Details,
    /// What decides whether they must run again.
    pub contents: StageContents,
    /// How long each is expected to run, in ms, 0 where nobody knows; empty: nobody knows of any.
    pub expected_ms: Vec<u32>,
    /// Shards that are done already, and stay so.
    pub carried: Vec<Carried>,
    /// Shards whose outputs are there, made of the same by somebody else: they are done. In the order of the shards.
    pub taken: Vec<Taken>,
    /// Shards that run again although nothing of them changed.
    pub asked: Vec<ShardRun>,
    /// What is remembered of its training group stays.
    pub keeps_group: bool,
}

/// Neighbouring shards that are done in an earlier version of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Index of the first, in its stage.
    pub first: u32,
    /// Its index in the earlier version, in the stage of the same name.
    pub of: u32,
    /// How many they are.
    pub count: u32,
}

/// A shard whose outputs somebody else has made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// Its index in its stage.
    pub shard: u32,
    /// Committed files.
    pub files: u32,
    /// Committed bytes.
    pub bytes: u64,
    /// Who made them, and of what.
    pub made: Box<Made>,
}

/// Neighbouring shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRun {
    /// Index of the first, in its stage.
    pub first: u32,
    /// How many they are.
    pub count: u32,
}

/// What decides whether a stage's shards must run again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageContents {
    /// For all of them.
    pub stage: StageContent,
    /// For each; empty: they have nothing of their own.
    pub shards: Vec<ShardContent>,
}

impl StageContents {
    /// What one shard has of its own.
    pub(crate) fn of(&self, index: usize) -> ShardContent {
        self.shards.get(index).copied().unwrap_or_default()
    }
}

/// Details of a stage's shards, kept by position: [`ShardDetail`] itself leaves out what is empty, which a log of
/// values without names can't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details(pub Vec<ShardDetail>);

type Kept = (
    Vec<String>,
    BTreeMap<String, String>,
    Option<u64>,
    Option<u64>,
);

impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0
                .iter()
                .map(|d| (&d.inputs, &d.params, d.size, d.expected_ms)),
        )
    }
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kept = Vec::<Kept>::deserialize(deserializer)?;
        let detail = |(inputs, params, size, expected_ms)| ShardDetail {
            inputs,
            params,
            size,
            expected_ms,
        };
        Ok(Self(kept.into_iter().map(detail).collect()))
    }
}
