//! What must hold of training, told from the durable records, the orders and the processes themselves.

use crate::cluster::Cluster;
use petctl_core::{Charge, CheckpointReport, Event, GroupStart, WorkerId};
use petctl_spec::{JobSpec, StageKind, TrainSpec};
use std::collections::{BTreeMap, BTreeSet};

/// An independent reading of a training's events.
#[derive(Clone, Debug, Default)]
pub(super) struct TrainingOracle {
    stage: Option<u32>,
    rules: Option<TrainSpec>,
    lost_budget: u32,
    suspended: bool,
    /// The newest epoch that was started, when, and who is in it.
    started: Option<Started>,
    started_epochs: BTreeSet<u64>,
    /// Orders by epoch and rank among the workers.
    orders: BTreeMap<(u64, u32), GroupStart>,
    stopped_on_purpose: BTreeSet<u64>,
    failed_epochs: BTreeSet<u64>,
    used: (u32, u32),
    over: bool,
    /// Kept checkpoints, newest first: epoch, step, path.
    kept: Vec<(u64, u64, String)>,
    ever_kept: BTreeSet<(u64, u64, String)>,
    disturbed_until: u64,
}

#[derive(Clone, Debug)]
struct Started {
    epoch: u64,
    at: u64,
    members: Vec<WorkerId>,
    world_size: u32,
    resume_step: Option<u64>,
}

impl TrainingOracle {
    pub(crate) fn submitted(&mut self, spec: &JobSpec) {
        let found = (0..)
            .zip(&spec.stages)
            .find_map(|(index, stage)| match &stage.kind {
                StageKind::Train(train) => Some((index, train.clone(), stage.budgets.worker_lost)),
                StageKind::Shards(_) | StageKind::Once => None,
            });
        if let Some((stage, rules, lost_budget)) = found {
            self.stage = Some(stage);
            self.rules = Some(rules);
            self.lost_budget = lost_budget;
        }
    }

    /// A newer version of the job: its training goes on, or starts anew.
    pub(crate) fn replaced(&mut self, keeps: bool, ended: bool) {
        if !keeps {
            self.kept.clear();
        }
        if !keeps || ended {
            self.reopened();
        }
        self.suspended = false;
    }

    /// Its budgets are fresh.
    pub(crate) fn reopened(&mut self) {
        self.used = (0, 0);
        self.over = false;
        self.suspended = false;
    }

    pub(crate) fn is_stage(&self, stage: u32) -> bool {
        self.stage == Some(stage)
    }

