//! The state machine of training: workers gather, an epoch forms and runs, and grows or shrinks.

use crate::members::pool::Sizes;
use crate::training::context::Roll;
use crate::training::forming::{Forming, Present, Resizing, fewest, form, resize, target};
use crate::training::{Doing, Hang, Training, Why};
use crate::volatile::worker::Standing;
use crate::{
    Code, Core, Effect, Epoch, Event, Group, Job, JobId, LeaveReason, Phase, Refusal, ToWorker,
    WorkerId,
};
use petctl_spec::{StageKind, TrainSpec};
use std::collections::{BTreeMap, BTreeSet};

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
        let at = self.training_job(id).filter(|at| at.blocked().is_none());
        let Some(at) = at else { return };
        // A member whose stream is broken decides itself in a moment.
        if !at.own.absent.is_empty() {
            return;
        }
        let (sizes, fresh, settled) = (at.sizes(), at.training.fresh, at.is_settled());
        let members = at.job.members.len();
        let most = members.saturating_sub(at.training.left.len()) + self.volatile.free.len();
        if most < fewest(sizes) {
            return self.too_few(id);
        }
        if fresh && !settled && most < target(sizes) {
            return;
        }
        let roll = at.roll(self.candidates(id));
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
        let Some(at) = self.training_job(id) else {
            return;
        };
        if at.training.alive == 0 {
            return self.succeed(id);
        }
        if let Some(quiet_ms) = at.hangs_ms() {
            let hang = Hang {
                at: self.now,
                quiet_ms,
            };
            if let Some(training) = self.volatile.training_mut(id) {
                training.hang = Some(hang);
            }
            let message = format!("nothing happened for {} s", quiet_ms / 1_000);
            return self.stop(id, Why::Fault, Code::RankHung, message);
        }
        // Nobody joins a group of which some are through already.
        if at.training.succeeded > 0 || at.is_recovering() {
            return;
        }
        let (sizes, size, grow) = (at.sizes(), at.training.parts.len(), at.rules.grow);
        let mut waiting = 0;
        if size < target(sizes) && !self.volatile.free.is_empty() {
            waiting = at.roll(self.candidates(id)).candidates.len();
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
        let at = self.training_job(id).and_then(|at| at.deadline());
        // What can't be done now, while members may still come back, is tried again.
        let soon = self.now.plus(AGAIN_MS);
        let at = at.map(|at| if at <= self.now { soon } else { at });
        self.volatile.group_deadlines.set(id, at);
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
