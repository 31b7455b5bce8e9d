//! What must hold after every step, told from the durable records and the shared outputs alone.

use crate::cluster::Cluster;
use crate::storage::Storage;
use crate::training_oracle::TrainingOracle;
use petctl_core::{
    CheckpointReport, EndState, Epoch, Event, FailureKind, GroupStart, LeaseId, Record, ShardId,
    WorkerId,
};
use petctl_spec::{Budgets, JobSpec};
use std::collections::{BTreeMap, BTreeSet};

/// An independent reading of the event log.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    spec: Option<JobSpec>,
    sequence: u64,
    incarnation: u32,
    sizes: (u32, u32),
    training: TrainingOracle,
    epoch: u64,
    members: Vec<WorkerId>,
    /// Leases whose results are recorded, with the shard they stand for.
    pub committed: BTreeMap<ShardId, LeaseId>,
    failed: BTreeSet<LeaseId>,
    failures: BTreeMap<(ShardId, FailureKind), u32>,
    quarantined: BTreeSet<ShardId>,
    unreachable: BTreeSet<ShardId>,
    /// How the job ended, if it did.
    pub end: Option<EndState>,
    cancelled: bool,
    acknowledged: BTreeSet<LeaseId>,
}

impl Oracle {
    /// Takes a record that became durable.
    ///
    /// # Errors
    /// The invariant that it breaks.
    pub fn durable(
        &mut self,
        record: &Record,
        storage: &Storage,
        cluster: &Cluster,
        now: u64,
    ) -> Result<(), String> {
        if record.sequence != self.sequence + 1 {
            return Err(format!(
                "record {} follows record {}",
                record.sequence, self.sequence
            ));
        }
        self.sequence = record.sequence;
        match &record.event {
            Event::CoordinatorStarted { incarnation } => {
                if *incarnation <= self.incarnation {
                    return Err(format!(
                        "incarnation {incarnation} after {}",
                        self.incarnation
                    ));
                }
                self.incarnation = *incarnation;
            }
            Event::JobSubmitted { spec, .. } => {
                self.sizes = (spec.workers.min, spec.workers.max);
                self.spec = Some((**spec).clone());
                self.training.submitted(spec);
            }
            Event::JobReopened { .. } => return Err("nobody reopened the job".to_owned()),
            Event::JobRetuned { .. } => return Err("nobody retuned the job".to_owned()),
            Event::PoolScaled { min, max, .. } => self.sizes = (*min, *max),
            Event::EpochFormed {
                epoch,
                joined,
                left,
                ..
            } => {
                let joined: Vec<WorkerId> = joined.iter().map(|m| m.worker).collect();
                let left: Vec<WorkerId> = left.iter().map(|(w, _)| *w).collect();
                self.formed(*epoch, &joined, &left)?;
            }
            Event::QuorumLost { left, .. } => {
                self.members.retain(|m| left.iter().all(|(w, _)| w != m))
            }
            Event::ShardCommitted { shard, .. } if self.training.is_stage(shard.stage) => {
                self.training.succeeded(self.epoch, cluster)?;
                if self.committed.insert(*shard, LeaseId(0)).is_some() {
                    return Err("the training succeeded twice".to_owned());
                }
            }
            Event::AttemptFailed {
                shard, quarantined, ..
            } if self.training.is_stage(shard.stage) => {
                self.training.failed_for_good(*quarantined)?;
                if !self.quarantined.insert(*shard) {
                    return Err("the training failed twice".to_owned());
                }
            }
            Event::ShardCommitted { shard, lease, .. } => {
                self.shard_committed(*shard, *lease, storage)?
            }
            Event::AttemptFailed {
                shard,
                lease,
                kind,
                quarantined,
                ..
            } => {
                self.attempt_failed(*shard, *lease, *kind, *quarantined)?;
            }
            Event::ShardsUnreachable { shards, .. } => {
                self.unreachable.extend(shards.iter().copied())
            }
            Event::JobCancelled { .. } => self.cancelled = true,
            Event::JobEnded { end, .. } => {
                if self.end.replace(*end).is_some() {
                    return Err("the job ended twice".to_owned());
                }
                self.members.clear();
            }
            Event::JobDeleted { .. } => return Err("nobody deleted the job".to_owned()),
            Event::StageStarted { .. } => {}
            Event::StageDeadlinePassed { stage, .. } => self.deadline_passed(*stage)?,
            Event::GroupStarted { .. }
            | Event::GroupFailed { .. }
            | Event::GroupStopping { .. }
            | Event::CheckpointCommitted { .. }
            | Event::JobSuspended { .. }
            | Event::JobResumed { .. } => {
                self.training
                    .durable(&record.event, self.epoch, &self.members, now)?;
            }
        }
        Ok(())
    }

