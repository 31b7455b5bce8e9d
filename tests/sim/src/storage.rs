//! The output folder that all workers share: what survives everybody.

use petctl_core::{LeaseId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// Committed outputs, and the folders of attempts that are not.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    committed: BTreeMap<ShardId, LeaseId>,
    attempts: BTreeMap<ShardId, BTreeSet<LeaseId>>,
    /// Every publication, in order.
    pub publications: Vec<(ShardId, LeaseId)>,
    /// Attempts whose folders were taken away.
    pub fenced: BTreeSet<LeaseId>,
    /// The fence is broken on purpose.
    pub broken: bool,
}

/// What publishing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// These outputs stand.
    Ours,
    /// Another attempt's stood already.
    Theirs(LeaseId),
    /// Our folder was taken away.
    Fenced,
}

impl Storage {
    /// The attempt whose outputs stand.
    #[must_use]
    pub fn committed(&self, shard: ShardId) -> Option<LeaseId> {
        self.committed.get(&shard).copied()
    }

    /// All that stands.
    pub fn all(&self) -> impl Iterator<Item = (ShardId, LeaseId)> + '_ {
        self.committed.iter().map(|(s, l)| (*s, *l))
    }

    /// Starts an attempt: with `fence`, the folders of others are taken away first, and what stands is adopted.
    pub fn start(&mut self, shard: ShardId, lease: LeaseId, fence: bool) -> Option<LeaseId> {
        let folders = self.attempts.entry(shard).or_default();
        if fence && !self.broken {
            self.fenced.extend(folders.iter().copied());
            folders.clear();
            if let Some(stands) = self.committed.get(&shard) {
                return Some(*stands);
            }
        }
        folders.insert(lease);
        None
    }

    /// One atomic step: the attempt's folder becomes the shard's, if it is there and nothing stands.
    pub fn publish(&mut self, shard: ShardId, lease: LeaseId) -> Published {
        if let Some(stands) = self.committed(shard).filter(|_| !self.broken) {
            return Published::Theirs(stands);
        }
        if !self
            .attempts
            .get_mut(&shard)
            .is_some_and(|folders| folders.remove(&lease))
        {
            return Published::Fenced;
        }
        self.committed.insert(shard, lease);
        self.publications.push((shard, lease));
        Published::Ours
    }

    /// A failed attempt's folder goes.
    pub fn discard(&mut self, shard: ShardId, lease: LeaseId) {
        if let Some(folders) = self.attempts.get_mut(&shard) {
            folders.remove(&lease);
        }
    }
}
