//! What a client can ask of a coordinator, who answers it, and what the answers are.

use crate::jobs::outputs::{Seen, StageOutputs};
use crate::{Core, JobId, Refusal, StageContents};
use petctl_spec::{JobSpec, ShardDetail};

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum ClientRequest {
    /// Take a job.
    Submit(Box<Submission>),
    /// Change a pool's sizes; `None` leaves one as it is.
    Scale {
        /// Name or id.
        job: String,
        /// New minimum.
        min: Option<u32>,
        /// New maximum.
        max: Option<u32>,
        /// New wanted count.
        wanted: Option<u32>,
    },
    /// Cancel a job.
    Cancel {
        /// Name or id.
        job: String,
        /// For people.
        reason: String,
    },
    /// Delete an ended job.
    Delete {
        /// Name or id.
        job: String,
    },
    /// Take one worker out of a job's pool.
    DrainWorker {
        /// Name or id.
        job: String,
        /// Name or id.
        worker: String,
        /// For people.
        reason: String,
    },
    /// Stop a job's work for a while.
    Suspend {
        /// Name or id.
        job: String,
        /// For people.
        reason: String,
    },
    /// Let a suspended job go on.
    Resume {
        /// Name or id.
        job: String,
    },
    /// Hand out nothing more, on any job; [`Effect::Drained`](crate::Effect::Drained) follows when nothing runs.
    DrainCoordinator,
}

impl Core {
    pub(crate) fn answer(&mut self, request: ClientRequest) -> Result<Reply, Refusal> {
        match request {
            ClientRequest::Submit(submission) => self.submit(*submission),
            ClientRequest::Scale {
                job,
                min,
                max,
                wanted,
            } => self.scale(&job, min, max, wanted),
            ClientRequest::Cancel { job, reason } => self.cancel(&job, reason),
            ClientRequest::Delete { job } => self.delete(&job),
            ClientRequest::DrainWorker {
                job,
                worker,
                reason,
            } => self.drain_one(&job, &worker, reason),
            ClientRequest::Suspend { job, reason } => self.suspend(&job, reason),
            ClientRequest::Resume { job } => self.resume(&job),
            ClientRequest::DrainCoordinator => Ok(self.drain_coordinator()),
        }
    }
}

/// A job as submitted, its keys listed.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The checked job file.
    pub spec: JobSpec,
    /// SHA-256 that tells whether a job submitted again is the same.
    pub fingerprint: [u8; 32],
    /// Keys per stage, for stages whose keys can't be computed; empty for others.
    pub keys: Vec<Vec<String>>,
    /// What is known of shards beside their keys, per stage; empty, or one for each key.
    pub details: Vec<Vec<ShardDetail>>,
    /// What decides whether shards must run again: one for each stage.
    pub contents: Vec<StageContents>,
    /// What a look at the output has found, for each stage: what is done and not there runs again. Empty: nobody
    /// looked, and what is remembered counts.
    pub outputs: Vec<StageOutputs>,
    /// How the job stood here before that look: where more is done by now, the look counts for nothing.
    pub seen: Seen,
    /// Nobody had used the output when it was taken for this run: no earlier attempt can be at it.
    pub new_output: bool,
    /// What runs again although it is done and nothing of it changed.
    pub rerun: Rerun,
    /// Decide and answer, but change nothing.
    pub plan_only: bool,
}

/// What runs again although it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rerun {
    /// Only what changed, and what failed for good.
    #[default]
    Changed,
    /// Shards whose verdict is fail, too.
    Failed,
    /// Shards whose key matches this glob, too.
    Keys(String),
    /// Everything: forget what was there of this name.
    All,
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a submission.
    Submitted(Submitted),
    /// To a scaling: the sizes that hold now.
    Scaled {
        /// Minimum.
        min: u32,
        /// Maximum.
        max: u32,
        /// Wanted.
        wanted: u32,
    },
    /// To a cancellation; whether the job had ended before.
    Cancelled {
        /// It had.
        already_ended: bool,
    },
    /// To a deletion.
    Deleted,
    /// To a drain of the coordinator: it has begun.
    Draining,
    /// To a drain of one worker: its name.
    WorkerDrained(String),
    /// To a suspension; whether the job was suspended before.
    Suspended {
        /// It was.
        already: bool,
    },
    /// To a resumption; whether the job was not suspended.
    Resumed {
        /// It was not.
        already: bool,
    },
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The job's number.
    pub job: JobId,
    /// Whether it is new.
    pub how: SubmittedAs,
    /// Shards that are done already.
    pub reused: u64,
    /// Why shards run that were done before, by stage and reason.
    pub reruns: Vec<RerunReason>,
    /// Stage names and keys that are no part of the job any more, at most [`MAX_DROPPED`].
    pub dropped: Vec<(String, String)>,
    /// Workers of before were or may be at it, so nobody can say yet whether all is there that will be said to be done:
    /// whoever tells how the job ended looks again then.
    pub look_again: bool,
}

/// Most keys that [`Submitted::dropped`] names.
pub const MAX_DROPPED: usize = 10_000;

/// Why some shards of a stage run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RerunReason {
    /// Index of the stage.
    pub stage: u32,
    /// The reason.
    pub cause: RerunCause,
    /// How many shards.
    pub shards: u64,
    /// The first of them, at most ten.
    pub keys: Vec<String>,
}

/// Why a shard runs that may have been done before. Where several hold, the first in this order is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RerunCause {
    /// There was no such shard, or it was never done.
    New,
    /// It had failed for good, or was cancelled.
    Failed,
    /// Its committed outputs are gone, or are not all there.
    Missing,
    /// Somebody asked for it.
    Asked,
    /// The container image is another one.
    Image,
    /// The code files changed.
    Code,
    /// Its stage's command, environment or parameters changed.
    Command,
    /// Its own parameters changed.
    Params,
    /// Its inputs changed.
    Input,
    /// Something that it needs runs again.
    Needs,
}

impl RerunCause {
    /// As it is printed and sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::Asked => "asked",
            Self::Image => "image",
            Self::Code => "code",
            Self::Command => "command",
            Self::Params => "params",
            Self::Input => "input",
            Self::Needs => "needs",
        }
    }
}

/// How a submission met what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmittedAs {
    /// Nothing was there.
    New,
    /// It was unfinished and goes on.
    Resumed,
    /// It had failed or was cancelled: what is missing runs again.
    Retried,
    /// It had succeeded.
    Finished,
}
