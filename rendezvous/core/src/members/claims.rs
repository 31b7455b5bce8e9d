//! A worker says, after a coordinator's restart, what it was running.

use crate::context::JobContext;
use crate::shards::needs::{Needs, needs_of};
use crate::volatile::lease::Lease;
use crate::{Code, HeldLease, LeaseId, Phase, Refusal, ToWorker, WorkerId};

impl JobContext<'_> {
    /// A worker claims, after a coordinator's restart, what it was running. Refused when the shard has ended since, or
    /// when a later lease of it is claimed too: whoever held that one has fenced this one off. Nor of what could not have
    /// been granted by this log.
    pub(crate) fn claim(&mut self, worker: WorkerId, held: &HeldLease) -> bool {
        let (job, stage) = (&*self.job, held.shard.stage);
        let shards = job.stages.get(stage as usize).map(|s| &s.shards);
        let Some(shard) = shards.and_then(|shards| shards.get(held.shard.index as usize)) else {
            return false;
        };
        let rival = self
            .volatile
            .leases
            .of_shard(self.id, held.shard)
            .map(|(lease, rival)| (lease, rival.worker));
        let may = held.lineage == self.lineage
            && shard.phase == Phase::Pending
            && held.lease > shard.lease
            // Not what ran of an earlier version of the job.
            && held.lease >= job.first_lease
            && held.lease < LeaseId::new(self.incarnation, 0)
            && rival.is_none_or(|(lease, _)| lease < held.lease)
            // An older copy of the log does not know what the lease was granted on.
            && matches!(needs_of(job, held.shard), Needs::Met)
            && job.cancelled.is_none();
        let Some(holder) = self.volatile.workers.get(&worker) else {
            return false;
        };
        let local = self.own.is_local(stage);
        if !may || local != holder.hello.local_stages {
            return false;
        }
        // Nobody waits for a local-stage worker to come back; but nobody else may have taken its shard meanwhile.
        if self.own.seeded && !(local && self.own.unqueue(held.shard)) {
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
        if let Some(until) = self.own.backoff.remove(&held.shard) {
            self.volatile.backoffs.remove(&(until, self.id, held.shard));
        }
        if let Some(holder) = self.volatile.workers.get_mut(&worker) {
            holder.leases.insert(held.lease);
            holder.load.add(self.own.demand(stage));
            holder.gpus.take(&held.gpus);
        }
        self.own.running_by_stage[stage as usize] += 1;
        let entry = Lease {
            job: self.id,
            shard: held.shard,
            worker,
            attempt: held.attempt,
            granted_at: self.now,
            slot_since: Some(self.now),
            recalled: false,
            gpus: held.gpus.clone(),
            speculative: false,
            overtaken: false,
        };
        self.volatile.leases.insert(held.lease, entry);
        true
    }
}
