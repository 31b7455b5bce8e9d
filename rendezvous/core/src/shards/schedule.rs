//! Which shard runs where. A pass costs what it hands out, not what waits.

use crate::shards::needs::{Needs, longest_first, needs_of};
use crate::state::job::Phase;
use crate::volatile::lease::Lease;
use crate::volatile::worker::Worker;
use crate::volatile::{VolatileJob, set};
use crate::{
    Core, GpuShare, Job, JobId, LeaseGrant, LeaseId, LeaveReason, ShardId, ToWorker, WorkerId,
};
use std::collections::BTreeSet;

impl Core {
    /// Fills a job's queues with what is ready; from here on they are kept up event by event.
    pub(crate) fn open(&mut self, id: JobId) {
        self.open_without(id, Vec::new());
    }

    /// Opens a job some of whose members went while nobody coordinated.
    pub(crate) fn open_without(&mut self, id: JobId, left: Vec<(WorkerId, LeaveReason)>) {
        let mut ready = Vec::new();
        let mut unreachable = Vec::new();
        let (Some(job), Some(volatile)) = (self.state.jobs.get(&id), self.volatile.jobs.get(&id))
        else {
            return;
        };
        if job.cancelled.is_some() {
            self.reshape(id, left);
            self.settle(id);
            return;
        }
        for (stage, state) in (0..).zip(&job.stages) {
            if state.is_settled() {
                continue;
            }
            for (index, shard) in (0..).zip(&state.shards) {
                let shard_id = ShardId { stage, index };
                let waits_or_runs = volatile.backoff.contains_key(&shard_id)
                    || self.volatile.leases.of_shard(id, shard_id).is_some();
                if shard.phase != Phase::Pending || waits_or_runs {
                    continue;
                }
                match needs_of(job, shard_id) {
                    Needs::Met => ready.push(shard_id),
                    Needs::Pending => {}
                    Needs::Failed => unreachable.push(shard_id),
                }
            }
        }
        longest_first(job, &mut ready);
        let Some(volatile) = self.volatile.jobs.get_mut(&id) else {
            return;
        };
        volatile.seeded = true;
        for (stage, durations) in &mut volatile.durations {
            let shards = job.stages[*stage as usize].shards.iter();
            let done = shards.filter(|s| s.phase == Phase::Done);
            done.for_each(|shard| durations.add(u64::from(shard.duration_ms)));
        }
        let mut started: BTreeSet<u32> = BTreeSet::new();
        for shard in ready {
            started.insert(shard.stage);
            if volatile
                .training
                .as_ref()
                .is_none_or(|t| t.stage != shard.stage)
            {
                volatile.push(shard, false);
            }
        }
        self.note_started(id, &started);
        self.give_up_needs(id, &unreachable);
        if self.volatile.jobs.values().all(|j| j.expected.is_empty()) {
            self.volatile.recovery_ends = None;
        }
        self.seat_launchers(id);
        self.ask_all_preflights(id);
        self.set_deadlines(id);
        let now = self.now;
        if let Some(training) = self.volatile.training_mut(id) {
            training.last_active = now;
        }
        self.reshape(id, left);
        self.resume_group(id);
        self.settle(id);
    }

    pub(crate) fn make_ready(&mut self, job: JobId, shard: ShardId, first: bool) {
        if let Some(volatile) = self.volatile.jobs.get_mut(&job).filter(|j| j.seeded) {
            volatile.push(shard, first);
        }
    }

    /// Notes whether a worker could take a lease.
    pub(crate) fn feed(&mut self, id: WorkerId) {
        let Some(worker) = self.volatile.workers.get(&id) else {
            return;
        };
        let waits = worker.waits() && worker.conn.is_some();
        set(&mut self.volatile.free, (worker.arrival, id), waits);
        let Some(volatile) = worker.job().and_then(|j| self.volatile.jobs.get_mut(&j)) else {
            return;
        };
        let member = worker.is_member();
        set(&mut volatile.absent, id, member && worker.conn.is_none());
        let eats = worker.conn.is_some();
        let bound = worker.hello.slots as usize + prefetch(&self.config, volatile, worker);
        let hungry = eats && worker.leases.len() < bound;
        set(
            &mut volatile.idle,
            id,
            member && eats && worker.free_slots() > 0,
        );
        set(&mut volatile.hungry, id, member && hungry);
        let launcher = worker.is_launcher() && hungry;
        set(&mut volatile.hungry_launchers, id, launcher);
    }

