//! Jobs: `petctl status`, `petctl list`, `petctl report`.

use super::{Event, JobState, MemberState, Shard, Stage, Training};
use petctl_proto::v1;
use schemars::JsonSchema;
use serde::Serialize;

/// A job in a few numbers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Summary {
    /// The job's name.
    pub job: String,
    /// Tells apart jobs that had this name one after the other.
    pub job_id: u64,
    /// How it stands.
    pub state: JobState,
    /// The same as a sentence.
    pub message: String,
    /// In ms since 1970.
    pub submitted_at_ms: u64,
    /// In ms since 1970; null: it has not ended.
    pub ended_at_ms: Option<u64>,
    /// All of its shards.
    pub shards: u64,
    /// Those that are done, skipped ones included.
    pub done: u64,
    /// Those that failed, and have no attempts left.
    pub failed: u64,
}

impl From<&v1::JobSummary> for Summary {
    fn from(summary: &v1::JobSummary) -> Self {
        Self {
            job: summary.name.clone(),
            job_id: summary.job_id,
            state: summary.state().into(),
            message: summary.verdict.clone(),
            submitted_at_ms: summary.submitted_at_ms,
            ended_at_ms: (summary.ended_at_ms > 0).then_some(summary.ended_at_ms),
            shards: summary.shards,
            done: summary.done,
            failed: summary.failed,
        }
    }
}

/// A reason, for people and for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reason {
    /// The same reason has the same code; a page of the docs tells of it.
    pub code: String,
    /// A sentence.
    pub message: String,
}

impl From<&v1::Reason> for Reason {
    fn from(reason: &v1::Reason) -> Self {
        Self {
            code: reason.code.clone(),
            message: reason.message.clone(),
        }
    }
}

/// How a job stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    #[serde(flatten)]
    summary: Summary,
    /// When this was so, in ms since 1970.
    at_ms: u64,
    /// Grows with each change of who is a member; 0: nobody was one yet.
    epoch: u64,
    /// Which start of its coordinator this is.
    incarnation: u64,
    /// Where its outputs stand: a folder, or az://CONTAINER/PREFIX.
    output: String,
    /// Shards a second over the last half minute; null: unknown.
    rate_per_s: Option<f64>,
    /// How long it takes to its end at that rate; null: unknown.
    left_ms: Option<u64>,
    /// Why it waits, the most important first.
    waiting: Vec<Reason>,
    /// What to know of its end beside its state, such as a stage in which nothing was done.
    notices: Vec<Reason>,
    /// Its workers.
    workers: Workers,
    /// Its stages, in the order of the job file.
    stages: Vec<Stage>,
    /// How its `train` stages stand.
    training: Vec<Training>,
    /// The first shards that failed and have no attempts left, or that failed their checks; at most 10.
    first_failures: Vec<Shard>,
    /// What happened last, the newest last; at most 10.
    last_events: Vec<Event>,
}

impl From<&v1::JobStatus> for Status {
    fn from(status: &v1::JobStatus) -> Self {
        Self {
            summary: Summary::from(&status.summary.clone().unwrap_or_default()),
            at_ms: status.at_ms,
            epoch: status.epoch,
            incarnation: status.incarnation,
            output: status.output_root.clone(),
            rate_per_s: (status.rate_per_s > 0.0).then_some(status.rate_per_s),
            left_ms: status.left_ms,
            waiting: status.waiting.iter().map(Reason::from).collect(),
            notices: status.notices.iter().map(Reason::from).collect(),
            workers: Workers {
                min: status.min_workers,
                max: status.max_workers,
                wanted: status.wanted_workers,
                members: status.members.iter().map(Member::from).collect(),
            },
            stages: status.stages.iter().map(Stage::from).collect(),
            training: status.groups.iter().map(Training::from).collect(),
            first_failures: status.first_failures.iter().map(Shard::from).collect(),
            last_events: status.last_events.iter().map(Event::from).collect(),
        }
    }
}

/// The workers of a job.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Workers {
    /// Fewest with which it goes on.
    pub min: u32,
    /// Most at a time.
    pub max: u32,
    /// As many as it shall have now.
    pub wanted: u32,
    /// Those that are there.
    pub members: Vec<Member>,
}

/// A worker that is there.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Member {
    /// Its name.
    pub worker: String,
    /// Chosen anew at each start of a worker.
    pub worker_id: String,
    /// The machine that it is on.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// Its number among the members of this epoch, from 0; null: it is a spare, leaves, or runs local stages only.
    pub rank: Option<u32>,
    /// How it stands.
    pub state: MemberState,
    /// Shards that it runs at a time.
    pub slots: u32,
    /// Shards that it has in hand: those that run, and those that wait for a slot.
    pub leases: u32,
    /// Shards that it has done.
    pub done: u64,
    /// How long nothing has been heard of it.
    pub silent_ms: u64,
}

impl From<&v1::Member> for Member {
    fn from(member: &v1::Member) -> Self {
        Self {
            worker: member.name.clone(),
            worker_id: member.worker_id.clone(),
            host: member.host.clone(),
            pid: member.pid,
            rank: member.rank,
            state: member.state().into(),
            slots: member.slots,
            leases: member.leases,
            done: member.done,
            silent_ms: member.last_heard_ms_ago,
        }
    }
}

/// Jobs, the latest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Jobs {
    /// All that are known here, or to the coordinator that was asked.
    pub jobs: Vec<Listed>,
}

/// A job in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    #[serde(flatten)]
    summary: Summary,
    /// The place where it runs; null: this machine, or a coordinator that was named by its address.
    place: Option<String>,
    /// The command that goes on with it; null: it was not interrupted.
    resume: Option<String>,
}

impl Listed {
    /// `resume`: the command that goes on with it.
    pub fn new(summary: &v1::JobSummary, place: Option<String>, resume: Option<String>) -> Self {
        Self {
            summary: Summary::from(summary),
            place,
            resume,
        }
    }
}

/// A job with its shards.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    #[serde(flatten)]
    summary: Summary,
    /// Its shards, or those that were asked for.
    rows: Vec<Shard>,
}

impl Report {
    /// Of a job.
    pub fn new(summary: &v1::JobSummary, rows: &[v1::ShardRow]) -> Self {
        Self {
            summary: Summary::from(summary),
            rows: rows.iter().map(Shard::from).collect(),
        }
    }
}
