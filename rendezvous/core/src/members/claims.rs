//! A worker says, after a coordinator's restart, what it was running.

use crate::state::job::Stage;
use crate::volatile::lease::Lease;
use crate::{Code, Core, HeldLease, JobId, LeaseId, Phase, Refusal, ToWorker, WorkerId};

impl Core {
    /// A worker claims, after a coordinator's restart, what it was running. Refused when the shard has ended since, or
    /// when a later lease of it is claimed too: whoever held that one has fenced this one off.
    pub(crate) fn claim(&mut self, id: JobId, worker: WorkerId, held: &HeldLease) -> bool {
        let Some(job) = self.state.jobs.get(&id) else {
            return false;
        };
        let stage: Option<&Stage> = job.stages.get(held.shard.stage as usize);
        let Some(shard) = stage.and_then(|s| s.shards.get(held.shard.index as usize)) else {
            return false;
        };
        let rival = self
            .volatile
            .leases
            .of_shard(id, held.shard)
            .map(|(lease, rival)| (lease, rival.worker));
        let may = shard.phase == Phase::Pending
            && held.lease > shard.lease
            // Not what ran of an earlier version of the job.
            && held.lease >= job.first_lease
            && held.lease < LeaseId::new(self.state.incarnation, 0)
            && rival.is_none_or(|(lease, _)| lease < held.lease)
            && job.cancelled.is_none();
        let (Some(volatile), Some(holder)) = (
            self.volatile.jobs.get_mut(&id),
            self.volatile.workers.get(&worker),
        ) else {
            return false;
        };
        let local = volatile.is_local(held.shard.stage);
        if !may || local != holder.hello.launcher {
            return false;
        }
        // Nobody waits for a launcher to come back; but nobody else may have taken its shard meanwhile.
        if volatile.seeded && !(local && volatile.unqueue(held.shard)) {
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
        let (Some(volatile), Some(holder)) = (
            self.volatile.jobs.get_mut(&id),
            self.volatile.workers.get_mut(&worker),
        ) else {
            return false;
        };
        if let Some(until) = volatile.backoff.remove(&held.shard) {
            self.volatile.backoffs.remove(&(until, id, held.shard));
        }
        holder.leases.insert(held.lease);
        holder.load.add(volatile.demand(held.shard.stage));
        holder.gpus.take(&held.gpus);
        volatile.running_by_stage[held.shard.stage as usize] += 1;
        let granted_at = self.now;
        let entry = Lease {
            job: id,
            shard: held.shard,
            worker,
            attempt: held.attempt,
            granted_at,
            turn_at: Some(granted_at),
            recalled: false,
            gpus: held.gpus.clone(),
            speculative: false,
            overtaken: false,
        };
        self.volatile.leases.insert(held.lease, entry);
        true
    }
}
