//! The output that all workers and launchers share: what survives everybody.
//!
//! It is a folder or a container, and everything in it is done by steps that others can come between: each function
//! here is one step, as the real commit (`petctl_commit`) takes it. [`attempt`] puts them in order.

pub mod aside;
pub mod attempt;
pub mod blob;
pub mod folder;
pub mod maker;
pub mod run;

use crate::plan::Broken;
use blob::Register;
use fastrand::Rng;
use petctl_core::{LeaseGrant, Verdict};
use petctl_spec::ContentDigest;
use run::RunRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where a shard's outputs are: its stage, and its key.
pub type Place = (u32, String);

/// Where a grant's outputs go.
#[must_use]
pub fn place(grant: &LeaseGrant) -> Place {
    (grant.shard.stage, grant.key.clone())
}

/// Whose files these are, as their place and their manifest name them.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Where the lease is from.
    pub lineage: u64,
    /// The lease.
    pub lease: u64,
}

/// Short: there are many in a trace.
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, number) = (self.lease >> 32, self.lease & u64::from(u32::MAX));
        write!(f, "{:04x}:{start}.{number}", self.lineage & 0xffff)
    }
}

/// Files that one attempt wrote, wherever they are now.
#[derive(Clone, Debug)]
pub struct Files {
    /// Whose they are.
    pub name: Name,
    /// Where they belong.
    pub place: Place,
    /// What their manifest says that they are made of.
    pub content: Option<ContentDigest>,
    /// What their `result.json` says.
    pub verdict: Verdict,
    /// Attempts that wrote into them, as nobody but this model can tell.
    pub writers: BTreeSet<u64>,
    /// All is there that the manifest names.
    pub whole: bool,
    /// The manifest itself can be read.
    pub readable: bool,
    /// When they became visible.
    pub published_at: Option<u64>,
    /// They survive a power cut.
    pub durable: bool,
    /// A worker has said of them that they are committed.
    pub told: bool,
}

/// What happened to files, for those who look whether it should have.
#[derive(Clone, Debug)]
pub enum Event {
    /// They became visible.
    Published {
        /// What they are.
        files: Box<Files>,
        /// The attempt that did it, as nobody but this model can tell.
        by: u64,
        /// Outputs of the same lineage below this lease may be replaced.
        replaces_below: u64,
        /// Whatever they are made of, they were to be made anew.
        fresh: bool,
    },
    /// They are no more.
    Gone {
        /// What they were.
        files: Box<Files>,
        /// Why.
        why: Why,
        /// What stands at their place now, or waits aside for it.
        stands: Option<Box<Files>>,
    },
    /// The folder of an attempt was taken away by another one.
    Fenced {
        /// Where.
        place: Place,
        /// Whose it was.
        name: Name,
        /// Who took it.
        by: Name,
    },
    /// What stood was put aside by an attempt that had no right to any more.
    Strayed(Place),
}

/// Why files are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Their attempt did not commit.
    Discarded,
    /// Their attempt was fenced off.
    Fenced,
    /// What replaced them is durable.
    Settled,
    /// Others were put aside in their stead.
    Replaced,
    /// They were damaged, and moved away.
    Damaged,
    /// A sweep took them for leftovers.
    Swept,
    /// A launcher cleared the output.
    Cleared,
    /// Somebody removed them by hand.
    ByHand,
    /// Others were written over them.
    Overwritten,
}

/// The output, and all that is in it.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// It is a container; else a folder.
    pub is_blob: bool,
    /// A protection that is taken away.
    pub broken: Option<Broken>,
    /// All files, by a number of their own.
    files: BTreeMap<u64, Files>,
    last_file: u64,
    /// Folder: committed outputs.
    committed: BTreeMap<Place, u64>,
    /// Folder: outputs of before, put aside while their shards run again.
    earlier: BTreeMap<Place, u64>,
    /// Folder: what attempts write, by place and name.
    attempts: BTreeMap<(Place, Name), u64>,
    /// Folder: who may move committed outputs away.
    lock: Option<u64>,
    /// Container: registers.
    registers: BTreeMap<Place, Register>,
    /// Container: the data of attempts.
    data: BTreeMap<(Place, Name), u64>,
    last_etag: u64,
    /// Chance that the answer to a write is lost, in thousandths.
    pub lost_permille: u32,
    /// Answers that were lost.
    pub lost_answers: u64,
    /// The record of the run that works on it.
    pub run: Option<RunRecord>,
    /// It has an owner's record.
    pub marked: bool,
    /// Outputs of before that came back, because their shards were again what they were then.
    pub restored: BTreeSet<(Place, Name)>,
    /// What happened since somebody looked.
    pub events: Vec<Event>,
    /// Locks that were waited for.
    pub lock_waits: u64,
    /// Moved away because they were damaged.
    pub damaged: u64,
}

