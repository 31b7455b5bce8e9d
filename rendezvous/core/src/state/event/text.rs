//! An event in one line.

use crate::view::wording::count;
use crate::{EndState, Epoch, Event, JobId, LeaveReason, Record, ShardId, State, Verdict};

/// A record for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The job it is about.
    pub job: Option<JobId>,
    /// The epoch it speaks of; 0 where it does not.
    pub epoch: Epoch,
    /// Stable name of the kind.
    pub kind: &'static str,
    /// One line.
    pub text: String,
}

impl State {
    /// Describes a record, with the names that this state knows.
    #[must_use]
    pub fn describe(&self, record: &Record) -> Description {
        let event = &record.event;
        Description {
            job: event.job(),
            epoch: event.epoch(),
            kind: event.kind(),
            text: self.sentence(event),
        }
    }

    fn sentence(&self, event: &Event) -> String {
        match event {
            Event::CoordinatorStarted { incarnation, .. } => format!(
                "coordinator started, for the {} time",
                ordinal(*incarnation)
            ),
            Event::JobSubmitted {
                job,
                spec,
                replaces,
                work,
                ..
            } => {
                let shards: usize = self
                    .jobs
                    .get(job)
                    .map_or(0, |j| j.stages.iter().map(|s| s.shards.len()).sum());
                let (stages, shards) = (count(spec.stages.len(), "stage"), count(shards, "shard"));
                let carried = work.iter().flat_map(|stage| &stage.carried);
                let reused: u64 = carried.map(|run| u64::from(run.count)).sum();
                let reused = replaces.map_or_else(String::new, |_| {
                    format!(", {reused} of them done in an earlier version")
                });
                format!("job {} submitted: {stages}, {shards}{reused}", spec.name)
            }
            Event::JobReopened { .. } => "job runs again what failed".to_owned(),
            Event::JobRetuned { .. } => {
                "job goes on with other sizes, timeouts or budgets".to_owned()
            }
            Event::PoolScaled {
                min, max, wanted, ..
            } => format!("pool scaled to {wanted} workers (min {min}, max {max})"),
            Event::EpochFormed {
                epoch,
                joined,
                left,
                ..
            } => {
                let names: Vec<&str> = joined.iter().map(|m| m.name.as_str()).collect();
                let mut text = format!("epoch {epoch} formed");
                if !names.is_empty() {
                    text.push_str(&format!("; joined: {}", few(&names)));
                }
                text.push_str(&departures(left));
                text
            }
            Event::QuorumLost { left, .. } => {
                format!("too few workers for an epoch{}", departures(left))
            }
            Event::ShardCommitted {
                job,
                shard,
                worker,
                duration_ms,
                files,
                verdict,
                ..
            } => {
                let verdict = match verdict {
                    Verdict::None => "",
                    Verdict::Pass => ", passed",
                    Verdict::Fail => ", did not pass its checks",
                    Verdict::Skipped => ", skipped",
                };
                let (name, on) = (self.name(*job, *shard), self.worker(*job, *worker));
                format!("{name} committed after {duration_ms} ms{on}: {files} files{verdict}")
            }
            Event::AttemptFailed {
                job,
                shard,
                worker,
                kind,
                failure,
                quarantined,
                ..
            } => {
                let end = if *quarantined {
                    "; no attempts are left"
                } else {
                    ""
                };
                let (name, on) = (self.name(*job, *shard), self.worker(*job, *worker));
                format!("{name} {}{on}: {}{end}", kind.as_str(), failure.message)
            }
            Event::ShardsUnreachable { job, shards } => {
                let first = shards
                    .first()
                    .map(|s| self.name(*job, *s))
                    .unwrap_or_default();
                let more = if shards.len() > 1 { ", …" } else { "" };
                let shards = count(shards.len(), "shard");
                format!("{shards} will not run, what they need failed: {first}{more}")
            }
            Event::JobCancelled { reason, .. } => format!("job cancelled: {reason}"),
            Event::JobEnded { end, .. } => {
                let end = match end {
                    EndState::Succeeded => "succeeded",
                    EndState::Failed => "failed",
                    EndState::Cancelled => "was cancelled",
                };
                format!("job {end}")
            }
            Event::JobDeleted { .. } => "job deleted".to_owned(),
            Event::StageStarted { job, stage } => {
                format!("stage {} may start", self.stage_name(*job, *stage))
            }
            Event::StageDeadlinePassed { job, stage } => {
                format!("time of stage {} is over", self.stage_name(*job, *stage))
            }
            Event::GroupStarted {
                job,
                stage,
                epoch,
                world_size,
                resume_step,
                ..
            } => {
                let from = resume_step.map_or_else(
                    || "from the start".to_owned(),
                    |step| format!("from the checkpoint of step {step}"),
                );
                let (name, ranks) = (
                    self.stage_name(*job, *stage),
                    count(*world_size as usize, "rank"),
                );
                format!("{name}: epoch {epoch} starts {ranks}, {from}")
            }
            Event::GroupFailed {
                job, stage, cause, ..
            } => {
                format!("{}: {}", self.stage_name(*job, *stage), cause.describe())
            }
            Event::GroupStopping {
                job,
                stage,
                epoch,
                message,
                ..
            } => {
                let name = self.stage_name(*job, *stage);
                format!("{name}: epoch {epoch} stops: {message}")
            }
            Event::CheckpointCommitted {
                job,
                stage,
                step,
                path,
                ..
            } => {
                format!(
                    "{}: checkpoint of step {step} complete: {path}",
                    self.stage_name(*job, *stage)
                )
            }
            Event::JobSuspended { reason, .. } => {
                let why = if reason.is_empty() {
                    String::new()
                } else {
                    format!(": {reason}")
                };
                format!("job suspended{why}")
            }
            Event::JobResumed { .. } => "job goes on".to_owned(),
            Event::SecondAttemptEnded { job, shard, won } => {
                let end = if *won { "was faster" } else { "was not needed" };
                format!("{}: its second attempt {end}", self.name(*job, *shard))
            }
        }
    }

