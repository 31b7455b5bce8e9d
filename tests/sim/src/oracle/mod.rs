//! What must hold after every step, told from the durable records and the shared outputs alone.

pub mod contents;
pub mod outputs;
mod shards;
mod training;
mod versions;

use crate::cluster::Cluster;
use crate::output::{Name, Output, Place};
use contents::Truths;
use petctl_core::{
    CheckpointReport, Code, EndState, Epoch, Event, FailureKind, GroupStart, LeaseId, Record,
    ShardId, StageWork, Verdict, WorkerId,
};
use petctl_spec::JobSpec;
use std::collections::{BTreeMap, BTreeSet};
use training::TrainingOracle;

/// An independent reading of the event log.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    spec: Option<JobSpec>,
    sequence: u64,
    incarnation: u32,
    /// The log's.
    pub lineage: u64,
    sizes: (u32, u32),
    training: TrainingOracle,
    epoch: u64,
    members: Vec<WorkerId>,
    /// Whose outputs are recorded, with the shard they stand for.
    pub committed: BTreeMap<ShardId, Name>,
    failed: BTreeSet<LeaseId>,
    failures: BTreeMap<(ShardId, FailureKind), u32>,
    quarantined: BTreeSet<ShardId>,
    unreachable: BTreeSet<ShardId>,
    /// Did not run, because what they need was skipped.
    skipped: BTreeSet<ShardId>,
    /// Committed with the word that there was nothing to do.
    skips: BTreeSet<ShardId>,
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
    /// The last lease of each shard.
    latest: BTreeMap<ShardId, LeaseId>,
    /// The last lease of those shards that were given up before the job was reopened.
    given_up_until: Option<LeaseId>,
    /// The last lease of each shard that was committed and is not in the copy of the log that was put back: what was said
    /// of those is on its way.
    undone: BTreeMap<ShardId, LeaseId>,
    /// The run of this log has the output, and has looked at it.
    pub has_output: bool,
    /// Where the outputs of this log's job may be moved, because somebody strayed who has no right to.
    pub excused: BTreeSet<Place>,
    /// Shards that were taken over from others.
    pub taken: u64,
    /// Shards that were carried over.
    pub reused: u64,
    /// Second attempts, and those that were faster.
    pub second: (u64, u64),
}

impl Oracle {
    /// Of a log whose runs have the output all the time.
    #[must_use]
    pub fn of_all() -> Self {
        Self {
            has_output: true,
            ..Self::default()
        }
    }

    /// The last record that was read.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Takes a record that became durable.
    ///
    /// # Errors
    /// The invariant that it breaks.
    pub fn durable(
        &mut self,
        record: &Record,
        (output, truths): (&Output, &Truths),
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
            Event::CoordinatorStarted {
                incarnation,
                lineage,
                ..
            } => {
                if self.lineage != 0 && self.lineage != lineage.0 {
                    return Err(format!("a log of {} goes on as {lineage}", self.lineage));
                }
                self.lineage = lineage.0;
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
                if self.committed.insert(*shard, Name::default()).is_some() {
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
                foreign,
                verdict,
                ..
            } => {
                let name = Name {
                    lineage: foreign.map_or(self.lineage, |lineage| lineage.0),
                    lease: lease.0,
                };
                self.shard_committed(*shard, name, output)?;
                if self.has_output && !self.excused.contains(&self.place(*shard)?) {
                    self.made_of_the_same(*shard, output, truths)?;
                }
                if *verdict == Verdict::Fail {
                    self.not_passed.insert(*shard);
                }
                if *verdict == Verdict::Skipped {
                    self.skips.insert(*shard);
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
                let later = self.latest.get(shard).is_some_and(|latest| latest > lease);
                if later && failure.code == Code::Overtaken.as_str() {
                    return Err(format!(
                        "{lease} of {shard:?} was charged for being overtaken"
                    ));
                }
                self.attempt_failed(*shard, *lease, (*kind, failure.exit_code), *quarantined)?;
            }
            Event::ShardsUnreachable { shards, .. } => self.unreachable(shards)?,
            Event::ShardsSkipped { shards, .. } => self.skipped(shards)?,
            Event::JobCancelled { .. } => self.cancelled = true,
            Event::JobEnded { end, .. } => {
                if self.end.replace(*end).is_some() {
                    return Err("the job ended twice".to_owned());
                }
                self.at_the_end()?;
                self.members.clear();
            }
            Event::JobDeleted { .. } => return Err("nobody deleted the job".to_owned()),
            Event::StageStarted { .. } | Event::WorkerEnded { .. } => {}
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

    pub(crate) fn place(&self, shard: ShardId) -> Result<Place, String> {
        let key = self.keys.get(shard.stage as usize);
        let key = key.and_then(|keys| keys.get(shard.index as usize));
        let key = key.ok_or_else(|| format!("there is no {shard:?}"))?;
        Ok((shard.stage, key.clone()))
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
    pub fn checkpoint_answered(
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
        let skipped = self.skipped.len() as u64;
        let few = (0_u32..).zip(&self.keys).any(|(s, _)| self.too_few(s));
        let expected = if done + skipped == total && self.not_passed.is_empty() && !few {
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
        if !self.cancelled && done + skipped + given_up != total {
            return Err(format!(
                "{done} done, {skipped} skipped and {given_up} given up of {total}"
            ));
        }
        Ok(())
    }
}
