//! Second attempts at stragglers: where a slot is free and nothing else is ready, the first to commit wins.

use crate::context::JobContext;
use crate::shards::needs::is_pending;
use crate::volatile::VolatileJob;
use crate::volatile::worker::Worker;
use crate::{Code, Event, Job, LeaseId, Millis, Refusal, ShardId, ToWorker, WorkerId};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How often a job is looked through for stragglers.
const STRAGGLER_CHECK_EVERY_MS: u64 = 250;
/// So many committed shards tell how long one takes; half of a stage does, too.
const ENOUGH: u64 = 8;
/// What a straggler takes longer than three quarters of the others, at least.
const LONGER_MS: u64 = 1_000;

/// A shard that runs for too long.
struct Straggler {
    since: Millis,
    shard: ShardId,
    holder: WorkerId,
}

impl JobContext<'_> {
    /// Gives stragglers a second attempt.
    pub(crate) fn speculate(&mut self) {
        let own = &mut *self.own;
        let waits = own.ready_for_pool() > 0 || own.idle.is_empty() || !self.job.formed;
        if own.durations.is_empty() || waits || self.now < own.next_straggler_check {
            return;
        }
        own.next_straggler_check = self.now.plus(STRAGGLER_CHECK_EVERY_MS);
        let limits = limits(self.job, own);
        if limits.is_empty() || !self.may_hand_out() {
            return;
        }
        for straggler in self.stragglers(&limits) {
            let Some(worker) = self.place_for(&straggler) else {
                continue;
            };
            let demand = self.own.demand(straggler.shard.stage);
            let booked = self
                .volatile
                .workers
                .get_mut(&worker)
                .and_then(|w| w.book(demand));
            if let Some(gpus) = booked {
                self.grant_these(worker, vec![(straggler.shard, gpus)], true);
            }
        }
    }

    /// Those that have run longest first.
    fn stragglers(&self, limits: &BTreeMap<u32, u64>) -> Vec<Straggler> {
        let mut found: Vec<Straggler> = Vec::new();
        for (lease_id, lease) in self.volatile.leases.of_job(self.id) {
            let Some(limit_ms) = limits.get(&lease.shard.stage) else {
                continue;
            };
            let late = lease
                .slot_since
                .filter(|at| self.now.since(*at) > *limit_ms);
            let Some(since) = late.filter(|_| !lease.overtaken) else {
                continue;
            };
            // What was given up, and has only to stop, gets none.
            if is_pending(self.job, lease.shard) && !self.other_attempt(lease.shard, lease_id) {
                found.push(Straggler {
                    since,
                    shard: lease.shard,
                    holder: lease.worker,
                });
            }
        }
        found.sort_by_key(|s| Reverse(self.now.since(s.since)));
        found
    }

    fn place_for(&self, straggler: &Straggler) -> Option<WorkerId> {
        let demand = self.own.demand(straggler.shard.stage);
        let idle = self
            .own
            .idle
            .iter()
            .filter_map(|w| self.volatile.workers.get(w));
        let mut others = idle.filter(|w| w.id() != straggler.holder);
        others.find(|w| w.fits(demand)).map(Worker::id)
    }

    /// Whether an attempt at a shard runs beside this one.
    pub(crate) fn other_attempt(&self, shard: ShardId, but: LeaseId) -> bool {
        self.volatile
            .leases
            .all_of_shard(self.id, shard)
            .any(|(lease, _)| lease != but)
    }

    /// A shard is committed: what still runs of it only has to stop.
    pub(crate) fn overtake(&mut self, shard: ShardId) {
        let others: Vec<(LeaseId, WorkerId, bool)> = self
            .volatile
            .leases
            .all_of_shard(self.id, shard)
            .map(|(id, lease)| (id, lease.worker, lease.speculative))
            .collect();
        for (id, worker, speculative) in others {
            if speculative {
                self.second_attempt_ended(shard, false);
            }
            if let Some(lease) = self.volatile.leases.get_mut(id) {
                lease.overtaken = true;
            }
            let refusal = Refusal::new(Code::Overtaken, "another attempt at this shard was faster");
            let message = ToWorker::Revocation {
                leases: vec![id],
                refusal,
                only_if_queued: false,
            };
            self.send(worker, message);
        }
    }

    pub(crate) fn second_attempt_ended(&mut self, shard: ShardId, won: bool) {
        if self.job.end.is_none() {
            let job = self.id;
            self.record(Event::SecondAttemptEnded { job, shard, won });
        }
    }
}

/// How long a shard of each stage may run before it counts as a straggler.
fn limits(job: &Job, volatile: &VolatileJob) -> BTreeMap<u32, u64> {
    let known = volatile.durations.iter().filter(|(stage, durations)| {
        let shards = job.stages[**stage as usize].shards.len() as u64;
        let count = durations.count();
        count >= ENOUGH || count > 0 && count * 2 >= shards
    });
    known
        .map(|(stage, durations)| {
            let most = durations.third_quartile_ms();
            (*stage, (2 * most).max(most + LONGER_MS))
        })
        .collect()
}
