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
    /// Another attempt at the shard was faster.
    Overtaken = "OVERTAKEN",
    /// An attempt took outputs of an earlier version of the job for its own.
    StaleOutput = "STALE_OUTPUT",
    /// Nobody is there who may run the job's local stages.
    LauncherAway = "LAUNCHER_AWAY",
    /// A worker's setup of the job failed.
    SetupFailed = "SETUP_FAILED",
    /// It runs.
    Running = "RUNNING",
    /// Its outputs are committed.
    Committed = "COMMITTED",
    /// Its own checks failed.
    VerdictFail = "VERDICT_FAIL",
    /// Somebody stopped the job's work for a while.
    Suspended = "SUSPENDED",
    /// The stage took longer than it may.
    StageDeadline = "STAGE_DEADLINE",
    /// A training group waits for workers.
    Gathering = "GATHERING",
    /// A training group's rank 0 picks a port.
    Preparing = "PREPARING",
    /// A training group's processes are being stopped.
    Stopping = "STOPPING",
    /// Workers join a training group when its next checkpoint is complete.
    WaitsForCheckpoint = "WAITS_FOR_CHECKPOINT",
    /// A worker is left out of training: it failed too often.
    WorkerLeftOut = "WORKER_LEFT_OUT",
    /// A worker did not pass the job's preflight checks.
    PreflightFailed = "PREFLIGHT_FAILED",
    /// A worker still has processes of an earlier group.
    StillStopping = "STILL_STOPPING",
    /// Nothing happened in a training group for too long.
    RankHung = "RANK_HUNG",
    /// A rank's steps take twice the median.
    Straggler = "STRAGGLER",
    /// One of a training group's processes failed.
    GroupFailed = "GROUP_FAILED",
    /// A training group's membership changes.
    MembershipChanged = "MEMBERSHIP_CHANGED",
    /// The training stage is as good as over: shards wait for it.
    Training = "TRAINING",
    /// No worker of that name or id is in the job's pool.
    NoSuchWorker = "NO_SUCH_WORKER",
    /// It can run and is next.
    Ready = "READY",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
