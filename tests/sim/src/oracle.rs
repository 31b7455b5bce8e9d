//! What must hold after every step, told from the durable records and the shared outputs alone.

use crate::cluster::Cluster;
use crate::storage::{Place, Storage};
use crate::training_oracle::TrainingOracle;
use petctl_core::{
    CheckpointReport, EndState, Epoch, Event, FailureKind, GroupStart, LeaseGrant, LeaseId, Record,
    ShardId, StageWork, Verdict, WorkerId,
};
use petctl_spec::{Budgets, JobSpec, RunMode, StageKind};
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
    /// Keys by stage.
    keys: Vec<Vec<String>>,
    work: Vec<StageWork>,
    /// The first lease of this version of the job.
    first_lease: LeaseId,
    /// Committed with a failed check.
    not_passed: BTreeSet<ShardId>,
    carried_fails: BTreeSet<ShardId>,
    /// Publications that were looked at, and what stands by them.
    seen: usize,
    published: BTreeMap<Place, LeaseId>,
    /// Shards that were carried over.
    pub reused: u64,
    /// Second attempts, and those that were faster.
    pub second: (u64, u64),
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
            Event::JobSubmitted {
                spec,
                work,
                first_lease,
                replaces,
                ..
            } => {
                self.submitted(spec, work, *first_lease, replaces.is_some())?;
            }
            Event::JobReopened { .. } => self.reopened()?,
            // A version may say nothing new but how it is to be run again.
            Event::JobRetuned { spec, .. } => self.sizes = (spec.workers.min, spec.workers.max),
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
            Event::ShardCommitted {
                shard,
                lease,
                verdict,
                ..
            } => {
                self.shard_committed(*shard, *lease, storage)?;
                if *verdict == Verdict::Fail {
                    self.not_passed.insert(*shard);
                }
            }
            Event::AttemptFailed {
                shard,
                lease,
                kind,
                quarantined,
                failure,
                ..
            } => {
                self.attempt_failed(*shard, *lease, (*kind, failure.exit_code), *quarantined)?;
            }
            Event::ShardsUnreachable { shards, .. } => self.unreachable(shards)?,
            Event::JobCancelled { .. } => self.cancelled = true,
            Event::JobEnded { end, .. } => {
                if self.end.replace(*end).is_some() {
                    return Err("the job ended twice".to_owned());
                }
                self.at_the_end()?;
                self.members.clear();
            }
            Event::JobDeleted { .. } => return Err("nobody deleted the job".to_owned()),
            Event::StageStarted { .. } => {}
            Event::SecondAttemptEnded { won, .. } => {
                self.second.0 += 1;
                self.second.1 += u64::from(*won);
            }
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
        let stands = storage.committed(&self.place(shard)?);
        if stands != Some(lease) {
            return Err(format!(
                "{shard:?}: the log says {lease}, the outputs are {stands:?}"
            ));
        }
        if lease < self.first_lease {
            return Err(format!(
                "{shard:?}: outputs of an earlier version, by {lease}, were adopted"
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
            let (pending, missing) = self.stands(need.stage);
            if !need.per_shard && (pending > 0 || missing > self.may_miss(need.stage)) {
                return Err(format!(
                    "{shard:?} ran, and of stage {} {pending} were pending and {missing} missing",
                    need.stage
                ));
            }
        }
        Ok(())
    }

    /// Shards that will never run, each for a reason.
    fn unreachable(&mut self, shards: &[ShardId]) -> Result<(), String> {
        if let Some(known) = shards.iter().find(|s| self.committed.contains_key(s)) {
            return Err(format!("{known:?} is committed and can't be reached"));
        }
        self.unreachable.extend(shards.iter().copied());
        let spec = self.spec.as_ref().ok_or("no job")?;
        for shard in shards {
            let lost =
                |one: &ShardId| self.quarantined.contains(one) || self.unreachable.contains(one);
            let why = spec.stages[shard.stage as usize].needs.iter().any(|need| {
                let one = ShardId {
                    stage: need.stage,
                    index: shard.index,
                };
                if need.per_shard {
                    lost(&one)
                } else {
                    self.stands(need.stage).1 > self.may_miss(need.stage)
                }
            });
            if !why {
                return Err(format!("{shard:?} was given up for nothing"));
            }
        }
        Ok(())
    }

    /// Shards of a stage that are pending, and that are missing for good.
    fn stands(&self, stage: u32) -> (usize, usize) {
        let count = self.keys.get(stage as usize).map_or(0, Vec::len);
        let of_stage = |s: &&ShardId| s.stage == stage;
        let done = self.committed.keys().filter(of_stage).count();
        let missing = self
            .quarantined
            .union(&self.unreachable)
            .filter(of_stage)
            .count();
        (count.saturating_sub(done + missing), missing)
    }

    fn may_miss(&self, stage: u32) -> usize {
        let spec = self
            .spec
            .as_ref()
            .and_then(|s| s.stages.get(stage as usize));
        let ppm = spec.map_or(0, |s| s.dispatch.allow_failed_ppm) as usize;
        self.keys.get(stage as usize).map_or(0, Vec::len) * ppm / 1_000_000
    }

    pub(crate) fn place(&self, shard: ShardId) -> Result<Place, String> {
        let key = self.keys.get(shard.stage as usize);
        let key = key.and_then(|keys| keys.get(shard.index as usize));
        let key = key.ok_or_else(|| format!("there is no {shard:?}"))?;
        Ok((shard.stage, key.clone()))
    }

    /// Members get no shards of local stages, and launchers no others.
    ///
    /// # Errors
    /// If they do.
    pub fn granted(&self, grants: &[LeaseGrant], launcher: bool) -> Result<(), String> {
        let spec = self.spec.as_ref().ok_or("a lease without a job")?;
        for grant in grants {
            let mode = spec.stages[grant.shard.stage as usize].dispatch.run_mode;
            if (mode == RunMode::Local) != launcher {
                return Err(format!("{grant:?} is for others than this worker"));
            }
        }
        Ok(())
    }

    /// The job, or a version of it: nothing of the earlier one counts but what is carried over.
    fn submitted(
        &mut self,
        spec: &JobSpec,
        work: &[StageWork],
        first_lease: LeaseId,
        replaces: bool,
    ) -> Result<(), String> {
        let keys = |(stage, work): (&petctl_spec::StageSpec, &StageWork)| match stage.kind {
            StageKind::Shards(_) => work.keys.clone(),
            StageKind::Once | StageKind::Train(_) => vec!["once".to_owned()],
        };
        let keys: Vec<Vec<String>> = spec.stages.iter().zip(work).map(keys).collect();
        let mut carried: BTreeMap<ShardId, LeaseId> = BTreeMap::new();
        for (stage, work_now) in (0_u32..).zip(work) {
            for run in &work_now.carried {
                for step in 0..run.count {
                    let (new, old) = (run.first + step, run.of + step);
                    let was = ShardId { stage, index: old };
                    let lease = self.committed.get(&was).copied();
                    let lease = lease.ok_or(format!("{was:?} is carried over and was not done"))?;
                    let at = stage as usize;
                    if keys[at][new as usize] != self.keys[at][old as usize] {
                        return Err(format!("{was:?} is carried over to another key"));
                    }
                    let (now, then) = (&work_now.contents, &self.work[at].contents);
                    let own = |c: &petctl_core::StageContents, i: u32| {
                        c.shards.get(i as usize).copied().unwrap_or_default()
                    };
                    if now.stage != then.stage || own(now, new) != own(then, old) {
                        return Err(format!("{was:?} is carried over and its content changed"));
                    }
                    let index = new;
                    carried.insert(ShardId { stage, index }, lease);
                    if !self.not_passed.contains(&was) {
                        continue;
                    }
                    self.carried_fails.insert(ShardId { stage, index });
                }
            }
        }
        for shard in carried.keys() {
            for need in &spec.stages[shard.stage as usize].needs {
                let one = ShardId {
                    stage: need.stage,
                    index: shard.index,
                };
                let all = carried.keys().filter(|s| s.stage == need.stage).count();
                let met = if need.per_shard {
                    carried.contains_key(&one)
                } else {
                    let at = need.stage as usize;
                    all == keys[at].len() && all == self.keys[at].len()
                };
                if !met {
                    return Err(format!("{shard:?} is carried over, and not what it needs"));
                }
            }
        }
        if replaces && first_lease < self.first_lease {
            return Err(format!(
                "a version begins with {first_lease} after {}",
                self.first_lease
            ));
        }
        self.reused += carried.len() as u64;
        let ended = self.end.is_some();
        self.members.clear();
        let keeps = work.iter().any(|work| work.keeps_group);
        self.training.submitted(spec);
        if replaces {
            self.training.replaced(keeps, ended);
        }
        self.not_passed = std::mem::take(&mut self.carried_fails);
        self.committed = carried;
        self.keys = keys;
        self.work = work.to_vec();
        self.first_lease = first_lease;
        self.sizes = (spec.workers.min, spec.workers.max);
        self.spec = Some(spec.clone());
        self.failed.clear();
        self.failures.clear();
        self.quarantined.clear();
        self.unreachable.clear();
        self.end = None;
        self.cancelled = false;
        Ok(())
    }

    /// What failed of it runs again.
    fn reopened(&mut self) -> Result<(), String> {
        if self.end.take().is_none() {
            return Err("a job that has not ended was reopened".to_owned());
        }
        self.cancelled = false;
        self.failures.clear();
        self.quarantined.clear();
        self.unreachable.clear();
        self.training.reopened();
        Ok(())
    }

    fn attempt_failed(
        &mut self,
        shard: ShardId,
        lease: LeaseId,
        (kind, exit_code): (FailureKind, Option<i32>),
        quarantined: bool,
    ) -> Result<(), String> {
        if !self.failed.insert(lease) {
            return Err(format!("attempt {lease} failed twice"));
        }
        if self.committed.contains_key(&shard) {
            return Err(format!("{shard:?} failed after its commit"));
        }
        let stage = self.spec.as_ref().map(|s| &s.stages[shard.stage as usize]);
        let (budgets, dispatch) = stage.map(|s| (s.budgets, &s.dispatch)).ok_or("no job")?;
        let count = self.failures.entry((shard, kind)).or_default();
        *count += 1;
        let codes = &dispatch.retry_on;
        let code = exit_code.and_then(|code| u8::try_from(code).ok());
        let hopeless = !codes.is_empty() && code.is_some_and(|code| !codes.contains(&code));
        let over = *count > budget(&budgets, kind) || hopeless;
        // Another attempt may run beside it.
        if over != quarantined && (quarantined || !dispatch.speculative) {
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
        let count = self.keys.get(stage as usize).map_or(0, Vec::len);
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
            // It was a version's that is no more.
            None if lease < self.first_lease => Ok(()),
            None => Err(format!(
                "the commit of {shard:?} by {lease} was acknowledged and is not durable"
            )),
        }
    }

    /// Invariant 4, on the outputs: nothing is published twice, and no attempt publishes after its folder was taken.
    ///
    /// # Errors
    /// What was.
    pub fn outputs(&mut self, storage: &Storage) -> Result<(), String> {
        for new in storage.publications.get(self.seen..).unwrap_or_default() {
            self.seen += 1;
            let (place, lease) = (&new.place, new.lease);
            if let Some(before) = self.published.insert(place.clone(), lease)
                && before >= new.replaces_below
            {
                return Err(format!(
                    "{place:?} was published by {before} and again by {lease}"
                ));
            }
            if storage.fenced.contains(&lease) {
                return Err(format!(
                    "{place:?} was published by {lease} although it was fenced"
                ));
            }
        }
        let shards = self.committed.iter();
        for (shard, lease) in shards.filter(|(s, _)| !self.training.is_stage(s.stage)) {
            let stands = storage.committed(&self.place(*shard)?);
            if stands != Some(*lease) {
                return Err(format!(
                    "{shard:?}: the log says {lease}, the outputs are {stands:?}"
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
        let Some(end) = self.end else {
            return Err("no end".to_owned());
        };
        let total = self.keys.iter().map(Vec::len).sum::<usize>() as u64;
        let done = self.committed.len() as u64;
        let expected = if done == total && self.not_passed.is_empty() {
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
