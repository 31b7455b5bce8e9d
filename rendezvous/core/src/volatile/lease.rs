//! Leases: who may run and commit which shard right now. Not durable, by design.

use crate::{GpuShare, JobId, LeaseId, Millis, ShardId, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// One grant.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) job: JobId,
    pub(crate) shard: ShardId,
    pub(crate) worker: WorkerId,
    pub(crate) attempt: u32,
    pub(crate) granted_at: Millis,
    /// When it came to have a slot at its worker, as far as its place there tells; `None`: it waits for one.
    pub(crate) slot_since: Option<Millis>,
    /// Asked back if it has not started; not asked twice.
    pub(crate) recalled: bool,
    /// GPUs that are its own.
    pub(crate) gpus: Vec<GpuShare>,
    /// A second attempt, while the first one runs.
    pub(crate) speculative: bool,
    /// Another attempt's outputs stand: this one only has to stop.
    pub(crate) overtaken: bool,
}

/// All leases, by number and by shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    by_id: BTreeMap<LeaseId, Lease>,
    by_shard: BTreeSet<(JobId, ShardId, LeaseId)>,
}

impl Leases {
    pub(crate) fn insert(&mut self, id: LeaseId, lease: Lease) {
        self.by_shard.insert((lease.job, lease.shard, id));
        self.by_id.insert(id, lease);
    }

    pub(crate) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.by_id.remove(&id)?;
        self.by_shard.remove(&(lease.job, lease.shard, id));
        Some(lease)
    }

    pub(crate) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: LeaseId) -> Option<&mut Lease> {
        self.by_id.get_mut(&id)
    }

    /// The oldest lease of a shard.
    pub(crate) fn of_shard(&self, job: JobId, shard: ShardId) -> Option<(LeaseId, &Lease)> {
        self.all_of_shard(job, shard).next()
    }

    /// Both, where a straggler has a second attempt.
    pub(crate) fn all_of_shard(
        &self,
        job: JobId,
        shard: ShardId,
    ) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.within((job, shard, LeaseId(0)), (job, shard, LeaseId(u64::MAX)))
    }

    pub(crate) fn of_job(&self, job: JobId) -> impl Iterator<Item = (LeaseId, &Lease)> {
        let last = ShardId {
            stage: u32::MAX,
            index: u32::MAX,
        };
        self.within(
            (job, ShardId::default(), LeaseId(0)),
            (job, last, LeaseId(u64::MAX)),
        )
    }

    fn within(
        &self,
        first: (JobId, ShardId, LeaseId),
        last: (JobId, ShardId, LeaseId),
    ) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.by_shard
            .range(first..=last)
            .filter_map(|(_, _, id)| Some((*id, self.by_id.get(id)?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}
