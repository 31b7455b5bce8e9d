//! Which shard runs where. A pass costs what it hands out, not what waits.

use crate::job::{Phase, Stage};
use crate::lease::Lease;
use crate::live::{LiveJob, set};
use crate::worker::{Standing, Worker};
use crate::{
    Code, Core, Event, Job, JobId, LeaseGrant, LeaseId, LeaveReason, Refusal, ShardId, ToWorker,
    WorkerId,
};
use std::collections::BTreeSet;

/// Whether what a shard needs is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Met,
    Pending,
    /// Will never be: it failed, or was cancelled.
    Failed,
}

impl Core {
    /// Fills a job's queues with what is ready; from here on they are kept up event by event.
    pub(crate) fn open(&mut self, id: JobId) {
        self.open_without(id, Vec::new());
    }

    /// Opens a job some of whose members went while nobody coordinated.
    pub(crate) fn open_without(&mut self, id: JobId, left: Vec<(WorkerId, LeaveReason)>) {
        let mut ready = Vec::new();
        let mut unreachable = Vec::new();
        let (Some(job), Some(live)) = (self.state.jobs.get(&id), self.live.jobs.get(&id)) else {
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
                let waits_or_runs = live.backoff.contains_key(&shard_id)
                    || self.live.leases.of_shard(id, shard_id).is_some();
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
        let Some(live) = self.live.jobs.get_mut(&id) else {
            return;
        };
        live.seeded = true;
        let mut started: BTreeSet<u32> = BTreeSet::new();
        for shard in ready {
            started.insert(shard.stage);
            if live
                .training
                .as_ref()
                .is_none_or(|t| t.stage != shard.stage)
            {
                live.push(shard, false);
            }
        }
        self.note_started(id, &started);
        if !unreachable.is_empty() {
            self.mark_unreachable(id, unreachable);
        }
        if self.live.jobs.values().all(|j| j.expected.is_empty()) {
            self.live.recovery_ends = None;
        }
        self.ask_all_preflights(id);
        self.set_deadlines(id);
        let now = self.now;
        if let Some(training) = self.live.training_mut(id) {
            training.last_active = now;
        }
        self.reshape(id, left);
        self.resume_group(id);
        self.settle(id);
    }

    pub(crate) fn make_ready(&mut self, job: JobId, shard: ShardId, first: bool) {
        if let Some(live) = self.live.jobs.get_mut(&job).filter(|j| j.seeded) {
            live.push(shard, first);
        }
    }

    /// A shard is committed: what waited for it alone is ready.
    pub(crate) fn unblock(&mut self, id: JobId, done: ShardId) {
        let Some(job) = self.state.jobs.get(&id) else {
            return;
        };
        let complete = job.stages[done.stage as usize].is_complete();
        let mut ready = Vec::new();
        for (stage, per_shard) in job.dependents(done.stage as usize) {
            let stage_id = u32::try_from(stage).unwrap_or(u32::MAX);
            if per_shard {
                let shard = ShardId {
                    stage: stage_id,
                    index: done.index,
                };
                if is_pending(job, shard) && needs_of(job, shard) == Needs::Met {
                    ready.push(shard);
                }
            } else if complete {
                let all = (0..)
                    .zip(&job.stages[stage].shards)
                    .map(|(index, _)| ShardId {
                        stage: stage_id,
                        index,
                    });
                ready
                    .extend(all.filter(|s| is_pending(job, *s) && needs_of(job, *s) == Needs::Met));
            }
        }
        // A stage may need another both as a whole and through a second need: each shard is queued once.
        ready.sort_unstable();
        ready.dedup();
        // Before what has not begun: chains end early, and little lies around half done.
        let started = ready.iter().map(|s| s.stage).collect();
        self.note_started(id, &started);
        for shard in ready.into_iter().rev() {
            self.make_ready(id, shard, true);
        }
    }

    /// A shard is quarantined: what needs it will never run.
    pub(crate) fn give_up(&mut self, id: JobId, failed: ShardId) {
        let unreachable = self.dependents_of(id, failed);
        if !unreachable.is_empty() {
            self.mark_unreachable(id, unreachable);
        }
    }

    pub(crate) fn mark_unreachable(&mut self, id: JobId, first: Vec<ShardId>) {
        let mut all = BTreeSet::new();
        let mut next = first;
        while let Some(shard) = next.pop() {
            if all.insert(shard) {
                next.extend(
                    self.dependents_of(id, shard)
                        .into_iter()
                        .filter(|s| !all.contains(s)),
                );
            }
        }
        self.record(Event::ShardsUnreachable {
            job: id,
            shards: all.into_iter().collect(),
        });
    }

    /// Pending shards that need this one, directly.
    fn dependents_of(&self, id: JobId, shard: ShardId) -> Vec<ShardId> {
        let Some(job) = self.state.jobs.get(&id) else {
            return Vec::new();
        };
        let mut dependents = Vec::new();
        for (stage, per_shard) in job.dependents(shard.stage as usize) {
            let stage_id = u32::try_from(stage).unwrap_or(u32::MAX);
            if per_shard {
                dependents.push(ShardId {
                    stage: stage_id,
                    index: shard.index,
                });
            } else {
                let count = u32::try_from(job.stages[stage].shards.len()).unwrap_or(u32::MAX);
                dependents.extend((0..count).map(|index| ShardId {
                    stage: stage_id,
                    index,
                }));
            }
        }
        dependents.retain(|s| is_pending(job, *s));
        dependents
    }

    /// Notes whether a worker could take a lease.
    pub(crate) fn feed(&mut self, id: WorkerId) {
        let Some(worker) = self.live.workers.get(&id) else {
            return;
        };
        let waits = worker.standing == Standing::Free && worker.conn.is_some();
        set(&mut self.live.free, (worker.arrival, id), waits);
        let Some(live) = worker.job().and_then(|j| self.live.jobs.get_mut(&j)) else {
            return;
        };
        set(
            &mut live.absent,
            id,
            worker.is_member() && worker.conn.is_none(),
        );
        let eats = worker.is_member() && worker.conn.is_some();
        let bound = worker.hello.slots as usize + prefetch(&self.config, live, worker);
        set(&mut live.idle, id, eats && worker.free_slots() > 0);
        set(&mut live.hungry, id, eats && worker.leases.len() < bound);
    }

    /// Hands out what is ready: first to free slots, spread over the workers, then a little ahead.
    pub(crate) fn schedule(&mut self, id: JobId) {
        let may = self.live.draining.is_none()
            && self.state.jobs.get(&id).is_some_and(|j| {
                j.formed && j.cancelled.is_none() && j.end.is_none() && j.suspended.is_none()
            });
        let begins = self.live.training(id).is_none();
        if self.in_training(id) {
            if begins {
                self.train(id);
            }
            return;
        }
        if !may
            || self
                .live
                .jobs
                .get(&id)
                .is_none_or(|j| !j.seeded || j.ready == 0 || j.hungry.is_empty())
        {
            return;
        }
        self.hand_out(
            id,
            |live| &live.idle,
            |worker, _, ready, hungry| worker.free_slots().min(ready.div_ceil(hungry)),
        );
        let members = self.state.jobs[&id].members.len().max(1);
        let config = self.config;
        self.hand_out(
            id,
            |live| &live.hungry,
            |worker, live, ready, _| {
                let bound = worker.hello.slots as usize + prefetch(&config, live, worker);
                let ahead = bound.saturating_sub(worker.leases.len());
                ahead.min(ready.div_ceil(2 * members))
            },
        );
    }

    /// Goes over some of the members, in order, until nothing is ready; `share` says how many a member gets of what is
    /// ready, with so many members left to look at.
    fn hand_out(
        &mut self,
        id: JobId,
        members: impl Fn(&LiveJob) -> &BTreeSet<WorkerId>,
        share: impl Fn(&Worker, &LiveJob, usize, usize) -> usize,
    ) {
        let mut next = WorkerId(0);
        let mut left = self
            .live
            .jobs
            .get(&id)
            .map_or(0, |live| members(live).len());
        while let Some(live) = self
            .live
            .jobs
            .get(&id)
            .filter(|live| live.ready > 0 && left > 0)
        {
            let Some(worker_id) = members(live).range(next..).next().copied() else {
                return;
            };
            let ready = usize::try_from(live.ready).unwrap_or(usize::MAX);
            let count = self
                .live
                .workers
                .get(&worker_id)
                .map_or(0, |worker| share(worker, live, ready, left));
            if count > 0 {
                self.grant(id, worker_id, count);
            }
            left -= 1;
            next = WorkerId(worker_id.0.saturating_add(1));
        }
    }

    fn grant(&mut self, id: JobId, worker_id: WorkerId, count: usize) {
        let shards = self.take_ready(id, worker_id, count);
        let Some(job) = self.state.jobs.get(&id) else {
            return;
        };
        let mut grants = Vec::with_capacity(shards.len());
        for shard in shards {
            let state = &job.stages[shard.stage as usize].shards[shard.index as usize];
            self.live.last_lease = self.live.last_lease.saturating_add(1);
            let lease = LeaseId::new(self.state.incarnation, self.live.last_lease);
            let attempt = state.ended_attempts() + 1;
            // An earlier attempt may be running somewhere: one that failed here, or one that a coordinator granted
            // before it was restarted.
            let fence = attempt > 1
                || state.lease != LeaseId(0)
                || job.incarnation < self.state.incarnation;
            let key = job.key(shard.stage as usize, shard.index as usize);
            grants.push(LeaseGrant {
                lease,
                shard,
                key,
                attempt,
                fence,
                detail: None,
                replaces_below: LeaseId(0),
                gpus: Vec::new(),
                speculative: false,
            });
            let granted_at = self.now;
            let entry = Lease {
                job: id,
                shard,
                worker: worker_id,
                attempt,
                granted_at,
                recalled: false,
            };
            self.live.leases.insert(lease, entry);
        }
        if let (Some(worker), Some(live)) = (
            self.live.workers.get_mut(&worker_id),
            self.live.jobs.get_mut(&id),
        ) {
            for grant in &grants {
                worker.leases.insert(grant.lease);
                live.running_by_stage[grant.shard.stage as usize] += 1;
            }
        }
        self.feed(worker_id);
        if !grants.is_empty() {
            self.send(worker_id, ToWorker::Leases(grants));
        }
    }

    /// Takes up to `count` ready shards that fit the worker, class after class, and books what they ask for.
    fn take_ready(&mut self, id: JobId, worker: WorkerId, count: usize) -> Vec<ShardId> {
        let (Some(live), Some(worker)) = (
            self.live.jobs.get_mut(&id),
            self.live.workers.get_mut(&worker),
        ) else {
            return Vec::new();
        };
        let mut taken = Vec::with_capacity(count);
        let classes: Vec<usize> = live
            .filled
            .range(live.cursor..)
            .chain(live.filled.range(..live.cursor))
            .copied()
            .take(count.max(8))
            .collect();
        for class in classes {
            let demand = live.queues[class].demand;
            while taken.len() < count && worker.fits(demand) {
                let Some(shard) = live.pop(class) else { break };
                worker.load.add(demand);
                taken.push(shard);
            }
            live.cursor = class;
            if taken.len() == count {
                break;
            }
        }
        taken
    }

    /// A worker claims, after a coordinator's restart, what it was running. Refused when the shard has ended since, or
    /// when a later lease of it is claimed too: whoever held that one has fenced this one off.
    pub(crate) fn claim(&mut self, id: JobId, worker: WorkerId, held: &crate::HeldLease) -> bool {
        let Some(job) = self.state.jobs.get(&id) else {
            return false;
        };
        let stage: Option<&Stage> = job.stages.get(held.shard.stage as usize);
        let Some(shard) = stage.and_then(|s| s.shards.get(held.shard.index as usize)) else {
            return false;
        };
        let rival = self
            .live
            .leases
            .of_shard(id, held.shard)
            .map(|(lease, rival)| (lease, rival.worker));
        let may = shard.phase == Phase::Pending
            && held.lease > shard.lease
            && held.lease < LeaseId::new(self.state.incarnation, 0)
            && rival.is_none_or(|(lease, _)| lease < held.lease)
            && job.cancelled.is_none();
        if !may
            || self.live.jobs.get(&id).is_none_or(|j| j.seeded)
            || !self.live.workers.contains_key(&worker)
        {
            return false;
        }
        if let Some((lease, loser)) = rival {
            self.drop_lease(lease);
            let refusal = Refusal::new(Code::LeaseLost, "a later attempt of this shard is running");
            self.send(
                loser,
                ToWorker::Revocation {
                    leases: vec![lease],
                    refusal,
                    only_if_queued: false,
                },
            );
        }
        let (Some(live), Some(holder)) = (
            self.live.jobs.get_mut(&id),
            self.live.workers.get_mut(&worker),
        ) else {
            return false;
        };
        if let Some(until) = live.backoff.remove(&held.shard) {
            self.live.backoffs.remove(&(until, id, held.shard));
        }
        holder.leases.insert(held.lease);
        holder.load.add(live.demand(held.shard.stage));
        live.running_by_stage[held.shard.stage as usize] += 1;
        let granted_at = self.now;
        let entry = Lease {
            job: id,
            shard: held.shard,
            worker,
            attempt: held.attempt,
            granted_at,
            recalled: false,
        };
        self.live.leases.insert(held.lease, entry);
        true
    }

    /// Asks leases back that wait behind long shards on one worker while another has free slots.
    pub(crate) fn rebalance(&mut self, id: JobId) {
        let Some(live) = self.live.jobs.get(&id) else {
            return;
        };
        if live.ready > 0 || self.live.draining.is_some() {
            return;
        }
        if live.backlogged.is_empty() {
            return;
        }
        let idle = live.idle.iter().filter_map(|w| self.live.workers.get(w));
        let mut free: usize = idle.map(Worker::free_slots).sum();
        let backlogged: Vec<WorkerId> = live.backlogged.iter().copied().collect();
        for member in backlogged {
            let Some(worker) = self.live.workers.get(&member) else {
                continue;
            };
            let waits = worker
                .leases
                .len()
                .saturating_sub(worker.hello.slots as usize)
                .min(worker.queued as usize);
            if free == 0 {
                return;
            }
            if waits == 0 {
                continue;
            }
            let old = |l: &LeaseId| {
                self.live
                    .leases
                    .get(*l)
                    .is_some_and(|l| !l.recalled && self.now.since(l.granted_at) >= RECALL_AFTER_MS)
            };
            let leases: Vec<LeaseId> = worker
                .leases
                .iter()
                .rev()
                .copied()
                .filter(old)
                .take(waits.min(free))
                .collect();
            if leases.is_empty() {
                continue;
            }
            free -= leases.len();
            for lease in &leases {
                if let Some(lease) = self.live.leases.get_mut(*lease) {
                    lease.recalled = true;
                }
            }
            let refusal = Refusal::new(Code::Rebalanced, "another worker has a free slot");
            self.send(
                member,
                ToWorker::Revocation {
                    leases,
                    refusal,
                    only_if_queued: true,
                },
            );
        }
    }
}

/// A lease that waits for a slot for longer than this is worth moving.
const RECALL_AFTER_MS: u64 = 250;

/// Leases a worker may hold beyond its slots: as much as it works off in `prefetch_ms`, so that it never waits for
/// the next one; none while nobody knows how long a shard takes.
fn prefetch(config: &crate::Config, live: &LiveJob, worker: &Worker) -> usize {
    let Some(mean_us) = live.mean_us else {
        return 0;
    };
    let ahead = u64::from(worker.hello.slots) * config.prefetch_ms * 1_000 / mean_us.max(1_000);
    usize::try_from(ahead.min(u64::from(config.max_prefetch))).unwrap_or(0)
}

pub(crate) fn is_pending(job: &Job, shard: ShardId) -> bool {
    job.stages[shard.stage as usize]
        .shards
        .get(shard.index as usize)
        .is_some_and(|s| s.phase == Phase::Pending)
}

pub(crate) fn needs_of(job: &Job, shard: ShardId) -> Needs {
    let mut all = Needs::Met;
    for need in &job.spec.stages[shard.stage as usize].needs {
        let stage = &job.stages[need.stage as usize];
        let one = if need.per_shard {
            match stage.shards.get(shard.index as usize).map(|s| s.phase) {
                Some(Phase::Done) => Needs::Met,
                Some(Phase::Pending) => Needs::Pending,
                Some(Phase::Failed | Phase::Cancelled) | None => Needs::Failed,
            }
        } else if stage.is_complete() {
            Needs::Met
        } else if stage.counts.failed + stage.counts.cancelled > 0 {
            Needs::Failed
        } else {
            Needs::Pending
        };
        match one {
            Needs::Met => {}
            Needs::Pending => all = Needs::Pending,
            Needs::Failed => return Needs::Failed,
        }
    }
    all
}
