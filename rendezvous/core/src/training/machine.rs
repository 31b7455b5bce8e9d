//! The state machine of training: workers gather, an epoch forms and runs, and grows or shrinks.

use crate::context::{JobContext, Offer};
use crate::training::forming::{Forming, Present, Resizing, fewest, form, resize, target};
use crate::training::rules::{Roll, sizes};
use crate::training::{Doing, Ending, Flow, Hang, Training, Why};
use crate::volatile::worker::Standing;
use crate::{Code, Core, Epoch, Event, LeaveReason, Refusal, ToWorker, WorkerId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// How long something that could not be done at its time waits.
const AGAIN_MS: u64 = 500;

impl Core {
    /// Moves the groups whose time has come.
    pub(crate) fn end_group_deadlines(&mut self) {
        while let Some(id) = self.volatile.group_deadlines.due(self.now) {
            self.with_job(id, |at| at.train());
            if self
                .training(id)
                .is_some_and(|t| t.doing == Doing::Gathering)
            {
                // It has had its time: others may have the workers that it can't use yet.
                self.admit_others(id);
            }
        }
    }
}

impl JobContext<'_> {
    /// Whether a training group has the job's workers. It begins when nothing else of the job can run.
    pub(crate) fn in_training(&mut self) -> bool {
        let (job, own) = (&*self.job, &mut *self.own);
        if own.training.is_some() {
            return true;
        }
        let may = own.seeded
            && job.end.is_none()
            && job.cancelled.is_none()
            && own.ready == 0
            && own.backoff.is_empty()
            && self.volatile.leases.of_job(self.id).next().is_none();
        if !may {
            return false;
        }
        let Some(stage) = own.trainings.pop_first() else {
            return false;
        };
        let group = job.groups.get(&stage);
        let fresh = job.members.is_empty() || group.is_none_or(|g| g.epoch == Epoch(0));
        own.training = Some(Training::new(stage, fresh, self.now));
        true
    }

    /// Has the training group that has the job's workers take a step. Meanwhile it is not in the job.
    pub(crate) fn with_training(&mut self, act: impl FnOnce(&mut Training, &mut Self) -> Flow) {
        let Some(mut training) = self.own.training.take() else {
            return;
        };
        match act(&mut training, self) {
            ControlFlow::Continue(()) => self.own.training = Some(training),
            ControlFlow::Break(ending) => self.end_training(training, ending),
        }
    }

    /// Moves the training group as far as it can go now.
    pub(crate) fn train(&mut self) {
        self.with_training(Training::advance);
    }

    /// The job's other work may have its workers now.
    fn end_training(&mut self, training: Training, ending: Ending) {
        self.volatile.group_deadlines.set(self.id, None);
        self.send_away(&training.left);
        match ending {
            Ending::Succeeded => self.unblock(training.shard()),
            Ending::Failed => self.give_up(&[training.shard()]),
            Ending::Stopped => {}
        }
        // A cancelled job has no use for another epoch.
        if self.job.cancelled.is_some() {
            self.settle();
        }
        self.reshape(training.left.into_iter().collect());
        self.settle();
        self.changed();
    }

    /// Those who were asked to go may do so: nothing of them runs any more.
    fn send_away(&mut self, left: &BTreeMap<WorkerId, LeaveReason>) {
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
    fn spare(&mut self, id: WorkerId) {
        let Some(worker) = self.volatile.workers.get(&id) else {
            return;
        };
        if worker.hello.job.is_empty() {
            // Another job may have it.
            let refusal = Refusal::new(Code::MembershipChanged, "the group goes on without it");
            self.send(id, ToWorker::Release(refusal));
        }
        if let Some(worker) = self.volatile.workers.get_mut(&id) {
            worker.standing = Standing::Free;
        }
        self.own.idle.remove(&id);
        self.own.hungry.remove(&id);
        self.own.absent.remove(&id);
        self.feed(id);
    }

    /// Joiners of which each has a place of its own take their places.
    fn by_node_rank(&self, joined: &mut [WorkerId]) {
        let workers = &self.volatile.workers;
        let ranks: Option<BTreeMap<WorkerId, u32>> = joined
            .iter()
            .map(|w| Some((*w, workers.get(w)?.hello.node_rank?)))
            .collect();
        if let Some(ranks) = ranks {
            joined.sort_by_key(|w| ranks.get(w).copied());
        }
    }
}

impl Training {
    /// Members went, workers came or sizes changed.
    pub(crate) fn regroup(
        &mut self,
        at: &mut JobContext<'_>,
        left: Vec<(WorkerId, LeaveReason)>,
    ) -> Flow {
        for (worker, reason) in &left {
            self.left.entry(*worker).or_insert(*reason);
        }
        for (worker, reason) in left {
            self.part_left(at, worker, reason)?;
        }
        self.advance(at)
    }

    /// Moves as far as it can go now.
    pub(crate) fn advance(&mut self, at: &mut JobContext<'_>) -> Flow {
        match self.doing {
            Doing::Gathering => self.gather(at),
            Doing::Preparing(epoch) => self.prepare_on(at, epoch),
            Doing::Running(_) => self.run_on(at, false)?,
            Doing::Stopping(..) => self.stop_on(at)?,
        }
        self.set_deadline(at);
        ControlFlow::Continue(())
    }

    /// Sets when something of it may be due.
    pub(crate) fn set_deadline(&self, at: &mut JobContext<'_>) {
        // What can't be done now, while members may still come back, is tried again.
        let soon = at.now.plus(AGAIN_MS);
        let due = self.deadline(at);
        let due = due.map(|due| if due <= at.now { soon } else { due });
        at.volatile.group_deadlines.set(at.id, due);
    }

    /// Forms an epoch if enough workers are there.
    pub(crate) fn gather(&mut self, at: &mut JobContext<'_>) {
        // A member whose stream is broken decides itself in a moment.
        if self.blocked(at).is_some() || !at.own.absent.is_empty() {
            return;
        }
        let (sizes, settled) = (sizes(at.job, &at.own.place), self.is_settled(at));
        let members = at.job.members.len();
        let most = members.saturating_sub(self.left.len()) + at.volatile.free.len();
        if most < fewest(sizes) {
            return self.too_few(at);
        }
        if self.fresh && !settled && most < target(sizes) {
            return;
        }
        let roll = self.roll(at, at.candidates());
        let present = Present {
            members: roll.members.len(),
            candidates: roll.candidates.len(),
            left_out: roll.left_out.len(),
        };
        match form(sizes, present, self.fresh, settled) {
            Forming::TooFew => self.too_few(at),
            Forming::Settle => {}
            Forming::Form { size, left_out } => self.form(at, roll, size, left_out),
        }
    }

    fn too_few(&mut self, at: &mut JobContext<'_>) {
        let left = std::mem::take(&mut self.left);
        if at.job.formed && !self.fresh || !left.is_empty() {
            at.record(Event::QuorumLost {
                job: at.id,
                left: left.iter().map(|(w, r)| (*w, *r)).collect(),
            });
            at.send_away(&left);
            at.changed();
        }
    }

    fn form(&mut self, at: &mut JobContext<'_>, roll: Roll, size: usize, left_out: usize) {
        let job = &*at.job;
        let mut left = std::mem::take(&mut self.left);
        let sizes = sizes(job, &at.own.place);
        let wanted = sizes.wanted.min(sizes.max) as usize;
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
        let mut spared = at.in_order_of_keeping(&staying).split_off(keep);
        let drained = spared.split_off(spared.len() - excess);
        let spared: Vec<WorkerId> = rest
            .intersection(&is_member)
            .chain(&spared)
            .copied()
            .collect();
        at.by_node_rank(&mut joined);
        left.extend(drained.iter().map(|w| (*w, LeaveReason::ScaledDown)));
        left.extend(spared.iter().map(|w| (*w, LeaveReason::LeftOut)));
        let left_now = left.iter().map(|(w, r)| (*w, *r)).collect();
        let train = self.spec(at.job).cloned();
        at.form(joined, left_now, train.as_ref());
        left.retain(|_, reason| *reason != LeaveReason::ScaledDown);
        at.send_away(&left);
        for worker in drained {
            at.drain_worker(worker, "the pool shrank");
        }
        for worker in spared {
            at.spare(worker);
        }
        self.prepare(at);
        at.later.offer = at.later.offer.max(Offer::Others);
    }

    /// The processes run: is all well, does somebody wait?
    pub(crate) fn run_on(&mut self, at: &mut JobContext<'_>, checkpoint: bool) -> Flow {
        if self.alive == 0 {
            return self.succeed(at);
        }
        if let Some(quiet_ms) = self.hangs_ms(at) {
            self.hang = Some(Hang {
                at: at.now,
                quiet_ms,
            });
            let message = format!("nothing happened for {} s", quiet_ms / 1_000);
            return self.stop(at, Why::Fault, Refusal::new(Code::RankHung, message));
        }
        // Nobody joins a group of which some are through already.
        let grow = self.spec(at.job).map(|train| train.grow);
        let Some(grow) = grow.filter(|_| self.succeeded == 0 && !self.is_recovering(at)) else {
            return ControlFlow::Continue(());
        };
        let (sizes, size) = (sizes(at.job, &at.own.place), self.parts.len());
        let mut waiting = 0;
        if size < target(sizes) && !at.volatile.free.is_empty() {
            waiting = self.roll(at, at.candidates()).candidates.len();
        }
        let message = match resize(sizes, size, waiting, grow, checkpoint) {
            Resizing::Stay | Resizing::GrowLater => return ControlFlow::Continue(()),
            Resizing::Grow => {
                let workers = crate::view::wording::count(waiting, "worker");
                let join = if waiting == 1 { "joins" } else { "join" };
                format!("{workers} {join}")
            }
            Resizing::Shrink => format!("{} workers are wanted", target(sizes)),
        };
        let refusal = Refusal::new(Code::MembershipChanged, message);
        self.stop(at, Why::Purpose, refusal)
    }
}
