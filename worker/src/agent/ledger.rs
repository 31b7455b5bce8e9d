//! The leases that this worker holds, from their grant to the acknowledgement of their results.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petctl_proto::v1::{AttemptResult, GpuShare, HeldLease, Lease, ResultBatch};
use prost::Message;

/// Most results in one message.
const MAX_BATCH: usize = 512;
/// Most bytes in one message of results.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Most leases a worker holds; a coordinator never comes near.
pub(super) const MAX_HELD: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    held: BTreeMap<u64, Held>,
    /// Leases whose results have not been sent on this stream.
    unsent: VecDeque<u64>,
}

#[derive(Debug)]
struct Held {
    lineage: u64,
    stage: u32,
    shard: u32,
    attempt: u32,
    gpus: Vec<GpuShare>,
    result: Option<AttemptResult>,
}

impl Ledger {
    /// False where it is held already.
    pub(super) fn grant(&mut self, lease: &Lease) -> bool {
        let held = Held {
            lineage: lease.lineage,
            stage: lease.stage,
            shard: lease.shard,
            attempt: lease.attempt,
            gpus: lease.gpus.clone(),
            result: None,
        };
        let new = !self.held.contains_key(&lease.lease_id);
        if new {
            self.held.insert(lease.lease_id, held);
        }
        new
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Notes a result; one for a lease that is not held is of no use to anyone.
    pub(super) fn finish(&mut self, result: AttemptResult) {
        let Some(held) = self.held.get_mut(&result.lease_id) else {
            return;
        };
        if held.result.is_none() {
            self.unsent.push_back(result.lease_id);
            held.result = Some(result);
        }
    }

    /// A result of a lease that was never started, with its stage and shard filled in.
    pub(super) fn finish_unstarted(&mut self, lease_id: u64, result: AttemptResult) {
        let Some(held) = self.held.get(&lease_id) else {
            return;
        };
        self.finish(AttemptResult {
            lease_id,
            stage: held.stage,
            shard: held.shard,
            ..result
        });
    }

    /// The coordinator has it for good.
    pub(super) fn acknowledge(&mut self, lease_ids: &[u64]) {
        for lease_id in lease_ids {
            if self
                .held
                .get(lease_id)
                .is_some_and(|held| held.result.is_some())
            {
                self.held.remove(lease_id);
            }
        }
    }

    /// Forgets all leases but these; which ones went.
    pub(super) fn keep_only(&mut self, kept: &[u64]) -> BTreeSet<u64> {
        let kept: BTreeSet<u64> = kept.iter().copied().collect();
        let lost: BTreeSet<u64> = self
            .held
            .keys()
            .copied()
            .filter(|lease| !kept.contains(lease))
            .collect();
        self.held.retain(|lease, _| kept.contains(lease));
        lost
    }

    /// On a new stream every result goes out again.
    pub(super) fn resend_all(&mut self) {
        let finished = self.held.iter().filter(|(_, held)| held.result.is_some());
        self.unsent = finished.map(|(lease, _)| *lease).collect();
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// As many results as a message may carry.
    pub(super) fn next_batch(&mut self) -> ResultBatch {
        let mut batch = ResultBatch::default();
        let mut bytes = 0;
        while let Some(lease) = self.unsent.pop_front() {
            let Some(result) = self.held.get(&lease).and_then(|held| held.result.as_ref()) else {
                continue;
            };
            bytes += result.encoded_len();
            batch.results.push(result.clone());
            if batch.results.len() >= MAX_BATCH || bytes >= MAX_BATCH_BYTES {
                break;
            }
        }
        batch
    }

    /// For a Hello.
    pub(super) fn held(&self) -> Vec<HeldLease> {
        let lease = |(lease_id, held): (&u64, &Held)| HeldLease {
            lineage: held.lineage,
            lease_id: *lease_id,
            stage: held.stage,
            shard: held.shard,
            attempt: held.attempt,
            gpus: held.gpus.clone(),
        };
        self.held.iter().map(lease).collect()
    }

    /// Whether the lease's attempt may still write to its log.
    pub(super) fn may_run(&self, lease_id: u64) -> bool {
        self.held
            .get(&lease_id)
            .is_some_and(|held| held.result.is_none())
    }
}
