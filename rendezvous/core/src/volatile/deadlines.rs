//! When something is due: one moment for each.

use crate::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// Deadlines by what they are for.
#[derive(Clone, Debug)]
pub(crate) struct Deadlines<K> {
    at: BTreeMap<K, Millis>,
    queue: BTreeSet<(Millis, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            at: BTreeMap::new(),
            queue: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord> Deadlines<K> {
    /// Sets, moves or removes the deadline of `what`.
    pub(crate) fn set(&mut self, what: K, at: Option<Millis>) {
        if self.at.get(&what).copied() == at {
            return;
        }
        if let Some(old) = self.at.remove(&what) {
            self.queue.remove(&(old, what));
        }
        if let Some(at) = at {
            self.at.insert(what, at);
            self.queue.insert((at, what));
        }
    }

    pub(crate) fn first(&self) -> Option<Millis> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first that has passed.
    pub(crate) fn due(&mut self, now: Millis) -> Option<K> {
        let (at, what) = self.queue.first().copied().filter(|(at, _)| *at <= now)?;
        self.queue.remove(&(at, what));
        self.at.remove(&what);
        Some(what)
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.at.retain(|what, _| keep(what));
        self.queue.retain(|(_, what)| keep(what));
    }
}