impl Output {
    /// A folder, or a container from which answers may be lost.
    #[must_use]
    pub fn draw(rng: &mut Rng, broken: Option<Broken>) -> Self {
        Self {
            broken,
            is_blob: rng.u32(0..3) == 0,
            lost_permille: if rng.bool() { rng.u32(0..200) } else { 0 },
            ..Self::default()
        }
    }

    /// The files that stand at a place.
    #[must_use]
    pub fn stands(&self, place: &Place) -> Option<&Files> {
        self.files.get(&self.standing(place)?)
    }

    fn standing(&self, place: &Place) -> Option<u64> {
        if self.is_blob {
            self.registers.get(place).and_then(Register::commit)
        } else {
            self.committed.get(place).copied()
        }
    }

    /// Whose outputs stand at a place.
    #[must_use]
    pub fn committed(&self, place: &Place) -> Option<Name> {
        self.stands(place).map(|files| files.name)
    }

    /// Whether these are at a place or put aside for it, and whole.
    #[must_use]
    pub fn keeps(&self, place: &Place, name: Name) -> bool {
        let kept = [self.standing(place), self.aside(place)];
        let mut kept = kept
            .into_iter()
            .flatten()
            .filter_map(|id| self.files.get(&id));
        kept.any(|files| files.name == name && files.whole)
    }

    fn aside(&self, place: &Place) -> Option<u64> {
        if self.is_blob {
            self.registers.get(place).and_then(Register::aside)
        } else {
            self.earlier.get(place).copied()
        }
    }

    /// Files by their number.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Files> {
        self.files.get(&id)
    }

    /// Every place where something stands.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        if self.is_blob {
            let commits = self.registers.iter();
            let commits = commits.filter(|(_, register)| register.commit().is_some());
            commits.map(|(place, _)| place.clone()).collect()
        } else {
            self.committed.keys().cloned().collect()
        }
    }

    /// A process is gone, and the locks that it held.
    pub fn unlock(&mut self, holder: u64) {
        if self.lock == Some(holder) {
            self.lock = None;
        }
    }

    /// All that was published before is durable now: one sync is for everybody.
    pub fn sync(&mut self, since: u64) {
        for files in self.files.values_mut() {
            files.durable |= files.published_at.is_some_and(|at| at <= since);
        }
    }

    /// A worker says that the outputs at a place are committed.
    pub fn told(&mut self, place: &Place, name: Name) {
        let id = self
            .standing(place)
            .filter(|id| self.files.get(id).is_some_and(|files| files.name == name));
        if let Some(files) = id.and_then(|id| self.files.get_mut(&id)) {
            files.told = true;
        }
    }

    /// The machine with the folder loses its power: what was published and not synced may be empty.
    ///
    /// # Errors
    /// If a worker had said of such outputs that they are committed.
    pub fn power_cut(&mut self, rng: &mut Rng) -> Result<(), String> {
        self.lock = None;
        if self.is_blob {
            return Ok(());
        }
        for files in self.files.values_mut() {
            if files.durable || rng.u32(0..3) == 0 {
                continue;
            }
            if files.told {
                return Err(format!(
                    "{:?} of {:?} was told as committed, and a power cut has damaged it",
                    files.name, files.place
                ));
            }
            files.whole = false;
            files.readable = rng.bool();
        }
        Ok(())
    }

    /// Somebody removes the outputs of a shard.
    pub fn remove_by_hand(&mut self, place: &Place) {
        let Some(id) = self.standing(place) else {
            return;
        };
        self.committed.remove(place);
        self.registers.remove(place);
        self.data.retain(|_, other| *other != id);
        self.destroy(id, Why::ByHand);
    }

    /// A launcher of before cleared all that its job had, before it submitted anything.
    pub fn clear(&mut self) {
        for place in self.places() {
            if let Some(id) = self.standing(&place) {
                self.committed.remove(&place);
                self.registers.remove(&place);
                self.data.retain(|_, other| *other != id);
                self.destroy(id, Why::Cleared);
            }
        }
    }

    fn add(&mut self, files: Files) -> u64 {
        self.last_file += 1;
        self.files.insert(self.last_file, files);
        self.last_file
    }

    /// The files are no more. What stands at their place is looked at now: later it may be others.
    fn destroy(&mut self, id: u64, why: Why) {
        if let Some(files) = self.files.remove(&id) {
            let aside = self.aside(&files.place);
            let stands = self.standing(&files.place).or(aside);
            let stands = stands.and_then(|id| self.files.get(&id)).cloned();
            let stands = stands.map(Box::new);
            self.events.push(Event::Gone {
                files: Box::new(files),
                why,
                stands,
            });
        }
    }

    fn is_broken(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }
}
