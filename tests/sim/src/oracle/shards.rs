//! What must hold of shards: committed once, given up for a reason, and never doubted once acknowledged.

use super::Oracle;
use crate::output::{Name, Output};
use petctl_core::{FailureKind, LeaseGrant, LeaseId, ShardId};
use petctl_spec::{Budgets, RunMode};

impl Oracle {
    /// Invariant 4: once, whole, and what the log says is what stands.
    pub(super) fn shard_committed(
        &mut self,
        shard: ShardId,
        name: Name,
        output: &Output,
    ) -> Result<(), String> {
        if let Some(before) = self.committed.insert(shard, name) {
            return Err(format!(
                "{shard:?} was committed by {before:?} and again by {name:?}"
            ));
        }
        self.stands_there(shard, name, output)?;
        if self.quarantined.contains(&shard) || self.unreachable.contains(&shard) {
            return Err(format!("{shard:?} was committed after it was given up"));
        }
        if self.skipped.contains(&shard) {
            return Err(format!("{shard:?} was committed after it was skipped"));
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
            if need.per_shard && !self.committed.contains_key(&one) && !self.skipped.contains(&one)
            {
                return Err(format!("{shard:?} ran before {one:?}"));
            }
            if need.per_shard && self.was_skipped(&one) && !self.runs_after_skip(shard.stage) {
                return Err(format!("{shard:?} ran, and {one:?} was skipped"));
            }
            if !need.per_shard && self.too_few(need.stage) {
                return Err(format!(
                    "{shard:?} ran, and too few of stage {} were done",
                    need.stage
                ));
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
    pub(super) fn unreachable(&mut self, shards: &[ShardId]) -> Result<(), String> {
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
                        || self.too_few(need.stage)
                }
            });
            if !why {
                return Err(format!("{shard:?} was given up for nothing"));
            }
        }
        Ok(())
    }

    /// Shards that did not run, each because one that it needs was skipped.
    pub(super) fn skipped(&mut self, shards: &[ShardId]) -> Result<(), String> {
        for shard in shards {
            let ended = self.committed.contains_key(shard)
                || self.quarantined.contains(shard)
                || self.unreachable.contains(shard);
            if ended || !self.skipped.insert(*shard) {
                return Err(format!("{shard:?} had ended when it was skipped"));
            }
        }
        let spec = self.spec.as_ref().ok_or("no job")?;
        for shard in shards {
            let mut needs = spec.stages[shard.stage as usize].needs.iter();
            let why = needs.any(|need| {
                let one = ShardId {
                    stage: need.stage,
                    index: shard.index,
                };
                need.per_shard && self.was_skipped(&one)
            });
            if !why || self.runs_after_skip(shard.stage) {
                return Err(format!("{shard:?} was skipped for nothing"));
            }
        }
        Ok(())
    }

    fn was_skipped(&self, shard: &ShardId) -> bool {
        self.skipped.contains(shard) || self.skips.contains(shard)
    }

    fn runs_after_skip(&self, stage: u32) -> bool {
        let spec = self.spec.as_ref();
        spec.is_some_and(|s| s.stages[stage as usize].dispatch.run_after_skip)
    }

    /// A stage has ended, and less of it was really done than must be.
    pub(super) fn too_few(&self, stage: u32) -> bool {
        let spec = self.spec.as_ref().map(|s| &s.stages[stage as usize]);
        let count = self.keys.get(stage as usize).map_or(0, Vec::len) as u64;
        let min = spec.map_or(0, |s| s.dispatch.min_done.of(count));
        let done = self.committed.keys().filter(|s| s.stage == stage);
        let really = done.filter(|s| !self.skips.contains(s)).count() as u64;
        self.stands(stage).0 == 0 && really < min
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
        let skipped = self.skipped.iter().filter(of_stage).count();
        (count.saturating_sub(done + missing + skipped), missing)
    }

    fn may_miss(&self, stage: u32) -> usize {
        let spec = self
            .spec
            .as_ref()
            .and_then(|s| s.stages.get(stage as usize));
        let ppm = spec.map_or(0, |s| s.dispatch.allow_failed_ppm) as usize;
        self.keys.get(stage as usize).map_or(0, Vec::len) * ppm / 1_000_000
    }

    pub(super) fn attempt_failed(
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
    pub(super) fn deadline_passed(&mut self, stage: u32) -> Result<(), String> {
        let count = self.keys.get(stage as usize).map_or(0, Vec::len);
        for index in 0..u32::try_from(count).unwrap_or(0) {
            let shard = ShardId { stage, index };
            let ended = self.committed.contains_key(&shard)
                || self.unreachable.contains(&shard)
                || self.skipped.contains(&shard);
            if !ended {
                self.quarantined.insert(shard);
            }
        }
        Ok(())
    }

    /// Members get no shards of local stages, and local-stage workers no others.
    ///
    /// # Errors
    /// If they do.
    pub fn granted(&self, grants: &[LeaseGrant], local: bool) -> Result<(), String> {
        let spec = self.spec.as_ref().ok_or("a lease without a job")?;
        for grant in grants {
            let mode = spec.stages[grant.shard.stage as usize].dispatch.run_mode;
            if (mode == RunMode::Local) != local {
                return Err(format!("{grant:?} is for others than this worker"));
            }
        }
        Ok(())
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
            None if self.given_up_until.is_some_and(|last| lease <= last) => Ok(()),
            None if self.undone.get(&shard).is_some_and(|last| lease <= *last) => Ok(()),
            // It was a version's that is no more.
            None if lease < self.first_lease => Ok(()),
            None => Err(format!(
                "the commit of {shard:?} by {lease} was acknowledged and is not durable"
            )),
        }
    }

    /// A copy of the log from before takes the place of what this one knows, or nothing does.
    pub fn forgets(&mut self, copy: Self) {
        let committed = self.committed.keys();
        let latest = committed.filter_map(|shard| Some((*shard, *self.latest.get(shard)?)));
        let undone = latest.collect();
        *self = copy;
        self.undone = undone;
        self.has_output = false;
    }

    /// What is recorded as done is there, and whole: for whoever has the output, from the look to the end.
    ///
    /// # Errors
    /// What is not.
    pub fn outputs(&self, output: &Output) -> Result<(), String> {
        let shards = self.committed.iter();
        for (shard, name) in shards.filter(|(s, _)| !self.training.is_stage(s.stage)) {
            self.stands_there(*shard, *name, output)?;
        }
        Ok(())
    }

    fn stands_there(&self, shard: ShardId, name: Name, output: &Output) -> Result<(), String> {
        let place = self.place(shard)?;
        if !self.has_output || self.excused.contains(&place) {
            return Ok(());
        }
        match output.stands(&place) {
            Some(files) if files.name != name => Err(format!(
                "{shard:?}: the log says {name:?}, the outputs are {:?}",
                files.name
            )),
            None => Err(format!(
                "{shard:?}: the log says {name:?}, and no outputs are there"
            )),
            Some(files) if !files.whole => Err(format!(
                "{shard:?}: the log says {name:?}, whose outputs are damaged"
            )),
            Some(_) => Ok(()),
        }
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