    fn name(&self, job: JobId, shard: ShardId) -> String {
        let Some(job) = self.jobs.get(&job) else {
            return format!("{}/{}", shard.stage, shard.index);
        };
        let stage = job
            .spec
            .stages
            .get(shard.stage as usize)
            .map_or("?", |s| s.name.as_str());
        format!(
            "{stage}/{}",
            job.key(shard.stage as usize, shard.index as usize)
        )
    }

    fn stage_name(&self, job: JobId, stage: u32) -> &str {
        self.jobs
            .get(&job)
            .and_then(|j| j.spec.stages.get(stage as usize))
            .map_or("?", |s| s.name.as_str())
    }

    fn worker(&self, job: JobId, worker: u32) -> String {
        let name = self
            .jobs
            .get(&job)
            .and_then(|j| j.worker_names.get(worker as usize));
        name.map(|n| format!(" on {n}")).unwrap_or_default()
    }
}

fn departures(left: &[(crate::WorkerId, LeaveReason)]) -> String {
    let mut text = String::new();
    for (reason, what) in [
        (LeaveReason::Gone, "gone"),
        (LeaveReason::Silent, "silent"),
        (LeaveReason::Left, "left"),
        (LeaveReason::ScaledDown, "drained"),
        (LeaveReason::NotBack, "not back after the restart"),
        (LeaveReason::JobEnded, "released"),
        (LeaveReason::Drained, "drained by request"),
        (LeaveReason::LeftOut, "left out"),
    ] {
        let count = left.iter().filter(|(_, r)| *r == reason).count();
        if count > 0 {
            text.push_str(&format!("; {count} {what}"));
        }
    }
    text
}

fn few(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

fn ordinal(n: u32) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        (0 | 4.., _) => "th",
    };
    format!("{n}{suffix}")
}
