//! What people and programs see of a job: computed from the durable state and the volatile part over it.

pub(crate) mod explain;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod shard;
pub(crate) mod stage;
pub(crate) mod totals;
pub(crate) mod waiting;
pub(crate) mod wording;

use petctl_spec::ShardDetail;

use crate::{
    Cause, Checkpoint, Epoch, JobId, LeaseId, Lineage, Master, Millis, ShardId, Verdict, WorkerId,
};

/// A job in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSummary {
    /// Its number.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: JobState,
    /// When it was submitted.
    pub submitted_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Members now.
    pub workers: u32,
    /// Over all stages.
    pub shards: u64,
    /// Committed, or skipped with what they need.
    pub done: u64,
    /// Quarantined.
    pub failed: u64,
    /// One line that says how it stands: "62 of 64 shards done, 2 failed".
    pub verdict: String,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobState {
    /// Nothing runs, and something is missing.
    Waiting,
    /// Work is being done.
    Running,
    /// All shards are committed and none failed its checks.
    Succeeded,
    /// Something failed for good.
    Failed,
    /// Its processes are being stopped.
    Cancelling,
    /// It was cancelled.
    Cancelled,
    /// The coordinator drains.
    Interrupted,
    /// Somebody stopped its work for a while.
    Suspended,
}

impl JobState {
    /// Every state, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelling,
        Self::Cancelled,
        Self::Interrupted,
        Self::Suspended,
    ];

    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Suspended => "suspended",
        }
    }
}

/// Everything `petctl status` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// The line of the list.
    pub summary: JobSummary,
    /// Current epoch.
    pub epoch: Epoch,
    /// This start of the coordinator.
    pub incarnation: u32,
    /// Its event log.
    pub lineage: Lineage,
    /// Pool sizes.
    pub min: u32,
    /// Pool sizes.
    pub max: u32,
    /// Pool sizes.
    pub wanted: u32,
    /// Why it waits, most important first.
    pub waiting: Vec<Reason>,
    /// What to know of its end beside its state: stages in which too little was done, or nothing.
    pub notices: Vec<Reason>,
    /// Members in rank order, then those that drain, then spares.
    pub members: Vec<MemberView>,
    /// In the job file's order.
    pub stages: Vec<StageView>,
    /// Commits a second over the last half minute.
    pub rate_per_s: f64,
    /// Time left at that rate.
    pub left_ms: Option<u64>,
    /// First shards that failed for good.
    pub first_failures: Vec<ShardView>,
    /// Folder of the committed outputs.
    pub output_root: String,
    /// One for each training stage, in the job file's order.
    pub groups: Vec<GroupView>,
}

/// How a training stage stands.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupView {
    /// Which stage.
    pub stage: u32,
    /// Its name.
    pub stage_name: String,
    /// Where it stands.
    pub phase: GroupViewPhase,
    /// The newest epoch that was started; 0: none was.
    pub epoch: Epoch,
    /// Its processes.
    pub world_size: u32,
    /// Where its rank 0 listens.
    pub master: Master,
    /// Since when it runs.
    pub running_since: Option<Millis>,
    /// Restarts used.
    pub restarts_used: u32,
    /// Restarts it may have.
    pub max_restarts: u32,
    /// Newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Work that would be lost now.
    pub at_risk_ms: u64,
    /// Steps that would be lost now.
    pub at_risk_steps: Option<u64>,
    /// The newest step any rank has reported.
    pub step: Option<u64>,
    /// Newest first.
    pub causes: Vec<Cause>,
    /// Ranks whose step takes twice the median.
    pub stragglers: Vec<Reason>,
    /// Workers that are left out, and why.
    pub left_out: Vec<Reason>,
    /// Workers that wait for the next checkpoint.
    pub joining: u32,
}

/// Where a training stage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupViewPhase {
    /// Waits for what it needs, or for the job's other work.
    Blocked,
    /// Waits for workers.
    Gathering,
    /// The epoch is numbered; rank 0's worker picks a port.
    Preparing,
    /// Its processes run.
    Running,
    /// Its processes are being stopped.
    Stopping,
    /// All its processes exited 0.
    Succeeded,
    /// It failed for good, or was cancelled.
    Failed,
}

impl GroupViewPhase {
    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Gathering => "gathering",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// A code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Stable code.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Reason {
    /// Of a code of the catalogue.
    #[must_use]
    pub fn new(code: petctl_codes::Code, message: String) -> Self {
        let code = code.to_string();
        Self { code, message }
    }
}