    pub(crate) fn disturbed(&mut self, until: u64) {
        self.disturbed_until = self.disturbed_until.max(until);
    }

    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        (
            self.started_epochs.len() as u64,
            self.failed_epochs.len() as u64,
            self.ever_kept.len() as u64,
        )
    }

    pub(crate) fn durable(
        &mut self,
        event: &Event,
        newest: u64,
        members: &[WorkerId],
        now: u64,
    ) -> Result<(), String> {
        match event {
            Event::JobSuspended { .. } => self.suspended = true,
            Event::JobResumed { .. } => self.suspended = false,
            Event::GroupStarted {
                epoch,
                world_size,
                resume_step,
                ..
            } => {
                if epoch.0 != newest {
                    return Err(format!("epoch {epoch} starts, the newest is {newest}"));
                }
                if !self.started_epochs.insert(epoch.0) {
                    return Err(format!("epoch {epoch} starts twice"));
                }
                if self.suspended {
                    return Err(format!(
                        "epoch {epoch} starts although the job is suspended"
                    ));
                }
                let newest_step = self.kept.first().map(|(_, step, _)| *step);
                if *resume_step != newest_step {
                    return Err(format!(
                        "epoch {epoch} goes on from {resume_step:?}, the newest checkpoint is {newest_step:?}"
                    ));
                }
                self.started = Some(Started {
                    epoch: epoch.0,
                    at: now,
                    members: members.to_vec(),
                    world_size: *world_size,
                    resume_step: *resume_step,
                });
            }
            Event::GroupStopping { epoch, .. } => {
                self.stopped_on_purpose.insert(epoch.0);
            }
            Event::GroupFailed {
                cause,
                restarts_used,
                lost_used,
                ..
            } => self.failed(cause.epoch.0, cause.charged, (*restarts_used, *lost_used))?,
            Event::CheckpointCommitted {
                epoch, step, path, ..
            } => self.checkpoint(epoch.0, newest, *step, path)?,
            Event::CoordinatorStarted { .. }
            | Event::JobSubmitted { .. }
            | Event::SecondAttemptEnded { .. }
            | Event::JobReopened { .. }
            | Event::JobRetuned { .. }
            | Event::PoolScaled { .. }
            | Event::EpochFormed { .. }
            | Event::QuorumLost { .. }
            | Event::ShardCommitted { .. }
            | Event::AttemptFailed { .. }
            | Event::ShardsUnreachable { .. }
            | Event::ShardsSkipped { .. }
            | Event::WorkerEnded { .. }
            | Event::JobCancelled { .. }
            | Event::JobEnded { .. }
            | Event::JobDeleted { .. }
            | Event::StageStarted { .. }
            | Event::StageDeadlinePassed { .. } => {}
        }
        Ok(())
    }

    /// Charged once for each epoch that failed, by one, and only if something did fail.
    fn failed(&mut self, epoch: u64, charged: Charge, used: (u32, u32)) -> Result<(), String> {
        if !self.failed_epochs.insert(epoch) {
            return Err(format!("epoch {epoch} was charged twice"));
        }
        if self.stopped_on_purpose.contains(&epoch) {
            return Err(format!("epoch {epoch} was stopped on purpose, and charged"));
        }
        let Some(Started {
            epoch: started, at, ..
        }) = &self.started
        else {
            return Err(format!("epoch {epoch} failed and never started"));
        };
        if *started != epoch {
            return Err(format!(
                "epoch {epoch} failed, the newest that started is {started}"
            ));
        }
        if self.disturbed_until < *at {
            return Err(format!("epoch {epoch} was charged, and nothing had failed"));
        }
        let rules = self.rules.as_ref().ok_or("a failure without a training")?;
        let (max_restarts, lost_budget) = (rules.max_restarts, self.lost_budget);
        let one_more = |before: (u32, u32)| match charged {
            Charge::Restart => ((before.0 + 1).min(max_restarts), before.1),
            Charge::WorkerLost => (before.0, (before.1 + 1).min(lost_budget)),
            Charge::Nothing => before,
        };
        self.over = match charged {
            Charge::Restart => used.0 == max_restarts && (used == self.used || max_restarts == 0),
            Charge::WorkerLost => used.1 == lost_budget && (used == self.used || lost_budget == 0),
            Charge::Nothing => false,
        };
        if used != one_more(self.used) && used != one_more((0, 0)) {
            return Err(format!(
                "epoch {epoch} was charged {charged:?}: {used:?} after {:?}",
                self.used
            ));
        }
        self.used = used;
        Ok(())
    }

    /// It failed for good, which wants a budget that is used up.
    pub(crate) fn failed_for_good(&self, quarantined: bool) -> Result<(), String> {
        if quarantined && self.over {
            Ok(())
        } else {
            Err(format!("the training failed with budgets {:?}", self.used))
        }
    }

    pub(crate) fn succeeded(&self, newest: u64, cluster: &Cluster) -> Result<(), String> {
        match &self.started {
            Some(started) if started.epoch == newest && cluster.all_succeeded(newest) => Ok(()),
            _ => Err(format!(
                "epoch {newest} succeeded, and not all of its processes did"
            )),
        }
    }

    fn checkpoint(&mut self, epoch: u64, newest: u64, step: u64, path: &str) -> Result<(), String> {
        if epoch != newest || !self.started_epochs.contains(&epoch) {
            return Err(format!(
                "a checkpoint of epoch {epoch} was kept in epoch {newest}"
            ));
        }
        let entry = (epoch, step, path.to_owned());
        if !self.ever_kept.insert(entry.clone()) && self.kept.contains(&entry) {
            return Err(format!("the checkpoint {path} was kept twice"));
        }
        self.kept.retain(|(_, s, p)| *s != step && p != path);
        self.kept.push(entry);
        self.kept
            .sort_by_key(|(epoch, step, _)| std::cmp::Reverse((*epoch, *step)));
        let keep = self.rules.as_ref().map_or(1, |r| r.keep_checkpoints);
        self.kept.truncate(keep.max(1) as usize);
        Ok(())
    }

    pub(crate) fn acknowledged(
        &self,
        report: &CheckpointReport,
        kept: bool,
        drop: &[String],
    ) -> Result<(), String> {
        if let Some((.., path)) = self.kept.iter().find(|(.., p)| drop.contains(p)) {
            return Err(format!("the kept checkpoint {path} is dropped"));
        }
        let entry = (report.epoch.0, report.step, report.path.clone());
        // One that is older than all that are kept is not kept, and said to be dropped.
        let superseded = drop.contains(&report.path);
        if kept && !superseded && !self.ever_kept.contains(&entry) {
            return Err(format!(
                "the checkpoint {} was acknowledged and is not durable",
                report.path
            ));
        }
        Ok(())
    }

    /// Ranks are 0..n-1 in the members' order, each once, and every order of an epoch says the same.
    pub(crate) fn start_sent(&mut self, start: &GroupStart) -> Result<(), String> {
        let Some(Started {
            epoch,
            members,
            world_size,
            resume_step,
            ..
        }) = &self.started
        else {
            return Err("an order to start before it is durable".to_owned());
        };
        if start.epoch.0 != *epoch {
            return Err(format!(
                "an order to start epoch {}, the newest is {epoch}",
                start.epoch
            ));
        }
        if start.world_size != *world_size || start.group_world_size as usize != members.len() {
            return Err(format!(
                "epoch {epoch} has another size for one of its workers"
            ));
        }
        let resume = start.resume.as_ref().map(|c| c.step);
        if resume != *resume_step {
            return Err(format!(
                "epoch {epoch} goes on from {resume_step:?}, one of its workers from {resume:?}"
            ));
        }
        let key = (*epoch, start.group_rank);
        if let Some(before) = self.orders.insert(key, start.clone())
            && (before.first_rank, before.processes, &before.master)
                != (start.first_rank, start.processes, &start.master)
        {
            return Err(format!("epoch {epoch} has two orders for one worker"));
        }
        let orders: Vec<&GroupStart> = self
            .orders
            .range((*epoch, 0)..=(*epoch, u32::MAX))
            .map(|(_, order)| order)
            .collect();
        if orders.len() < members.len() {
            return Ok(());
        }
        let mut next = 0;
        for (order, group_rank) in orders.iter().zip(0..) {
            if order.group_rank != group_rank || order.first_rank != next {
                return Err(format!(
                    "the ranks of epoch {epoch} are not 0..n-1, each once"
                ));
            }
            next += order.processes;
        }
        if next != *world_size || orders.len() != members.len() {
            return Err(format!("epoch {epoch} has {next} ranks of {world_size}"));
        }
        Ok(())
    }
}
