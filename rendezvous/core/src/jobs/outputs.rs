//! What is found at an output, beside what is remembered of it: the output is the record of results.

use crate::{Job, JobId, Shard, State};

/// Committed outputs that were found where one stage has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Shards that were done: they only become more.
    pub done: u64,
}

impl Seen {
    fn of(job: &Job) -> Self {
        Self {
            job: job.id,
            done: job.stages.iter().map(|stage| stage.counts.done).sum(),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundOutputs {
    /// Index of the shard in its stage.
    pub shard: u32,
    /// Files, the manifest not counted.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
}

impl StageOutputs {
    /// Whether the outputs that this shard has committed, by what is remembered of it, are all there.
    pub(crate) fn hold(&self, index: usize, shard: &Shard) -> bool {
        if self.unknown {
            return true;
        }
        let first = self
            .found
            .partition_point(|found| (found.shard as usize) < index);
        let of_it = self.found.iter().skip(first);
        let mut of_it = of_it.take_while(|found| found.shard as usize == index);
        of_it.any(|found| (found.files, found.bytes) == (shard.files, shard.bytes))
    }
}
