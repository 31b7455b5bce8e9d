//! Stable codes of every refusal and every reason to wait.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// A stable code; docs/errors has a page for each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code as it is printed and documented.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }
        }
    };
}

codes! {
    /// No job of that name or number.
    NoSuchJob = "NO_SUCH_JOB",
    /// No shard of that key.
    NoSuchShard = "NO_SUCH_SHARD",
    /// A different job of that name is there.
    JobExists = "JOB_EXISTS",
    /// The job still runs.
    JobRunning = "JOB_RUNNING",
    /// The job has ended.
    JobEnded = "JOB_ENDED",
    /// The job was cancelled.
    JobCancelled = "JOB_CANCELLED",
    /// More jobs than the coordinator keeps.
    TooManyJobs = "TOO_MANY_JOBS",
    /// A submission that contradicts itself.
    BadSubmission = "BAD_SUBMISSION",
    /// Sizes that contradict each other.
    BadScale = "BAD_SCALE",
    /// More workers than the coordinator takes.
    TooManyWorkers = "TOO_MANY_WORKERS",
    /// Another living worker has that name.
    WorkerNameTaken = "WORKER_NAME_TAKEN",
    /// The same worker opened another stream.
    StreamSuperseded = "STREAM_SUPERSEDED",
    /// A message from a membership that is over.
    StaleEpoch = "STALE_EPOCH",
    /// A lease that is no longer the worker's.
    LeaseLost = "LEASE_LOST",
    /// The worker was silent for too long.
    WorkerSilent = "WORKER_SILENT",
    /// The worker's stream broke and did not come back.
    WorkerGone = "WORKER_GONE",
    /// The pool shrinks.
    ScaledDown = "SCALED_DOWN",
    /// Fewer members than `min`.
    BelowMin = "BELOW_MIN",
    /// Members of before a restart may still come back.
    Recovering = "RECOVERING",
    /// No coordinator runs the job now.
    Interrupted = "INTERRUPTED",
    /// The coordinator hands out nothing more.
    Draining = "COORDINATOR_DRAINING",
    /// All that could run waits for other shards.
    NeedsPending = "NEEDS_PENDING",
    /// All that could run waits out a backoff.
    BackingOff = "BACKING_OFF",
    /// What this needs has failed.
    NeedsFailed = "NEEDS_FAILED",
    /// No worker is large enough.
    NoWorkerFits = "NO_WORKER_FITS",
    /// Every slot is taken.
    SlotsBusy = "SLOTS_BUSY",
    /// No attempts are left.
    Quarantined = "QUARANTINED",
    /// Work moves to an idle worker.
    Rebalanced = "REBALANCED",
    /// It runs.
    Running = "RUNNING",
    /// Its outputs are committed.
    Committed = "COMMITTED",
    /// Its own checks failed.
    VerdictFail = "VERDICT_FAIL",
    /// It can run and is next.
    Ready = "READY",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