/// A worker of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberView {
    /// Its process.
    pub worker: WorkerId,
    /// For people.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its process id there; 0: unknown.
    pub pid: u32,
    /// Its rank; `None` while it is no member.
    pub rank: Option<u32>,
    /// How it is.
    pub state: MemberState,
    /// Shards at a time.
    pub slots: u32,
    /// Leases it holds.
    pub leases: u32,
    /// Shards it committed since it connected.
    pub done: u64,
    /// Since its last sign of life.
    pub last_heard_ms_ago: u64,
}

/// How a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It works.
    Active,
    /// It finishes and goes.
    Draining,
    /// Its stream is broken.
    Silent,
    /// It waits outside.
    Spare,
}

/// A stage's counts.
#[derive(Clone, Debug, PartialEq)]
pub struct StageView {
    /// Its name.
    pub name: String,
    /// "shards" or "once".
    pub kind: &'static str,
    /// All of them.
    pub shards: u64,
    /// Committed, or skipped with what they need.
    pub done: u64,
    /// With a worker that has a slot for them.
    pub running: u64,
    /// Quarantined.
    pub failed: u64,
    /// Committed with a failed check.
    pub verdict_fail: u64,
    /// Of those that are done: skipped, by their own word or with what they need.
    pub skipped: u64,
    /// Fewest that must be done and not skipped; 0: none need be.
    pub min_done: u64,
    /// Could run now: they wait here or at a worker for a slot.
    pub ready: u64,
    /// Wait for what they need.
    pub blocked: u64,
    /// Wait out a backoff.
    pub backoff: u64,
    /// Will not run.
    pub cancelled: u64,
    /// Attempts that failed and were followed by another.
    pub retries: u64,
    /// Mean seconds of a committed attempt; 0 unknown.
    pub mean_s: f64,
    /// Done in an earlier version of the job, and not run again.
    pub reused: u64,
    /// Second attempts of stragglers so far.
    pub speculative: u64,
    /// Second attempts that were faster.
    pub speculative_won: u64,
    /// What needs this stage may start although shards of it failed.
    pub failures_allowed: bool,
}

/// One shard of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardView {
    /// Which.
    pub shard: ShardId,
    /// Its stage's name.
    pub stage_name: String,
    /// Its key.
    pub key: String,
    /// Where it stands.
    pub state: ShardState,
    /// Attempts started.
    pub attempts: u32,
    /// Of the last ended attempt.
    pub duration_ms: u64,
    /// Of result.json.
    pub verdict: Verdict,
    /// Of result.json.
    pub reasons: Vec<String>,
    /// Of result.json.
    pub numbers: Vec<(String, f64)>,
    /// Name of the worker that runs it or ran it last.
    pub worker: String,
    /// The attempt whose outputs stand, or the running or last one.
    pub lease: LeaseId,
    /// Of the last failure, or why it did not run.
    pub code: String,
    /// Of the last failure, or why it did not run.
    pub message: String,
    /// Of the last failure.
    pub log_tail: String,
    /// Of the last failure.
    pub exit_code: Option<i32>,
    /// Of the last failure.
    pub signal: u32,
    /// Committed files.
    pub files: u32,
    /// Committed bytes.
    pub bytes: u64,
    /// Failures by kind.
    pub failures: FailureCounts,
    /// Done in an earlier version of the job, and not run again.
    pub reused: bool,
    /// What is known of it beside its key.
    pub detail: Option<Box<ShardDetail>>,
}

/// Failures of a shard by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FailureCounts {
    /// The command's own.
    pub failed: u32,
    /// Timeouts.
    pub timed_out: u32,
    /// Lost workers.
    pub worker_lost: u32,
    /// Surroundings.
    pub infrastructure: u32,
    /// Announced departures.
    pub preempted: u32,
}

/// Where a shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// Waits for what it needs.
    Blocked,
    /// Could run now.
    Ready,
    /// Leased.
    Running,
    /// Waits out a backoff.
    Backoff,
    /// Committed.
    Done,
    /// Quarantined.
    Failed,
    /// Will not run.
    Cancelled,
    /// Did not run, because what it needs was skipped.
    Skipped,
}

/// Which shards of a job to list.
#[derive(Clone, Debug, Default)]
pub struct ShardFilter {
    /// Stage name; empty: all.
    pub stage: String,
    /// Quarantined, or done with a failed check.
    pub failed_only: bool,
    /// What it is called, see [`petctl_text::called`]; empty: all.
    pub key: String,
}