    /// Hands out what is ready: first to free slots, spread over the workers, then a little ahead.
    pub(crate) fn schedule(&mut self, id: JobId) {
        let begins = self.volatile.training(id).is_none();
        if self.in_training(id) {
            if begins {
                self.train(id);
            }
            return;
        }
        if !self.may_hand_out(id) {
            return;
        }
        self.hand_to_launchers(id);
        let pool = self.state.jobs.get(&id).is_some_and(|job| job.formed);
        let waits =
            |volatile: &VolatileJob| volatile.ready_for_pool() > 0 && !volatile.hungry.is_empty();
        if !pool || !self.volatile.jobs.get(&id).is_some_and(waits) {
            return self.speculate(id);
        }
        self.hand_out(
            id,
            |volatile| &volatile.idle,
            |worker, _, ready, hungry| worker.free_slots().min(ready.div_ceil(hungry)),
        );
        let members = self.state.jobs[&id].members.len().max(1);
        let config = self.config;
        self.hand_out(
            id,
            |volatile| &volatile.hungry,
            |worker, volatile, ready, _| {
                let bound = worker.hello.slots as usize + prefetch(&config, volatile, worker);
                let ahead = bound.saturating_sub(worker.leases.len());
                ahead.min(ready.div_ceil(2 * members))
            },
        );
    }

    /// Whether anything of a job may be handed out now.
    pub(crate) fn may_hand_out(&self, id: JobId) -> bool {
        let goes =
            |job: &Job| job.cancelled.is_none() && job.end.is_none() && job.suspended.is_none();
        self.volatile.draining.is_none()
            && self.state.jobs.get(&id).is_some_and(goes)
            && self
                .volatile
                .jobs
                .get(&id)
                .is_some_and(|volatile| volatile.seeded)
    }

    /// Local stages are for the job's launcher alone.
    fn hand_to_launchers(&mut self, id: JobId) {
        while let Some(volatile) = self
            .volatile
            .jobs
            .get(&id)
            .filter(|volatile| volatile.ready_local > 0)
        {
            let Some(launcher) = volatile.hungry_launchers.first().copied() else {
                return;
            };
            let Some(worker) = self.volatile.workers.get(&launcher) else {
                return;
            };
            let bound = worker.hello.slots as usize + prefetch(&self.config, volatile, worker);
            let count = bound.saturating_sub(worker.leases.len());
            if self.grant(id, launcher, count) == 0 {
                return;
            }
        }
    }

    /// Goes over some of the members, in order, until nothing is ready; `share` says how many a member gets of what is
    /// ready, with so many members left to look at.
    fn hand_out(
        &mut self,
        id: JobId,
        members: impl Fn(&VolatileJob) -> &BTreeSet<WorkerId>,
        share: impl Fn(&Worker, &VolatileJob, usize, usize) -> usize,
    ) {
        let mut next = WorkerId(0);
        let mut left = self
            .volatile
            .jobs
            .get(&id)
            .map_or(0, |volatile| members(volatile).len());
        while let Some(volatile) = self
            .volatile
            .jobs
            .get(&id)
            .filter(|volatile| volatile.ready_for_pool() > 0 && left > 0)
        {
            let Some(worker_id) = members(volatile).range(next..).next().copied() else {
                return;
            };
            let ready = usize::try_from(volatile.ready_for_pool()).unwrap_or(usize::MAX);
            let count = self
                .volatile
                .workers
                .get(&worker_id)
                .map_or(0, |worker| share(worker, volatile, ready, left));
            if count > 0 {
                self.grant(id, worker_id, count);
            }
            left -= 1;
            next = WorkerId(worker_id.0.saturating_add(1));
        }
    }

    /// Grants up to `count` ready shards; how many it were.
    fn grant(&mut self, id: JobId, worker: WorkerId, count: usize) -> usize {
        let shards = self.take_ready(id, worker, count);
        let granted = shards.len();
        self.grant_these(id, worker, shards, false);
        granted
    }

