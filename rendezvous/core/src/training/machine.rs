//! The state machine of training: workers gather, an epoch forms and runs, and grows or shrinks.

use crate::members::pool::Sizes;
use crate::training::cause::is_left_out;
use crate::training::forming::{Forming, Present, Resizing, fewest, form, resize, target};
use crate::training::starting::PREPARE_TIMEOUTS;
use crate::training::{Doing, Hang, Training, Why};
use crate::volatile::worker::Standing;
use crate::{
    Code, Core, Effect, Epoch, Event, Group, Job, JobId, LeaveReason, Millis, Phase, Refusal,
    ToWorker, WorkerId,
};
use petctl_spec::{StageKind, TrainSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Who could be in the next epoch, in rank order.
#[derive(Clone, Debug, Default)]
struct Roll {
    members: Vec<WorkerId>,
    candidates: Vec<WorkerId>,
    /// Of either kind, those that failed too often.
    left_out: Vec<WorkerId>,
}

/// How long something that could not be done at its time waits.
const AGAIN_MS: u64 = 500;

impl Core {
    /// Whether a training group has the job's workers. It begins when nothing else of the job can run.
    pub(crate) fn in_training(&mut self, id: JobId) -> bool {
        let now = self.now;
        let leased = self.volatile.leases.of_job(id).next().is_some();
        let Some((job, volatile)) = self.job(id) else {
            return false;
        };
        if volatile.training.is_some() {
            return true;
        }
        let may = volatile.seeded
            && job.end.is_none()
            && job.cancelled.is_none()
            && volatile.ready == 0
            && volatile.backoff.is_empty()
            && !leased;
        let Some(stage) = volatile.trainings.first().copied().filter(|_| may) else {
            return false;
        };
        volatile.trainings.remove(&stage);
        let fresh = job.members.is_empty() || group(job, stage).is_none_or(|g| g.epoch == Epoch(0));
        volatile.training = Some(Training::new(stage, fresh, now));
        true
    }

    /// Members went, workers came or sizes changed, while a group has the job's workers.
    pub(crate) fn regroup(&mut self, id: JobId, left: Vec<(WorkerId, LeaveReason)>) {
        if let Some(training) = self.volatile.training_mut(id) {
            for (worker, reason) in &left {
                training.left.entry(*worker).or_insert(*reason);
            }
        }
        for (worker, reason) in left {
            self.part_left(id, worker, reason);
        }
        self.train(id);
    }

    /// Moves a group as far as it can go now.
    pub(crate) fn train(&mut self, id: JobId) {
        let Some(training) = self.volatile.training(id) else {
            return;
        };
        match training.doing {
            Doing::Gathering => self.gather(id),
            Doing::Preparing(epoch) => self.prepare_on(id, epoch),
            Doing::Running(_) => self.run_on(id, false),
            Doing::Stopping(..) => self.stop_on(id),
        }
        self.set_group_deadline(id);
    }

    /// Forms an epoch if enough workers are there.
    pub(crate) fn gather(&mut self, id: JobId) {
        if self.group_blocked(id).is_some() {
            return;
        }
        let (Some(job), Some(volatile)) = (self.state.jobs.get(&id), self.volatile.jobs.get(&id))
        else {
            return;
        };
        let Some(training) = &volatile.training else {
            return;
        };
        // A member whose stream is broken decides itself in a moment.
        if !volatile.absent.is_empty() {
            return;
        }
        let sizes = sizes(job);
        let settled = self.now.since(training.since) >= job.spec.workers.settle_timeout_ms;
        let fresh = training.fresh;
        let most = job.members.len().saturating_sub(training.left.len()) + self.volatile.free.len();
        if most < fewest(sizes) {
            return self.too_few(id);
        }
        if fresh && !settled && most < target(sizes) {
            return;
        }
        let roll = self.roll(id);
        let present = Present {
            members: roll.members.len(),
            candidates: roll.candidates.len(),
            left_out: roll.left_out.len(),
        };
        match form(sizes, present, fresh, settled) {
            Forming::TooFew => self.too_few(id),
            Forming::Settle => {}
            Forming::Form { size, left_out } => self.form_group(id, roll, size, left_out),
        }
    }

    /// Why no epoch may form now, whoever is there.
    pub(crate) fn group_blocked(&self, id: JobId) -> Option<Code> {
        let (job, volatile) = (self.state.jobs.get(&id)?, self.volatile.jobs.get(&id)?);
        if !volatile.expected.is_empty() || !volatile.seeded {
            Some(Code::Recovering)
        } else if self.volatile.draining.is_some() {
            Some(Code::CoordinatorDraining)
        } else if job.cancelled.is_some() {
            Some(Code::JobCancelled)
        } else if job.suspended.is_some() {
            Some(Code::Suspended)
        } else {
            None
        }
    }

    fn too_few(&mut self, id: JobId) {
        let Some((job, volatile)) = self.job(id) else {
            return;
        };
        let formed = job.formed;
        let Some(training) = &mut volatile.training else {
            return;
        };
        let left = std::mem::take(&mut training.left);
        if formed && !training.fresh || !left.is_empty() {
            self.record(Event::QuorumLost {
                job: id,
                left: left.iter().map(|(w, r)| (*w, *r)).collect(),
            });
            self.send_away(&left);
            self.effect(Effect::Changed(id));
        }
    }

    /// Who could be in the next epoch.
    fn roll(&self, id: JobId) -> Roll {
        let candidates = self.candidates(id);
        let (Some(job), Some(training)) = (self.state.jobs.get(&id), self.volatile.training(id))
        else {
            return Roll::default();
        };
        let Some((group, train)) = rules(job, training.stage) else {
            return Roll::default();
        };
        let mut roll = Roll::default();
        for membership in &job.members {
            let member = &membership.member;
            if training.left.contains_key(&member.worker) {
                continue;
            }
            let out = group.is_some_and(|g| is_left_out(g, train, &member.name, &member.host));
            if out {
                roll.left_out.push(member.worker);
            } else {
                roll.members.push(member.worker);
            }
        }
        for id in candidates {
            let Some(worker) = self.volatile.workers.get(&id) else {
                continue;
            };
            let hello = &worker.hello;
            let out = group.is_some_and(|g| is_left_out(g, train, &hello.name, &hello.host));
            if out {
                roll.left_out.push(id);
            } else {
                roll.candidates.push(id);
            }
        }
        roll
    }

    fn form_group(&mut self, id: JobId, roll: Roll, size: usize, left_out: usize) {
        let Some((job, volatile)) = self.job(id) else {
            return;
        };
        let Some(training) = &mut volatile.training else {
            return;
        };
        let mut left = std::mem::take(&mut training.left);
        let wanted = job.spec.workers.wanted.min(job.spec.workers.max) as usize;
        let members: Vec<WorkerId> = job
            .members
            .iter()
            .map(|m| m.member.worker)
            .filter(|w| !left.contains_key(w))
            .collect();
        let is_member: BTreeSet<WorkerId> = members.iter().copied().collect();
        let (taken, rest) = roll.left_out.split_at(left_out);
        let rest: BTreeSet<WorkerId> = rest.iter().copied().collect();
        // Survivors in their order, those of the left out that are needed among them.
        let staying: Vec<WorkerId> = members
            .iter()
            .filter(|w| !rest.contains(w))
            .copied()
            .collect();
        let keep = staying.len().min(size);
        let mut joined = roll.candidates;
        joined.extend(taken.iter().filter(|w| !is_member.contains(w)));
        joined.truncate(size - keep);
        // Beyond the wanted count they may go; where `unit` leaves no place for them, they wait outside.
        let excess = staying.len().saturating_sub(wanted.max(keep));
        let (spared, drained) = staying[keep..].split_at(staying.len() - keep - excess);
        let drained = drained.to_vec();
        let spared: Vec<WorkerId> = rest
            .intersection(&is_member)
            .chain(spared)
            .copied()
            .collect();
        self.by_node_rank(&mut joined);
        left.extend(drained.iter().map(|w| (*w, LeaveReason::ScaledDown)));
        left.extend(spared.iter().map(|w| (*w, LeaveReason::LeftOut)));
        let left_now = left.iter().map(|(w, r)| (*w, *r)).collect();
        self.form(id, joined, left_now);
        left.retain(|_, reason| *reason != LeaveReason::ScaledDown);
        self.send_away(&left);
        for worker in drained {
            self.drain_worker(worker, "the pool shrank");
        }
        for worker in spared {
            self.spare(id, worker);
        }
        self.prepare(id);
        self.admit_others(id);
    }

    /// Joiners of which each has a place of its own take their places.
    fn by_node_rank(&self, joined: &mut [WorkerId]) {
        let ranks: Option<BTreeMap<WorkerId, u32>> = joined
            .iter()
            .map(|w| Some((*w, self.volatile.workers.get(w)?.hello.node_rank?)))
            .collect();
        if let Some(ranks) = ranks {
            joined.sort_by_key(|w| ranks.get(w).copied());
        }
    }

    /// Those who were asked to go may do so: nothing of them runs any more.
    pub(crate) fn send_away(&mut self, left: &BTreeMap<WorkerId, LeaveReason>) {
        for (worker, reason) in left {
            match reason {
                LeaveReason::Drained => {
                    self.send(*worker, ToWorker::Drain("it was drained".to_owned()));
                }
                LeaveReason::ScaledDown => {
                    self.send(*worker, ToWorker::Drain("the pool shrank".to_owned()));
                }
                LeaveReason::Gone
                | LeaveReason::Silent
                | LeaveReason::Left
                | LeaveReason::NotBack
                | LeaveReason::JobEnded
                | LeaveReason::LeftOut => {}
            }
        }
    }

    /// A member waits outside from here on.
    fn spare(&mut self, job: JobId, id: WorkerId) {
        let Some(worker) = self.volatile.workers.get(&id) else {
            return;
        };
        if worker.hello.job.is_empty() {
            // Another job may have it.
            let refusal = Refusal::new(Code::MembershipChanged, "the group goes on without it");
            self.send(id, ToWorker::Release(refusal));
        }
        let Some(worker) = self.volatile.workers.get_mut(&id) else {
            return;
        };
        worker.standing = Standing::Free;
        if let Some(volatile) = self.volatile.jobs.get_mut(&job) {
            volatile.idle.remove(&id);
            volatile.hungry.remove(&id);
            volatile.absent.remove(&id);
        }
        self.feed(id);
    }

    /// The processes run: is all well, does somebody wait?
    pub(crate) fn run_on(&mut self, id: JobId, checkpoint: bool) {
        let now = self.now;
        let slack_ms = self.config.heartbeat_interval_ms;
        let recovering = self.group_blocked(id) == Some(Code::Recovering);
        let Some((job, volatile)) = self.job(id) else {
            return;
        };
        let Some(training) = &mut volatile.training else {
            return;
        };
        let Some((_, train)) = rules(job, training.stage) else {
            return;
        };
        if training.alive == 0 {
            return self.succeed(id);
        }
        let quiet_ms = now.since(training.last_active);
        let timeout_ms = train.progress_timeout_ms;
        if timeout_ms > 0 && quiet_ms >= timeout_ms.saturating_add(slack_ms) && !recovering {
            training.hang = Some(Hang { at: now, quiet_ms });
            let message = format!("nothing happened for {} s", quiet_ms / 1_000);
            return self.stop(id, Why::Fault, Code::RankHung, message);
        }
        // Nobody joins a group of which some are through already.
        if training.succeeded > 0 || recovering {
            return;
        }
        let (sizes, size, grow) = (sizes(job), training.parts.len(), train.grow);
        let mut waiting = 0;
        if size < target(sizes) && !self.volatile.free.is_empty() {
            waiting = self.roll(id).candidates.len();
        }
        match resize(sizes, size, waiting, grow, checkpoint) {
            Resizing::Stay | Resizing::GrowLater => {}
            Resizing::Grow => {
                let workers = crate::view::wording::count(waiting, "worker");
                let join = if waiting == 1 { "joins" } else { "join" };
                let message = format!("{workers} {join}");
                self.stop(id, Why::Purpose, Code::MembershipChanged, message);
            }
            Resizing::Shrink => {
                let message = format!("{} workers are wanted", target(sizes));
                self.stop(id, Why::Purpose, Code::MembershipChanged, message);
            }
        }
    }

    /// Sets when something of a group may be due.
    pub(crate) fn set_group_deadline(&mut self, id: JobId) {
        let at = self.group_deadline(id);
        // What can't be done now, while members may still come back, is tried again.
        let soon = self.now.plus(AGAIN_MS);
        let at = at.map(|at| if at <= self.now { soon } else { at });
        self.volatile.group_deadlines.set(id, at);
    }

    fn group_deadline(&self, id: JobId) -> Option<Millis> {
        let (job, training) = (self.state.jobs.get(&id)?, self.volatile.training(id)?);
        let (_, train) = rules(job, training.stage)?;
        match training.doing {
            Doing::Gathering => {
                let at = training.since.plus(job.spec.workers.settle_timeout_ms);
                (training.fresh && at > self.now).then_some(at)
            }
            Doing::Preparing(_) => {
                let patience = self.config.heartbeat_timeout_ms * PREPARE_TIMEOUTS;
                Some(training.since.plus(patience))
            }
            Doing::Running(_) => (train.progress_timeout_ms > 0).then(|| {
                training
                    .last_active
                    .plus(train.progress_timeout_ms)
                    .plus(self.config.heartbeat_interval_ms)
            }),
            Doing::Stopping(..) => Some(training.since.plus(self.stop_patience_ms(job, training))),
        }
    }

    /// Moves the groups whose time has come.
    pub(crate) fn end_group_deadlines(&mut self) {
        while let Some(id) = self.volatile.group_deadlines.due(self.now) {
            self.train(id);
            let waits = self.volatile.training(id);
            if waits.is_some_and(|t| t.doing == Doing::Gathering) {
                // It has had its time: others may have the workers that it can't use yet.
                self.admit_others(id);
            }
        }
    }

    /// Whether processes of a training group may run anywhere.
    pub(crate) fn trains(&self, id: JobId) -> bool {
        self.volatile
            .training(id)
            .is_some_and(|t| t.epoch().is_some())
    }
}

/// The sizes of a job's pool.
pub(crate) fn sizes(job: &Job) -> Sizes {
    let workers = &job.spec.workers;
    Sizes {
        min: workers.min,
        max: workers.max,
        wanted: workers.wanted,
        unit: workers.unit,
    }
}

/// What is remembered of a training stage.
pub(crate) fn group(job: &Job, stage: u32) -> Option<&Group> {
    job.groups.get(&stage)
}

/// What is remembered of a training stage, if there is anything, and what the job file says of it.
pub(crate) fn rules(job: &Job, stage: u32) -> Option<(Option<&Group>, &TrainSpec)> {
    match &job.spec.stages.get(stage as usize)?.kind {
        StageKind::Train(train) => Some((job.groups.get(&stage), train)),
        StageKind::Shards(_) | StageKind::Once => None,
    }
}

/// The training stage whose processes may run, after a coordinator's restart; and what to make of them.
pub(crate) fn resumable(job: &Job) -> Option<(u32, Doing)> {
    if !job.formed || job.members.is_empty() {
        return None;
    }
    let (stage, group) = job
        .groups
        .iter()
        .find(|(_, g)| g.epoch == job.epoch && g.epoch != Epoch(0))?;
    let pending = job
        .stages
        .get(*stage as usize)?
        .shards
        .iter()
        .any(|s| s.phase == Phase::Pending);
    let on_purpose = group.stopping == Some(group.epoch);
    let charged = group.causes.first().is_some_and(|c| c.epoch == group.epoch);
    // One whose deadline has passed is not pending, and may still have to stop.
    if on_purpose || pending && (charged || job.cancelled.is_some()) {
        Some((*stage, Doing::Stopping(group.epoch, Why::Purpose)))
    } else {
        pending.then_some((*stage, Doing::Running(group.epoch)))
    }
}
