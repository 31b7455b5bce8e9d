//! The output folder that all workers share: what survives everybody.

use petctl_core::{LeaseGrant, LeaseId};
use std::collections::{BTreeMap, BTreeSet};

/// Where a shard's outputs are: its stage, and its key.
pub type Place = (u32, String);

/// Committed outputs, and the folders of attempts that are not.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    committed: BTreeMap<Place, LeaseId>,
    attempts: BTreeMap<Place, BTreeSet<LeaseId>>,
    /// Every publication, in order.
    pub publications: Vec<Publication>,
    /// Attempts whose folders were taken away.
    pub fenced: BTreeSet<LeaseId>,
    /// The fence is broken on purpose.
    pub broken: bool,
}

/// Outputs that were published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Where.
    pub place: Place,
    /// By which attempt.
    pub lease: LeaseId,
    /// Outputs of attempts below this one may be replaced.
    pub replaces_below: LeaseId,
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
    pub fn committed(&self, place: &Place) -> Option<LeaseId> {
        self.committed.get(place).copied()
    }

    /// Starts an attempt: with a fence, the folders of others are taken away first, and what stands is adopted.
    pub fn start(&mut self, grant: &LeaseGrant) -> Option<LeaseId> {
        let place = place(grant);
        let stands = self.stands(&place, grant.replaces_below);
        let folders = self.attempts.entry(place).or_default();
        if grant.fence && !self.broken {
            self.fenced.extend(folders.iter().copied());
            folders.clear();
            if stands.is_some() {
                return stands;
            }
        }
        folders.insert(grant.lease);
        None
    }

    /// One atomic step: the attempt's folder becomes the shard's, if it is there and nothing stands.
    pub fn publish(&mut self, grant: &LeaseGrant) -> Published {
        let place = place(grant);
        let stands = self.stands(&place, grant.replaces_below);
        if let Some(stands) = stands.filter(|_| !self.broken) {
            return Published::Theirs(stands);
        }
        if !self
            .attempts
            .get_mut(&place)
            .is_some_and(|folders| folders.remove(&grant.lease))
        {
            return Published::Fenced;
        }
        self.committed.insert(place.clone(), grant.lease);
        self.publications.push(Publication {
            place,
            lease: grant.lease,
            replaces_below: grant.replaces_below,
        });
        Published::Ours
    }

    /// What counts for an attempt: not what an earlier version of the job left.
    fn stands(&self, place: &Place, replaces_below: LeaseId) -> Option<LeaseId> {
        self.committed(place)
            .filter(|lease| *lease >= replaces_below)
    }

    /// A failed attempt's folder goes.
    pub fn discard(&mut self, grant: &LeaseGrant) {
        if let Some(folders) = self.attempts.get_mut(&place(grant)) {
            folders.remove(&grant.lease);
        }
    }
}

/// Where a grant's outputs go.
#[must_use]
pub fn place(grant: &LeaseGrant) -> Place {
    (grant.shard.stage, grant.key.clone())
}
