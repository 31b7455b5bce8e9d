//! Which shard runs where. A pass costs what it hands out, not what waits.

use crate::context::JobContext;
use crate::shards::needs::{Needs, longest_first, needs_of};
use crate::state::job::Phase;
use crate::volatile::lease::Lease;
use crate::volatile::worker::Worker;
use crate::volatile::{Volatile, VolatileJob, set};
use crate::{
    Config, Core, GpuShare, JobId, LeaseGrant, LeaseId, LeaveReason, ShardId, ToWorker, WorkerId,
};
use std::collections::BTreeSet;

impl Core {
    /// Fills a job's queues with what is ready; from here on they are kept up event by event.
    pub(crate) fn open(&mut self, id: JobId) {
        self.open_without(id, Vec::new());
    }

    /// Opens a job some of whose members went while nobody coordinated.
    pub(crate) fn open_without(&mut self, id: JobId, left: Vec<(WorkerId, LeaveReason)>) {
        let all_are_back = self.open_jobs.values().all(|j| j.expected.is_empty());
        let local = self.local_stage_workers_for(id);
        let opened = self.with_job(id, |at| at.open(left, &local));
        if opened == Some(true) && all_are_back {
            self.volatile.recovery_ends = None;
        }
    }

    /// Notes whether a worker could take a lease.
    pub(crate) fn feed(&mut self, id: WorkerId) {
        let job = self.volatile.workers.get(&id).and_then(Worker::job);
        let own = job.and_then(|job| self.open_jobs.get_mut(&job));
        self.volatile.feed(&self.config, id, own);
    }
}

impl Volatile {
    /// Notes whether a worker could take a lease. `own`: of the job in which it has a place.
    pub(crate) fn feed(&mut self, config: &Config, id: WorkerId, own: Option<&mut VolatileJob>) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let eats = worker.conn.is_some();
        set(&mut self.free, (worker.arrival, id), worker.waits() && eats);
        let Some(own) = own else { return };
        let member = worker.is_member();
        set(&mut own.absent, id, member && !eats);
        let bound = worker.hello.slots as usize + prefetch(config, own, worker);
        let hungry = eats && worker.leases.len() < bound;
        let idle = member && eats && worker.free_slots() > 0;
        set(&mut own.idle, id, idle);
        set(&mut own.hungry, id, member && hungry);
        let local = worker.runs_local_stages() && hungry;
        set(&mut own.hungry_local, id, local);
    }
}

