//! What an event does to the job that it is about.

use crate::state::job::{Counts, Detail, FIRST_FAILURES, Job, Membership, Phase, Shard, Stage};
use crate::{
    Checkpoint, Code, Event, Failure, FailureCounts, Group, LeaveReason, Lineage, MemberRecord,
    Record, ShardId, Verdict, WorkerId,
};
use petctl_spec::TrainSpec;

impl Job {
    /// Applies one record about this job. `incarnation`: the coordinator's start that decided it.
    pub(crate) fn apply(&mut self, record: &Record, incarnation: u32) {
        let at = record.at;
        match &record.event {
            // Of the state as a whole.
            Event::CoordinatorStarted { .. }
            | Event::JobSubmitted { .. }
            | Event::JobDeleted { .. } => {}
            Event::JobReopened { .. } => self.reopen(incarnation),
            Event::JobRetuned { spec, .. } => self.spec = (**spec).clone(),
            Event::PoolScaled {
                min, max, wanted, ..
            } => {
                self.spec.workers.min = *min;
                self.spec.workers.max = *max;
                self.spec.workers.wanted = *wanted;
            }
            Event::EpochFormed {
                epoch,
                joined,
                left,
                ..
            } => {
                self.epoch = *epoch;
                self.formed = true;
                self.leave(left);
                for member in joined {
                    remember_name(&mut self.worker_names, member);
                    self.members.push(Membership {
                        member: member.clone(),
                        admitted: *epoch,
                    });
                }
            }
            Event::QuorumLost { left, .. } => {
                self.formed = false;
                self.leave(left);
            }
            Event::ShardCommitted {
                job: _,
                shard,
                lease,
                foreign,
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
                }) = self.pending_shard(*shard)
                {
                    entry.phase = Phase::Done;
                    entry.verdict = *verdict;
                    entry.lease = *lease;
                    entry.foreign = foreign.unwrap_or_default();
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
                job: _,
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
                }) = self.pending_shard(*shard)
                {
                    let detail: &mut Detail = entry.detail.get_or_insert_default();
                    detail.failures.add(*kind);
                    detail.last_failure = Some((**failure).clone());
                    // Of two attempts the later one may have ended first: nobody claims it any more.
                    entry.lease = entry.lease.max(*lease);
                    entry.foreign = Lineage(0);
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
            Event::ShardsUnreachable { shards, .. } => {
                for shard in shards {
                    if let Some(Pending { counts, entry, .. }) = self.pending_shard(*shard) {
                        entry.phase = Phase::Cancelled;
                        counts.cancelled += 1;
                    }
                }
            }
            Event::ShardsSkipped { shards, .. } => {
                for shard in shards {
                    if let Some(Pending { counts, entry, .. }) = self.pending_shard(*shard) {
                        entry.phase = Phase::Skipped;
                        entry.verdict = Verdict::Skipped;
                        counts.skipped += 1;
                    }
                }
            }
            Event::JobCancelled { reason, .. } => self.cancelled = Some(reason.clone()),
            Event::JobEnded { end, .. } => {
                self.end = Some((*end, at));
                self.members.clear();
                self.formed = false;
                for stage in &mut self.stages {
                    cancel_pending(stage);
                }
            }
            Event::StageStarted { stage, .. } => {
                if let Some(stage) = self.stages.get_mut(*stage as usize) {
                    stage.started_at.get_or_insert(at);
                }
            }
            Event::StageDeadlinePassed { stage, .. } => self.pass_deadline(*stage),
            Event::GroupStarted {
                job: _,
                stage,
                epoch,
                world_size,
                master,
                resume_step,
            } => {
                if let Some((group, _)) = self.group(*stage) {
                    group.start(at, *epoch, *world_size, master, *resume_step);
                }
            }
            Event::GroupFailed {
                job: _,
                stage,
                cause,
                restarts_used,
                lost_used,
            } => {
                if let Some((group, _)) = self.group(*stage) {
                    group.fail(cause, *restarts_used, *lost_used);
                }
            }
            Event::GroupStopping { stage, epoch, .. } => {
                if let Some((group, _)) = self.group(*stage) {
                    group.stopping = Some(*epoch);
                }
            }
            Event::CheckpointCommitted {
                job: _,
                stage,
                epoch,
                step,
                path,
            } => {
                if let Some((group, train)) = self.group(*stage) {
                    let checkpoint = Checkpoint {
                        step: *step,
                        path: path.clone(),
                        epoch: *epoch,
                        at,
                    };
                    group.commit(checkpoint, train.keep_checkpoints);
                }
            }
            Event::JobSuspended { reason, .. } => {
                self.suspended = Some(reason.clone());
                for group in self.groups.values_mut() {
                    group.healthy_since = None;
                }
            }
            Event::JobResumed { .. } => self.suspended = None,
            Event::WorkerEnded { .. } => {}
            Event::SecondAttemptEnded { shard, won, .. } => {
                if let Some(stage) = self.stages.get_mut(shard.stage as usize) {
                    stage.counts.speculative += 1;
                    stage.counts.speculative_won += u64::from(*won);
                }
            }
        }
    }

    fn leave(&mut self, left: &[(WorkerId, LeaveReason)]) {
        self.members
            .retain(|m| left.iter().all(|(w, _)| *w != m.member.worker));
    }

    fn reopen(&mut self, incarnation: u32) {
        self.cancelled = None;
        self.end = None;
        self.incarnation = incarnation;
        self.suspended = None;
        for group in self.groups.values_mut() {
            group.forgive();
        }
        for stage in &mut self.stages {
            for shard in &mut stage.shards {
                match shard.phase {
                    Phase::Failed | Phase::Cancelled => {
                        shard.phase = Phase::Pending;
                        if let Some(detail) = &mut shard.detail {
                            detail.failures = FailureCounts::default();
                        }
                    }
                    Phase::Pending | Phase::Done | Phase::Skipped => {}
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

    /// What is remembered of a training stage, with what its file says.
    fn group(&mut self, stage: u32) -> Option<(&mut Group, &TrainSpec)> {
        let train = self.spec.stages.get(stage as usize)?.kind.training()?;
        Some((self.groups.entry(stage).or_default(), train))
    }

    fn pass_deadline(&mut self, stage: u32) {
        let spec = self.spec.stages.get(stage as usize);
        let limit_ms = spec.map_or(0, |s| s.deadline_ms);
        let Some(stage) = self.stages.get_mut(stage as usize) else {
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
    fn pending_shard(&mut self, shard: ShardId) -> Option<Pending<'_>> {
        let stage = self.stages.get_mut(shard.stage as usize)?;
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

pub(crate) fn clamp(duration_ms: u64) -> u32 {
    u32::try_from(duration_ms).unwrap_or(u32::MAX)
}
