//! The projection of the durable events: the only way to change it is [`State::apply`].

pub(crate) mod carry;
pub(crate) mod event;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod work;

use crate::state::carry::NewJob;
use crate::state::job::{Counts, Detail, FIRST_FAILURES, Job, Membership, Phase, Shard, Stage};
use crate::{
    Checkpoint, Code, Event, Failure, Group, JobId, MemberRecord, Record, ShardId, Verdict,
};
use petctl_spec::{StageKind, TrainSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything a coordinator must not forget.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Sequence number of the last record applied.
    pub sequence: u64,
    /// Starts of coordinators on this log.
    pub incarnation: u32,
    /// Number of the last job submitted.
    pub last_job: JobId,
    /// Jobs by number, ended ones included.
    pub jobs: BTreeMap<JobId, Job>,
}

impl State {
    /// Applies one record. Events about jobs or shards that are not there are ignored: a log is never a reason to
    /// panic.
    pub fn apply(&mut self, record: &Record) {
        self.sequence = record.sequence;
        let at = record.at;
        match &record.event {
            Event::CoordinatorStarted { incarnation } => self.incarnation = *incarnation,
            Event::JobSubmitted {
                job,
                spec,
                fingerprint,
                work,
                first_lease,
                replaces,
            } => {
                let new = NewJob {
                    id: *job,
                    spec,
                    fingerprint,
                    work,
                    first_lease: *first_lease,
                };
                self.submitted(at, new, *replaces);
            }
            Event::JobReopened { job } => self.reopen(*job),
            Event::JobRetuned { job, spec } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.spec = (**spec).clone();
                }
            }
            Event::PoolScaled {
                job,
                min,
                max,
                wanted,
            } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.spec.workers.min = *min;
                    job.spec.workers.max = *max;
                    job.spec.workers.wanted = *wanted;
                }
            }
            Event::EpochFormed {
                job,
                epoch,
                joined,
                left,
            } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.epoch = *epoch;
                    job.formed = true;
                    job.members
                        .retain(|m| left.iter().all(|(w, _)| *w != m.member.worker));
                    for member in joined {
                        remember_name(&mut job.worker_names, member);
                        job.members.push(Membership {
                            member: member.clone(),
                            admitted: *epoch,
                        });
                    }
                }
            }
            Event::QuorumLost { job, left } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.formed = false;
                    job.members
                        .retain(|m| left.iter().all(|(w, _)| *w != m.member.worker));
                }
            }
            Event::ShardCommitted {
                job,
                shard,
                lease,
                worker,
                duration_ms,
                files,
                bytes,
                verdict,
                reasons,
                numbers,
                manifest: _,
            } => {
                if let Some(Pending {
                    index,
                    counts,
                    entry,
                    failures,
                }) = self.pending_shard(*job, *shard)
                {
                    entry.phase = Phase::Done;
                    entry.verdict = *verdict;
                    entry.lease = *lease;
                    entry.worker = *worker;
                    entry.duration_ms = clamp(*duration_ms);
                    entry.files = *files;
                    entry.bytes = *bytes;
                    if !reasons.is_empty() || !numbers.is_empty() {
                        let detail = entry.detail.get_or_insert_default();
                        detail.reasons.clone_from(reasons);
                        detail.numbers.clone_from(numbers);
                    }
                    counts.done += 1;
                    counts.duration_ms = counts.duration_ms.saturating_add(*duration_ms);
                    if *verdict == Verdict::Fail {
                        counts.verdict_fail += 1;
                        note_failure(failures, index);
                    }
                    counts.verdict_skipped += u64::from(*verdict == Verdict::Skipped);
                }
            }
            Event::AttemptFailed {
                job,
                shard,
                lease,
                worker,
                kind,
                failure,
                quarantined,
            } => {
                if let Some(Pending {
                    index,
                    counts,
                    entry,
                    failures,
                }) = self.pending_shard(*job, *shard)
                {
                    let detail: &mut Detail = entry.detail.get_or_insert_default();
                    detail.failures.add(*kind);
                    detail.last_failure = Some((**failure).clone());
                    entry.lease = *lease;
                    entry.worker = *worker;
                    entry.duration_ms = clamp(failure.duration_ms);
                    if *quarantined {
                        entry.phase = Phase::Failed;
                        counts.failed += 1;
                        note_failure(failures, index);
                    } else {
                        counts.retries += 1;
                    }
                }
            }
            Event::ShardsUnreachable { job, shards } => {
                for shard in shards {
                    if let Some(Pending { counts, entry, .. }) = self.pending_shard(*job, *shard) {
                        entry.phase = Phase::Cancelled;
                        counts.cancelled += 1;
                    }
                }
            }
            Event::JobCancelled { job, reason } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.cancelled = Some(reason.clone());
                }
            }
            Event::JobEnded { job, end } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.end = Some((*end, at));
                    job.members.clear();
                    job.formed = false;
                    for stage in &mut job.stages {
                        cancel_pending(stage);
                    }
                }
            }
            Event::JobDeleted { job } => {
                self.jobs.remove(job);
            }
            Event::StageStarted { job, stage } => {
                if let Some(stage) = self.stage(*job, *stage) {
                    stage.started_at.get_or_insert(at);
                }
            }
            Event::StageDeadlinePassed { job, stage } => self.pass_deadline(*job, *stage),
            Event::GroupStarted {
                job,
                stage,
                epoch,
                world_size,
                master,
                resume_step,
            } => {
                if let Some((group, _)) = self.group(*job, *stage) {
                    group.start(at, *epoch, *world_size, master, *resume_step);
                }
            }
            Event::GroupFailed {
                job,
                stage,
                cause,
                restarts_used,
                lost_used,
            } => {
                if let Some((group, _)) = self.group(*job, *stage) {
                    group.fail(cause, *restarts_used, *lost_used);
                }
            }
            Event::GroupStopping {
                job, stage, epoch, ..
            } => {
                if let Some((group, _)) = self.group(*job, *stage) {
                    group.stopping = Some(*epoch);
                }
            }
            Event::CheckpointCommitted {
                job,
                stage,
                epoch,
                step,
                path,
            } => {
                if let Some((group, train)) = self.group(*job, *stage) {
                    let checkpoint = Checkpoint {
                        step: *step,
                        path: path.clone(),
                        epoch: *epoch,
                        at,
                    };
                    group.keep(checkpoint, train.keep_checkpoints);
                }
            }
            Event::JobSuspended { job, reason } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.suspended = Some(reason.clone());
                    for group in job.groups.values_mut() {
                        group.healthy_since = None;
                    }
                }
            }
            Event::JobResumed { job } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.suspended = None;
                }
            }
            Event::SecondAttemptEnded { job, shard, won } => {
                if let Some(stage) = self.stage(*job, shard.stage) {
                    stage.counts.speculative += 1;
                    stage.counts.speculative_won += u64::from(*won);
                }
            }
        }
    }

    /// The number of a job, by its name (the newest of that name) or by its number.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<JobId> {
        let by_name = self
            .jobs
            .values()
            .rev()
            .find(|j| j.spec.name == name)
            .map(|j| j.id);
        by_name.or_else(|| {
            let id = JobId(name.parse().ok()?);
            self.jobs.contains_key(&id).then_some(id)
        })
    }

    fn reopen(&mut self, job: JobId) {
        let incarnation = self.incarnation;
        let Some(job) = self.jobs.get_mut(&job) else {
            return;
        };
        job.cancelled = None;
        job.end = None;
        job.incarnation = incarnation;
        job.suspended = None;
        for group in job.groups.values_mut() {
            group.forgive();
        }
        for stage in &mut job.stages {
            for shard in &mut stage.shards {
                match shard.phase {
                    Phase::Failed | Phase::Cancelled => {
                        shard.phase = Phase::Pending;
                        if let Some(detail) = &mut shard.detail {
                            detail.failures = crate::FailureCounts::default();
                        }
                    }
                    Phase::Pending | Phase::Done => {}
                }
            }
            stage.counts.failed = 0;
            let shards = &stage.shards;
            let still = |index: &u32| {
                shards
                    .get(*index as usize)
                    .is_some_and(|s| s.phase == Phase::Done)
            };
            stage.first_failures.retain(still);
            stage.counts.cancelled = 0;
            stage.started_at = None;
        }
    }

    fn stage(&mut self, job: JobId, stage: u32) -> Option<&mut Stage> {
        self.jobs.get_mut(&job)?.stages.get_mut(stage as usize)
    }

    /// What is remembered of a training stage, with what its file says.
    fn group(&mut self, job: JobId, stage: u32) -> Option<(&mut Group, &TrainSpec)> {
        let job = self.jobs.get_mut(&job)?;
        match &job.spec.stages.get(stage as usize)?.kind {
            StageKind::Train(train) => Some((job.groups.entry(stage).or_default(), train)),
            StageKind::Shards(_) | StageKind::Once => None,
        }
    }

    fn pass_deadline(&mut self, job: JobId, stage: u32) {
        let limit_ms = self
            .jobs
            .get(&job)
            .and_then(|j| j.spec.stages.get(stage as usize))
            .map_or(0, |s| s.deadline_ms);
        let Some(stage) = self.stage(job, stage) else {
            return;
        };
        for (index, shard) in (0..).zip(&mut stage.shards) {
            if shard.phase == Phase::Pending {
                let detail: &mut Detail = shard.detail.get_or_insert_default();
                detail.last_failure = Some(Failure {
                    code: Code::StageDeadline.as_str().to_owned(),
                    message: format!(
                        "its stage had not ended after {}",
                        petctl_spec::format_duration_ms(limit_ms)
                    ),
                    ..Failure::default()
                });
                shard.phase = Phase::Failed;
                stage.counts.failed += 1;
                note_failure(&mut stage.first_failures, index);
            }
        }
    }

    /// The shard, if it is pending, apart from its stage's counters.
    fn pending_shard(&mut self, job: JobId, shard: ShardId) -> Option<Pending<'_>> {
        let stage = self
            .jobs
            .get_mut(&job)?
            .stages
            .get_mut(shard.stage as usize)?;
        let entry = stage
            .shards
            .get_mut(shard.index as usize)
            .filter(|s| s.phase == Phase::Pending)?;
        let failures = &mut stage.first_failures;
        Some(Pending {
            index: shard.index,
            counts: &mut stage.counts,
            entry,
            failures,
        })
    }
}

/// A pending shard, with what its stage keeps of all of them.
struct Pending<'a> {
    index: u32,
    counts: &'a mut Counts,
    entry: &'a mut Shard,
    failures: &'a mut Vec<u32>,
}

pub(crate) fn note_failure(failures: &mut Vec<u32>, index: u32) {
    if failures.len() < FIRST_FAILURES {
        failures.push(index);
    }
}

fn remember_name(names: &mut Vec<String>, member: &MemberRecord) {
    if !names.contains(&member.name) {
        names.push(member.name.clone());
    }
}

fn cancel_pending(stage: &mut Stage) {
    for shard in &mut stage.shards {
        if shard.phase == Phase::Pending {
            shard.phase = Phase::Cancelled;
            stage.counts.cancelled += 1;
        }
    }
}

fn clamp(duration_ms: u64) -> u32 {
    u32::try_from(duration_ms).unwrap_or(u32::MAX)
}