impl JobContext<'_> {
    /// Fills the queues with what is ready; not those of a job that is being cancelled.
    fn open(&mut self, left: Vec<(WorkerId, LeaveReason)>, local: &[WorkerId]) -> bool {
        if self.job.cancelled.is_some() {
            self.reshape(left);
            self.settle();
            return false;
        }
        let Seed {
            ready,
            skipped,
            unreachable,
        } = self.seed();
        self.note_started(&ready);
        self.skip(&skipped);
        self.give_up_needs(&unreachable);
        for worker in local {
            self.seat_local_stage_worker(*worker);
        }
        self.ask_all_preflights();
        self.set_deadlines();
        if let Some(training) = &mut self.own.training {
            training.last_active = self.now;
        }
        self.reshape(left);
        self.with_training(|training, at| training.resume(at));
        self.settle();
        true
    }

    /// Queues what is ready; the stages of that, and shards whose needs were skipped or have failed.
    fn seed(&mut self) -> Seed {
        let (mut ready, mut skipped, mut unreachable) = (Vec::new(), Vec::new(), Vec::new());
        let (job, own) = (&*self.job, &mut *self.own);
        for (stage, state) in (0..).zip(&job.stages) {
            if state.is_settled() {
                continue;
            }
            for (index, shard) in (0..).zip(&state.shards) {
                let shard_id = ShardId { stage, index };
                let leases = &self.volatile.leases;
                let waits_or_runs = own.backoff.contains_key(&shard_id)
                    || leases.of_shard(self.id, shard_id).is_some();
                if shard.phase != Phase::Pending || waits_or_runs {
                    continue;
                }
                match needs_of(job, shard_id) {
                    Needs::Met => ready.push(shard_id),
                    Needs::Pending => {}
                    Needs::Skipped => skipped.push(shard_id),
                    Needs::Failed => unreachable.push(shard_id),
                }
            }
        }
        longest_first(job, &mut ready);
        own.seeded = true;
        for (stage, durations) in &mut own.durations {
            let shards = job.stages[*stage as usize].shards.iter();
            let done = shards.filter(|s| s.phase == Phase::Done);
            done.for_each(|shard| durations.add(u64::from(shard.duration_ms)));
        }
        let mut started: BTreeSet<u32> = BTreeSet::new();
        for shard in ready {
            started.insert(shard.stage);
            let training = own.training.as_ref();
            if training.is_none_or(|t| t.stage != shard.stage) {
                own.push(shard, false);
            }
        }
        Seed {
            ready: started,
            skipped,
            unreachable,
        }
    }

    pub(crate) fn make_ready(&mut self, shard: ShardId, first: bool) {
        if self.own.seeded {
            self.own.push(shard, first);
        }
    }

    /// Hands out what is ready: first to free slots, spread over the workers, then a little ahead.
    pub(crate) fn schedule(&mut self) {
        let begins = self.own.training.is_none();
        if self.in_training() {
            if begins {
                self.train();
            }
            return;
        }
        if !self.may_hand_out() {
            return;
        }
        self.hand_out_local();
        if !self.job.formed || self.own.ready_for_pool() == 0 || self.own.hungry.is_empty() {
            return self.speculate();
        }
        self.hand_out(
            |own| &own.idle,
            |worker, _, ready, hungry| worker.free_slots().min(ready.div_ceil(hungry)),
        );
        let members = self.job.members.len().max(1);
        let config = *self.config;
        self.hand_out(
            |own| &own.hungry,
            |worker, own, ready, _| {
                let bound = worker.hello.slots as usize + prefetch(&config, own, worker);
                let ahead = bound.saturating_sub(worker.leases.len());
                ahead.min(ready.div_ceil(2 * members))
            },
        );
    }

    /// Whether anything of the job may be handed out now.
    pub(crate) fn may_hand_out(&self) -> bool {
        let stands = self.is_over() || self.job.suspended.is_some();
        self.volatile.draining.is_none() && !stands && self.own.seeded
    }

    /// Local stages are for the job's local-stage worker alone.
    fn hand_out_local(&mut self) {
        while self.own.ready_local > 0 {
            let Some(worker_id) = self.own.hungry_local.first().copied() else {
                return;
            };
            let Some(worker) = self.volatile.workers.get(&worker_id) else {
                return;
            };
            let bound = worker.hello.slots as usize + prefetch(self.config, self.own, worker);
            let count = bound.saturating_sub(worker.leases.len());
            if self.grant(worker_id, count) == 0 {
                return;
            }
        }
    }

    /// Goes over some of the members, in order, until nothing is ready; `share` says how many a member gets of what is
    /// ready, with so many members left to look at.
    fn hand_out(
        &mut self,
        members: impl Fn(&VolatileJob) -> &BTreeSet<WorkerId>,
        share: impl Fn(&Worker, &VolatileJob, usize, usize) -> usize,
    ) {
        let mut next = WorkerId(0);
        let mut left = members(self.own).len();
        while self.own.ready_for_pool() > 0 && left > 0 {
            let Some(worker_id) = members(self.own).range(next..).next().copied() else {
                return;
            };
            let ready = usize::try_from(self.own.ready_for_pool()).unwrap_or(usize::MAX);
            let worker = self.volatile.workers.get(&worker_id);
            let count = worker.map_or(0, |worker| share(worker, self.own, ready, left));
            if count > 0 {
                self.grant(worker_id, count);
            }
            left -= 1;
            next = WorkerId(worker_id.0.saturating_add(1));
        }
    }

    /// Grants up to `count` ready shards; how many it were.
    fn grant(&mut self, worker: WorkerId, count: usize) -> usize {
        let shards = self.take_ready(worker, count);
        let granted = shards.len();
        self.grant_these(worker, shards, false);
        granted
    }

    /// Grants shards that are booked already.
    pub(crate) fn grant_these(
        &mut self,
        worker_id: WorkerId,
        shards: Vec<(ShardId, Vec<GpuShare>)>,
        speculative: bool,
    ) {
        let mut grants = Vec::with_capacity(shards.len());
        for (shard, gpus) in shards {
            let content = self.content(shard);
            let job = &*self.job;
            let Some(worker) = self.volatile.workers.get_mut(&worker_id) else {
                return;
            };
            let stage = &job.stages[shard.stage as usize];
            let state = &stage.shards[shard.index as usize];
            self.volatile.last_lease = self.volatile.last_lease.saturating_add(1);
            let lease = LeaseId::new(self.incarnation, self.volatile.last_lease);
            let attempt = state.ended_attempts() + if speculative { 2 } else { 1 };
            // An earlier attempt may be running somewhere: one that failed here, one that a coordinator granted before
            // it was restarted, or one of an earlier version of the job, here or elsewhere. A second attempt leaves the
            // first one alone.
            let fence = !speculative
                && (attempt > 1
                    || state.lease != LeaseId(0)
                    || job.incarnation < self.incarnation
                    || job.follows);
            worker.leases.insert(lease);
            self.own.running_by_stage[shard.stage as usize] += 1;
            let has_slot = worker.leases.len() <= worker.hello.slots as usize;
            grants.push(LeaseGrant {
                lease,
                shard,
                key: job.key(shard.stage as usize, shard.index as usize),
                attempt,
                fence,
                detail: stage.detail(shard.index as usize),
                lineage: self.lineage,
                replaces_below: job.first_lease,
                content,
                fresh: state.asked,
                gpus: gpus.clone(),
                speculative,
            });
            let entry = Lease {
                job: self.id,
                shard,
                worker: worker_id,
                attempt,
                granted_at: self.now,
                slot_since: has_slot.then_some(self.now),
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
    fn take_ready(&mut self, worker: WorkerId, count: usize) -> Vec<(ShardId, Vec<GpuShare>)> {
        let Some(worker) = self.volatile.workers.get_mut(&worker) else {
            return Vec::new();
        };
        let volatile = &mut *self.own;
        let mut taken = Vec::with_capacity(count);
        let filled = if worker.runs_local_stages() {
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

/// What a job that is opened begins with.
struct Seed {
    /// Stages of shards that can run.
    ready: BTreeSet<u32>,
    skipped: Vec<ShardId>,
    unreachable: Vec<ShardId>,
}

/// Leases a worker may hold beyond its slots: as much as it works off in `prefetch_ms`, so that it never waits for
/// the next one; none while nobody knows how long a shard takes. Where inputs and outputs travel, always some: they do
/// so while others run.
fn prefetch(config: &Config, volatile: &VolatileJob, worker: &Worker) -> usize {
    let slots = u64::from(worker.hello.slots);
    let short = volatile.mean_us.map_or(0, |mean_us| {
        slots * config.prefetch_ms * 1_000 / mean_us.max(1_000)
    });
    let travel = if volatile.remote { 2 * slots } else { 0 };
    let ahead = short.max(travel).min(u64::from(config.max_prefetch));
    usize::try_from(ahead).unwrap_or(0)
}
