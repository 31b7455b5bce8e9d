//! What is found at an output, beside what is remembered of it: the output is the record of results.

use crate::{Job, JobId, LeaseId, Lineage, Shard, State, Verdict};
use petctl_spec::ContentDigest;
use serde::{Deserialize, Serialize};

/// Committed outputs that were found where one stage has its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageOutputs {
    /// Nobody looked: what is remembered counts.
    pub unknown: bool,
    /// In the order of their shards; where a container has data of several attempts, a shard has several.
    pub found: Vec<FoundOutputs>,
}

/// How a job stood when somebody began to look at its output; the default: nobody knew it. What is committed later can't
/// be told from what is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The job; another version of it is another one.
    pub job: JobId,
    /// Shards that were done or skipped, as a view counts them: they only become more.
    pub done: u64,
}

impl Seen {
    fn of(job: &Job) -> Self {
        Self {
            job: job.id,
            done: job
                .stages
                .iter()
                .map(|stage| stage.counts.done + stage.counts.skipped)
                .sum(),
        }
    }
}

impl State {
    /// How the job of this name stands now, for a look at its output.
    #[must_use]
    pub fn seen(&self, name: &str) -> Seen {
        let job = self.find(name).and_then(|id| self.jobs.get(&id));
        job.map_or_else(Seen::default, Seen::of)
    }
}

/// Outputs of one shard that have a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundOutputs {
    /// Index of the shard in its stage.
    pub shard: u32,
    /// Files, the manifest not counted.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
    /// What their manifest says, where it was read.
    pub made: Option<Box<Made>>,
}

/// What a manifest says of committed outputs, and their `result.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Where the lease is from under which they were made.
    pub lineage: Lineage,
    /// That lease.
    pub lease: LeaseId,
    /// What they were made of, where that was known.
    pub content: Option<ContentDigest>,
    /// Name of the worker that made them.
    pub worker: String,
    /// Wall time of the command.
    pub duration_ms: u64,
    /// Of result.json.
    pub verdict: Verdict,
    /// Of result.json.
    pub reasons: Vec<String>,
    /// Of result.json.
    pub numbers: Vec<(String, f64)>,
}

impl StageOutputs {
    /// Whether the outputs that this shard has committed, by what `own` log remembers of it, are all there.
    pub(crate) fn hold(&self, index: usize, shard: &Shard, own: Lineage) -> bool {
        let made = (shard.lineage(own), shard.lease);
        self.unknown
            || self.of(index).any(|found| {
                let same = found
                    .made
                    .as_ref()
                    .is_none_or(|there| (there.lineage, there.lease) == made);
                same && (found.files, found.bytes) == (shard.files, shard.bytes)
            })
    }

    /// What was found of one shard.
    pub(crate) fn of(&self, index: usize) -> impl Iterator<Item = &FoundOutputs> {
        let first = self
            .found
            .partition_point(|found| (found.shard as usize) < index);
        let of_it = self.found.iter().skip(first);
        of_it.take_while(move |found| found.shard as usize == index)
    }
}