    /// Grants shards that are booked already.
    pub(crate) fn grant_these(
        &mut self,
        id: JobId,
        worker_id: WorkerId,
        shards: Vec<(ShardId, Vec<GpuShare>)>,
        speculative: bool,
    ) {
        let (Some(job), Some(worker), Some(volatile)) = (
            self.state.jobs.get(&id),
            self.volatile.workers.get_mut(&worker_id),
            self.volatile.jobs.get_mut(&id),
        ) else {
            return;
        };
        let mut grants = Vec::with_capacity(shards.len());
        for (shard, gpus) in shards {
            let stage = &job.stages[shard.stage as usize];
            let state = &stage.shards[shard.index as usize];
            self.volatile.last_lease = self.volatile.last_lease.saturating_add(1);
            let lease = LeaseId::new(self.state.incarnation, self.volatile.last_lease);
            let attempt = state.ended_attempts() + if speculative { 2 } else { 1 };
            // An earlier attempt may be running somewhere: one that failed here, one that a coordinator granted before
            // it was restarted, or one of an earlier version of the job. A second attempt leaves the first one alone.
            let fence = !speculative
                && (attempt > 1
                    || state.lease != LeaseId(0)
                    || job.incarnation < self.state.incarnation
                    || job.follows);
            worker.leases.insert(lease);
            volatile.running_by_stage[shard.stage as usize] += 1;
            let has_slot = worker.leases.len() <= worker.hello.slots as usize;
            grants.push(LeaseGrant {
                lease,
                shard,
                key: job.key(shard.stage as usize, shard.index as usize),
                attempt,
                fence,
                detail: stage.detail(shard.index as usize),
                replaces_below: job.first_lease,
                gpus: gpus.clone(),
                speculative,
            });
            let entry = Lease {
                job: id,
                shard,
                worker: worker_id,
                attempt,
                granted_at: self.now,
                turn_at: has_slot.then_some(self.now),
                recalled: false,
                gpus,
                speculative,
                overtaken: false,
            };
            self.volatile.leases.insert(lease, entry);
        }
        self.feed(worker_id);
        if !grants.is_empty() {
            self.send(worker_id, ToWorker::Leases(grants));
        }
    }

    /// Takes up to `count` ready shards that fit the worker, class after class, and books what they ask for.
    fn take_ready(
        &mut self,
        id: JobId,
        worker: WorkerId,
        count: usize,
    ) -> Vec<(ShardId, Vec<GpuShare>)> {
        let (Some(volatile), Some(worker)) = (
            self.volatile.jobs.get_mut(&id),
            self.volatile.workers.get_mut(&worker),
        ) else {
            return Vec::new();
        };
        let mut taken = Vec::with_capacity(count);
        let filled = if worker.is_launcher() {
            &volatile.filled_local
        } else {
            &volatile.filled
        };
        let classes: Vec<usize> = filled
            .range(volatile.cursor..)
            .chain(filled.range(..volatile.cursor))
            .copied()
            .take(count.max(8))
            .collect();
        for class in classes {
            let demand = volatile.queues[class].demand;
            while taken.len() < count && !volatile.queues[class].shards.is_empty() {
                let Some(gpus) = worker.book(demand) else {
                    break;
                };
                taken.extend(volatile.pop(class).map(|shard| (shard, gpus)));
            }
            volatile.cursor = class;
            if taken.len() == count {
                break;
            }
        }
        taken
    }
}

/// Leases a worker may hold beyond its slots: as much as it works off in `prefetch_ms`, so that it never waits for
/// the next one; none while nobody knows how long a shard takes. Where inputs and outputs travel, always some: they do
/// so while others run.
fn prefetch(config: &crate::Config, volatile: &VolatileJob, worker: &Worker) -> usize {
    let slots = u64::from(worker.hello.slots);
    let short = volatile.mean_us.map_or(0, |mean_us| {
        slots * config.prefetch_ms * 1_000 / mean_us.max(1_000)
    });
    let travel = if volatile.remote { 2 * slots } else { 0 };
    let ahead = short.max(travel).min(u64::from(config.max_prefetch));
    usize::try_from(ahead).unwrap_or(0)
}
