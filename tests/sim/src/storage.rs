//! The output folder that all workers share: what survives everybody.

use petctl_core::{LeaseGrant, LeaseId};
use petctl_spec::ContentDigest;
use std::collections::{BTreeMap, BTreeSet};

/// Where a shard's outputs are: its stage, and its key.
pub type Place = (u32, String);

/// Committed outputs, and the folders of attempts that are not.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    committed: BTreeMap<Place, Commit>,
    /// Outputs of before, put aside while their shards run again.
    earlier: BTreeMap<Place, Commit>,
    attempts: BTreeMap<Place, BTreeSet<LeaseId>>,
    /// Every publication, in order.
    pub publications: Vec<Publication>,
    /// Attempts whose folders were taken away.
    pub fenced: BTreeSet<LeaseId>,
    /// Outputs of before that were brought back, because their shards were again what they were then.
    pub restored: BTreeSet<(Place, LeaseId)>,
    /// The fence is broken on purpose.
    pub broken: bool,
}

/// Outputs, by whom and of what they are.
#[derive(Clone, Copy, Debug)]
struct Commit {
    lease: LeaseId,
    content: Option<ContentDigest>,
}

/// Outputs that were published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Where.
    pub place: Place,
    /// By which attempt.
    pub lease: LeaseId,
    /// What they are made of.
    pub content: Option<ContentDigest>,
    /// Outputs of attempts below this one may be replaced.
    pub replaces_below: LeaseId,
}

/// What beginning came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It may run.
    Runs,
    /// There is nothing to do: these outputs stand.
    Adopted(LeaseId),
    /// A later attempt is here.
    Overtaken,
}

/// What publishing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// These outputs stand.
    Ours,
    /// Another attempt's stood already.
    Theirs(LeaseId),
    /// Our folder was taken away, or a later attempt's outputs stand.
    Fenced,
}

/// What outputs that stand are to an attempt.
enum Standing {
    Adopted,
    Earlier,
    Later,
}

impl Storage {
    /// The attempt whose outputs stand.
    #[must_use]
    pub fn committed(&self, place: &Place) -> Option<LeaseId> {
        self.committed.get(place).map(|commit| commit.lease)
    }

    /// Starts an attempt: with a fence, the folders of earlier ones are taken away. What stands is adopted, or put aside.
    pub fn start(&mut self, grant: &LeaseGrant) -> Begun {
        let place = place(grant);
        let folders = self.attempts.entry(place.clone()).or_default();
        if grant.fence && !self.broken {
            if folders.iter().any(|lease| *lease > grant.lease) {
                return Begun::Overtaken;
            }
            self.fenced.extend(folders.iter().copied());
            folders.clear();
        }
        match self.committed.get(&place).copied() {
            Some(stands) => match judge(grant, stands) {
                Standing::Adopted => return Begun::Adopted(stands.lease),
                Standing::Earlier => {
                    self.committed.remove(&place);
                    self.earlier.insert(place.clone(), stands);
                }
                Standing::Later => return Begun::Overtaken,
            },
            None if grant.fence => {
                let earlier = self.earlier.get(&place).copied();
                let is_same = |earlier: &Commit| {
                    grant.content.is_some() && !grant.fresh && earlier.content == grant.content
                };
                if let Some(earlier) = earlier.filter(is_same) {
                    self.earlier.remove(&place);
                    self.committed.insert(place.clone(), earlier);
                    self.restored.insert((place, earlier.lease));
                    return Begun::Adopted(earlier.lease);
                }
            }
            None => {}
        }
        self.attempts.entry(place).or_default().insert(grant.lease);
        Begun::Runs
    }

    /// One atomic step: the attempt's folder becomes the shard's, if it is there and nothing stands.
    pub fn publish(&mut self, grant: &LeaseGrant) -> Published {
        let place = place(grant);
        if let Some(stands) = self.committed.get(&place).filter(|_| !self.broken) {
            match judge(grant, *stands) {
                Standing::Adopted => return Published::Theirs(stands.lease),
                Standing::Earlier => {}
                Standing::Later => return Published::Fenced,
            }
        }
        if !self
            .attempts
            .get_mut(&place)
            .is_some_and(|folders| folders.remove(&grant.lease))
        {
            return Published::Fenced;
        }
        let commit = Commit {
            lease: grant.lease,
            content: grant.content,
        };
        self.earlier.remove(&place);
        self.committed.insert(place.clone(), commit);
        self.publications.push(Publication {
            place,
            lease: grant.lease,
            content: grant.content,
            replaces_below: grant.replaces_below,
        });
        Published::Ours
    }

    /// A failed attempt's folder goes.
    pub fn discard(&mut self, grant: &LeaseGrant) {
        if let Some(folders) = self.attempts.get_mut(&place(grant)) {
            folders.remove(&grant.lease);
        }
    }
}

fn judge(grant: &LeaseGrant, stands: Commit) -> Standing {
    if stands.lease >= grant.replaces_below && stands.content == grant.content {
        Standing::Adopted
    } else if stands.lease < grant.lease {
        Standing::Earlier
    } else {
        Standing::Later
    }
}

/// Where a grant's outputs go.
#[must_use]
pub fn place(grant: &LeaseGrant) -> Place {
    (grant.shard.stage, grant.key.clone())
}
