//! Leases: who may run and commit which shard right now. Not durable, by design.

use crate::{JobId, LeaseId, Millis, ShardId, WorkerId};
use std::collections::BTreeMap;

/// One grant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) job: JobId,
    pub(crate) shard: ShardId,
    pub(crate) worker: WorkerId,
    pub(crate) attempt: u32,
    pub(crate) granted_at: Millis,
    /// Asked back if it has not started; not asked twice.
    pub(crate) recalled: bool,
}

/// All leases, by number and by shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    by_id: BTreeMap<LeaseId, Lease>,
    by_shard: BTreeMap<(JobId, ShardId), LeaseId>,
}

impl Leases {
    pub(crate) fn insert(&mut self, id: LeaseId, lease: Lease) {
        self.by_shard.insert((lease.job, lease.shard), id);
        self.by_id.insert(id, lease);
    }

    pub(crate) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.by_id.remove(&id)?;
        self.by_shard.remove(&(lease.job, lease.shard));
        Some(lease)
    }

    pub(crate) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: LeaseId) -> Option<&mut Lease> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn of_shard(&self, job: JobId, shard: ShardId) -> Option<(LeaseId, &Lease)> {
        let id = *self.by_shard.get(&(job, shard))?;
        self.by_id.get(&id).map(|lease| (id, lease))
    }

    pub(crate) fn of_job(&self, job: JobId) -> impl Iterator<Item = (LeaseId, &Lease)> {
        let first = (job, ShardId { stage: 0, index: 0 });
        let last = (
            job,
            ShardId {
                stage: u32::MAX,
                index: u32::MAX,
            },
        );
        self.by_shard
            .range(first..=last)
            .filter_map(|(_, id)| Some((*id, self.by_id.get(id)?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}
