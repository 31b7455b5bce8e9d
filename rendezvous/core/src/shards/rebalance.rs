//! Work that got stuck behind a long shard moves to an idle worker.

use crate::context::JobContext;
use crate::volatile::worker::Worker;
use crate::{Code, LeaseId, Refusal, ToWorker, WorkerId};

impl JobContext<'_> {
    /// Asks leases back that wait behind long shards on one worker while another has free slots.
    pub(crate) fn rebalance(&mut self) {
        if self.own.ready_for_pool() > 0 || self.volatile.draining.is_some() {
            return;
        }
        if self.own.backlogged.is_empty() {
            return;
        }
        let idle = self
            .own
            .idle
            .iter()
            .filter_map(|w| self.volatile.workers.get(w));
        let mut free: usize = idle.map(Worker::free_slots).sum();
        let backlogged: Vec<WorkerId> = self.own.backlogged.iter().copied().collect();
        for member in backlogged {
            let Some(worker) = self.volatile.workers.get(&member) else {
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
                self.volatile
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
                if let Some(lease) = self.volatile.leases.get_mut(*lease) {
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