    /// Invariant 3: epochs only grow by one, sizes are within bounds, survivors keep their order.
    fn formed(
        &mut self,
        epoch: Epoch,
        joined: &[WorkerId],
        left: &[WorkerId],
    ) -> Result<(), String> {
        if epoch.0 != self.epoch + 1 {
            return Err(format!("epoch {epoch} after {}", self.epoch));
        }
        self.epoch = epoch.0;
        if let Some(stranger) = left.iter().find(|w| !self.members.contains(w)) {
            return Err(format!(
                "{stranger} left epoch {epoch} without being a member"
            ));
        }
        self.members.retain(|m| !left.contains(m));
        self.members.extend(joined);
        let unique: BTreeSet<&WorkerId> = self.members.iter().collect();
        if unique.len() != self.members.len() {
            return Err(format!("epoch {epoch} has a worker twice"));
        }
        let (min, max) = self.sizes;
        let n = self.members.len();
        let unit = self.spec.as_ref().map_or(1, |s| s.workers.unit) as usize;
        if !n.is_multiple_of(unit) {
            return Err(format!(
                "epoch {epoch} has {n} members, no multiple of {unit}"
            ));
        }
        if n < min as usize || n > max as usize {
            return Err(format!("epoch {epoch} has {n} members, not {min} to {max}"));
        }
        Ok(())
    }

    /// Invariant 4: once, whole, and what the log says is what stands.
    fn shard_committed(
        &mut self,
        shard: ShardId,
        lease: LeaseId,
        storage: &Storage,
    ) -> Result<(), String> {
        if let Some(before) = self.committed.insert(shard, lease) {
            return Err(format!(
                "{shard:?} was committed by {before} and again by {lease}"
            ));
        }
        if storage.committed(shard) != Some(lease) {
            return Err(format!(
                "{shard:?}: the log says {lease}, the outputs are {:?}",
                storage.committed(shard)
            ));
        }
        if self.quarantined.contains(&shard) || self.unreachable.contains(&shard) {
            return Err(format!("{shard:?} was committed after it was given up"));
        }
        if self.end.is_some() {
            return Err(format!("{shard:?} was committed after the job's end"));
        }
        let spec = self.spec.as_ref().ok_or("a commit without a job")?;
        for need in &spec.stages[shard.stage as usize].needs {
            let one = ShardId {
                stage: need.stage,
                index: shard.index,
            };
            if need.per_shard && !self.committed.contains_key(&one) {
                return Err(format!("{shard:?} ran before {one:?}"));
            }
        }
        Ok(())
    }

    fn attempt_failed(
        &mut self,
        shard: ShardId,
        lease: LeaseId,
        kind: FailureKind,
        quarantined: bool,
    ) -> Result<(), String> {
        if !self.failed.insert(lease) {
            return Err(format!("attempt {lease} failed twice"));
        }
        if self.committed.contains_key(&shard) {
            return Err(format!("{shard:?} failed after its commit"));
        }
        let budgets = self
            .spec
            .as_ref()
            .map(|s| s.stages[shard.stage as usize].budgets)
            .ok_or("no job")?;
        let count = self.failures.entry((shard, kind)).or_default();
        *count += 1;
        let over = *count > budget(&budgets, kind);
        if over != quarantined {
            return Err(format!(
                "{shard:?}: {count} x {kind:?}, quarantined: {quarantined}"
            ));
        }
        if quarantined {
            self.quarantined.insert(shard);
        }
        Ok(())
    }

