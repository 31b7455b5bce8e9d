//! The steps of a commit on a container: each is one request. A register is written under a condition, and the answer to
//! a write may be lost: whoever asks again is told that the condition does not hold.

use super::maker::Maker;
use super::{Event, Files, Name, Output, Place, Why};
use crate::plan::Broken;
use fastrand::Rng;
use petctl_core::Verdict;
use std::collections::BTreeSet;

/// A shard's register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its version.
    pub etag: u64,
    /// What it says.
    pub says: Says,
}

/// What a register says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// These are committed.
    Commit {
        /// Which files.
        id: u64,
        /// Whose they are.
        name: Name,
    },
    /// Somebody is going to commit.
    Claim {
        /// Who.
        by: Name,
        /// Made by a sweep: that attempt's data is gone.
        swept: bool,
        /// Outputs of before, put aside until others stand: which, and whose.
        earlier: Option<(u64, Name)>,
    },
}

/// The version of a register that a write wants to find; `None`: none at all.
pub type Condition = Option<u64>;

impl Register {
    pub(super) fn commit(&self) -> Option<u64> {
        match self.says {
            Says::Commit { id, .. } => Some(id),
            Says::Claim { .. } => None,
        }
    }

    pub(super) fn aside(&self) -> Option<u64> {
        match self.says {
            Says::Commit { .. } => None,
            Says::Claim { earlier, .. } => earlier.map(|(id, _)| id),
        }
    }
}

/// Whether a lease can't even begin any more.
#[must_use]
pub fn shuts_out(by: Name, swept: bool, own: Name) -> bool {
    let later = by.lease > own.lease || (by.lease == own.lease && swept);
    by.lineage == own.lineage && later
}

/// What a sweep makes of the data of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doomed {
    /// It may still be committed, or is.
    No,
    /// Nobody can commit it.
    Yes,
    /// Nobody could, once this is claimed.
    Once(Condition, Option<(u64, Name)>),
}

impl Output {
    /// Reads a register.
    #[must_use]
    pub fn register(&self, place: &Place) -> Option<Register> {
        self.registers.get(place).copied()
    }

    /// Writes a register, if the condition holds. False: it does not, or the answer was lost.
    pub fn put(&mut self, place: &Place, says: Says, condition: Condition, rng: &mut Rng) -> bool {
        let there = self.registers.get(place).map(|register| register.etag);
        if there != condition && !self.is_broken(Broken::ETag) {
            return false;
        }
        self.last_etag += 1;
        let etag = self.last_etag;
        self.registers
            .insert(place.clone(), Register { etag, says });
        let lost = rng.u32(0..1_000) < self.lost_permille;
        self.lost_answers += u64::from(lost);
        !lost
    }

    /// The etag of the register as it is now.
    #[must_use]
    pub fn etag(&self, place: &Place) -> Condition {
        self.registers.get(place).map(|register| register.etag)
    }

    /// All of an attempt's files are sent.
    pub fn send(&mut self, maker: &Maker, verdict: Verdict) -> u64 {
        let key = (maker.place.clone(), maker.spelled);
        if let Some(id) = self.data.get(&key).copied() {
            if let Some(files) = self.files.get_mut(&id) {
                files.writers.insert(maker.writer);
            }
            return id;
        }
        let id = self.add(Files {
            name: maker.name,
            place: maker.place.clone(),
            content: maker.content,
            verdict,
            writers: BTreeSet::from([maker.writer]),
            whole: true,
            readable: true,
            published_at: None,
            durable: true,
            told: false,
        });
        self.data.insert(key, id);
        id
    }

    /// A commit was written: readers see these files from now on.
    pub(super) fn committed_now(&mut self, id: u64, maker: &Maker, now: u64) {
        self.show(id, maker, now);
    }

    /// What a claim put aside by somebody who has no right to any more.
    pub(super) fn strayed(&mut self, place: &Place) {
        self.events.push(Event::Strayed(place.clone()));
    }

    /// Removes the data of an attempt.
    pub fn remove_data(&mut self, place: &Place, name: Name, why: Why) {
        if let Some(id) = self.data.remove(&(place.clone(), name)) {
            self.destroy(id, why);
        }
    }

    /// What a listing shows of attempts: where there is data that no commit beside it names.
    #[must_use]
    pub fn list_data(&self) -> Vec<(Place, Name)> {
        let data = self.data.iter();
        let loose = data.filter(|((place, _), id)| self.standing(place) != Some(**id));
        loose
            .map(|((place, name), _)| (place.clone(), *name))
            .collect()
    }

    /// What a listing shows of registers that hold no commit.
    #[must_use]
    pub fn list_claims(&self) -> Vec<Place> {
        let registers = self.registers.iter();
        let claims = registers.filter(|(_, register)| register.commit().is_none());
        claims.map(|(place, _)| place.clone()).collect()
    }

    /// Whether an attempt can't commit any more, by its register. `lineage`: whose leases the sweep knows.
    #[must_use]
    pub fn is_doomed(&self, place: &Place, name: Name, lineage: u64) -> Doomed {
        let (condition, earlier) = match self.register(place) {
            None => (None, None),
            Some(Register { etag, says }) => match says {
                Says::Commit { name: by, .. } if by == name => return Doomed::No,
                Says::Commit { .. } => return Doomed::Yes,
                // It waits for the shard to be again what it was then.
                Says::Claim { earlier, .. } if earlier.is_some_and(|(_, of)| of == name) => {
                    return Doomed::No;
                }
                Says::Claim { by, swept, .. } if shuts_out(by, swept, name) => return Doomed::Yes,
                Says::Claim { by, .. } if by.lineage != name.lineage => return Doomed::Yes,
                Says::Claim { earlier, .. } => (Some(etag), earlier),
            },
        };
        if name.lineage == lineage {
            Doomed::Once(condition, earlier)
        } else {
            Doomed::No
        }
    }

    /// A claim that nobody will turn into a commit goes with its job, if its register is as it was.
    pub fn drop_claim(&mut self, place: &Place, lineage: u64, condition: Condition) {
        let Some(register) = self.registers.get(place) else {
            return;
        };
        let goes = match register.says {
            Says::Claim { by, swept, earlier } => {
                let first = (place.clone(), Name::default());
                let mut data = self.data.range(first..);
                let has_data = data.next().is_some_and(|((of, _), _)| of == place);
                by.lineage == lineage && earlier.is_none() && !(swept && has_data)
            }
            Says::Commit { .. } => false,
        };
        if goes && condition == Some(register.etag) {
            self.registers.remove(place);
        }
    }

    /// The files that a claim keeps aside, as an attempt sees them that begins.
    #[must_use]
    pub fn kept_by_claim(&self, earlier: Option<(u64, Name)>) -> Option<&Files> {
        self.files.get(&earlier?.0)
    }
}
