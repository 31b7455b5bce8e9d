//! What must hold of the output itself, whoever works on it: told from what happened there alone.

use super::contents::Truths;
use crate::output::{Event, Files, Name, Output, Place, Why};
use petctl_spec::ContentDigest;
use std::collections::{BTreeMap, BTreeSet};

/// An independent reading of what happened at the output.
#[derive(Clone, Debug, Default)]
pub struct OutputOracle {
    /// Folders that were taken away from their attempts.
    fenced: BTreeSet<(Place, Name)>,
    /// What became visible last, by place and lineage.
    published: BTreeMap<(Place, u64), (u64, Option<ContentDigest>)>,
    /// Where somebody removed something by hand: what was of before there, nobody promises.
    by_hand: BTreeSet<Place>,
    /// Where an attempt put something aside that had no right to any more.
    pub strayed: BTreeSet<Place>,
    /// How often.
    pub strays: u64,
    /// Who had the output last.
    pub last_keeper: Option<usize>,
    /// What outputs are made of.
    pub truths: Truths,
}

impl OutputOracle {
    /// Takes in what happened.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub fn look(&mut self, output: &mut Output) -> Result<(), String> {
        for event in std::mem::take(&mut output.events) {
            match event {
                Event::Published {
                    files,
                    by,
                    replaces_below,
                    fresh,
                } => self.published(&files, by, replaces_below, fresh)?,
                Event::Gone { files, why, stands } => self.gone(&files, why, stands.as_deref())?,
                Event::Fenced { place, name, by } => {
                    if name.lineage == by.lineage && name.lease > by.lease {
                        return Err(format!(
                            "{by:?} took the folder of {name:?} at {place:?}, which is later"
                        ));
                    }
                    self.fenced.insert((place, name));
                }
                Event::Strayed(place) => {
                    self.strays += 1;
                    self.strayed.insert(place);
                }
            }
        }
        Ok(())
    }

    /// Invariant 4: nothing is published twice, no attempt publishes after its folder was taken, and each publishes
    /// what it has written itself.
    fn published(
        &mut self,
        files: &Files,
        by: u64,
        replaces_below: u64,
        fresh: bool,
    ) -> Result<(), String> {
        let (place, name) = (&files.place, files.name);
        if files.writers.len() != 1 || !files.writers.contains(&by) {
            return Err(format!(
                "{place:?} was published by {name:?} with what several attempts wrote"
            ));
        }
        if self.fenced.contains(&(place.clone(), name)) {
            return Err(format!(
                "{place:?} was published by {name:?} although it was fenced"
            ));
        }
        let of_it = (place.clone(), name.lineage);
        let before = self.published.insert(of_it, (name.lease, files.content));
        match before {
            Some((lease, content))
                if lease >= replaces_below && content == files.content && !fresh =>
            {
                Err(format!(
                    "{place:?} was published by {lease} and again by {name:?}"
                ))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing that was committed goes before what replaces it stands, and nothing goes unasked.
    fn gone(&mut self, files: &Files, why: Why, stands: Option<&Files>) -> Result<(), String> {
        let (place, name) = (&files.place, files.name);
        if why == Why::ByHand {
            self.by_hand.insert(place.clone());
        }
        if files.published_at.is_none() {
            return Ok(());
        }
        let known = self.published.get(&(place.clone(), name.lineage));
        if known.is_some_and(|(lease, _)| *lease == name.lease) {
            self.published.remove(&(place.clone(), name.lineage));
        }
        if !files.whole || !files.told || self.by_hand.contains(place) {
            return Ok(());
        }
        let replaced = stands.is_some_and(|stands| stands.whole && stands.name != name);
        let durable = stands.is_some_and(|stands| stands.durable);
        match why {
            Why::ByHand => Ok(()),
            Why::Settled if replaced && durable => Ok(()),
            Why::Replaced | Why::Swept | Why::Discarded if replaced => Ok(()),
            Why::Overwritten => Err(format!(
                "something was published over {name:?} at {place:?}"
            )),
            Why::Settled
            | Why::Replaced
            | Why::Swept
            | Why::Discarded
            | Why::Fenced
            | Why::Damaged
            | Why::Cleared => Err(format!(
                "the outputs of {name:?} at {place:?} are gone ({why:?}) and nothing stands for them"
            )),
        }
    }
}