    /// What was pending of a stage has failed.
    fn deadline_passed(&mut self, stage: u32) -> Result<(), String> {
        let spec = self.spec.as_ref().ok_or("no job")?;
        let kind = &spec.stages[stage as usize].kind;
        let count = petctl_spec::shards::stage_count(kind).unwrap_or(0);
        for index in 0..u32::try_from(count).unwrap_or(0) {
            let shard = ShardId { stage, index };
            if !self.committed.contains_key(&shard) && !self.unreachable.contains(&shard) {
                self.quarantined.insert(shard);
            }
        }
        Ok(())
    }

    /// Something disturbed the workers, or may until then.
    pub fn disturbed(&mut self, until: u64) {
        self.training.disturbed(until);
    }

    /// A worker is told to start its processes.
    ///
    /// # Errors
    /// If its place is wrong.
    pub fn start_sent(&mut self, start: &GroupStart) -> Result<(), String> {
        self.training.start_sent(start)
    }

    /// A worker is told that a checkpoint is kept, or not.
    ///
    /// # Errors
    /// If it is not durable, or a kept one is dropped.
    pub fn checkpoint_acknowledged(
        &self,
        report: &CheckpointReport,
        kept: bool,
        drop: &[String],
    ) -> Result<(), String> {
        self.training.acknowledged(report, kept, drop)
    }

    /// Epochs started, causes found, checkpoints kept.
    #[must_use]
    pub fn trained(&self) -> (u64, u64, u64) {
        self.training.counts()
    }

    /// Invariant 5: what a worker was told is durable, is.
    ///
    /// # Errors
    /// If it is not.
    pub fn acknowledged(&mut self, shard: ShardId, lease: LeaseId) -> Result<(), String> {
        self.acknowledged.insert(lease);
        match self.committed.get(&shard) {
            Some(_) => Ok(()),
            None if self.end.is_some() || self.cancelled => Ok(()),
            None if self.quarantined.contains(&shard) => Ok(()),
            None => Err(format!(
                "the commit of {shard:?} by {lease} was acknowledged and is not durable"
            )),
        }
    }

    /// Invariant 4, on the outputs: nothing is published twice, and no attempt publishes after its folder was taken.
    ///
    /// # Errors
    /// What was.
    pub fn outputs(&self, storage: &Storage) -> Result<(), String> {
        let mut seen = BTreeMap::new();
        for (shard, lease) in &storage.publications {
            if let Some(before) = seen.insert(*shard, *lease) {
                return Err(format!(
                    "{shard:?} was published by {before} and again by {lease}"
                ));
            }
            if storage.fenced.contains(lease) {
                return Err(format!(
                    "{shard:?} was published by {lease} although it was fenced"
                ));
            }
        }
        let shards = self.committed.iter();
        for (shard, lease) in shards.filter(|(s, _)| !self.training.is_stage(s.stage)) {
            if storage.committed(*shard) != Some(*lease) {
                return Err(format!(
                    "{shard:?}: the log says {lease}, the outputs are {:?}",
                    storage.committed(*shard)
                ));
            }
        }
        Ok(())
    }

    /// At the end: the job ended, and its end says what happened to each shard.
    ///
    /// # Errors
    /// What does not fit.
    pub fn at_the_end(&self) -> Result<(), String> {
        let (Some(end), Some(spec)) = (self.end, self.spec.as_ref()) else {
            return Err("no end".to_owned());
        };
        let total: u64 = spec
            .stages
            .iter()
            .filter_map(|s| petctl_spec::shards::stage_count(&s.kind))
            .sum();
        let done = self.committed.len() as u64;
        let expected = if done == total {
            EndState::Succeeded
        } else if self.cancelled {
            EndState::Cancelled
        } else {
            EndState::Failed
        };
        if end != expected {
            return Err(format!(
                "ended as {end:?} with {done} of {total} shards, expected {expected:?}"
            ));
        }
        let given_up = (self.quarantined.len() + self.unreachable.len()) as u64;
        if !self.cancelled && done + given_up != total {
            return Err(format!("{done} done and {given_up} given up of {total}"));
        }
        Ok(())
    }
}

fn budget(budgets: &Budgets, kind: FailureKind) -> u32 {
    match kind {
        FailureKind::Failed => budgets.failed,
        FailureKind::TimedOut => budgets.timed_out,
        FailureKind::WorkerLost => budgets.worker_lost,
        FailureKind::Infrastructure => budgets.infrastructure,
        FailureKind::Preempted => budgets.preempted,
    }
}
