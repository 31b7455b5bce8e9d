//! The keys of two versions of a stage, held against each other.

use petctl_spec::StageSpec;
use petctl_spec::shards::{self, ShardKeys, stage_count};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The keys of a stage, computed or listed.
pub(super) enum Keys<'a> {
    Listed(&'a [String]),
    Computed(ShardKeys<'a>),
    One(&'static str),
    None,
}

impl<'a> Keys<'a> {
    pub(super) fn of(spec: &'a StageSpec, listed: &'a [String]) -> Self {
        if let Some(key) = spec.kind.single_key() {
            return Self::One(key);
        }
        match spec.kind.source() {
            Some(_) if !listed.is_empty() => Self::Listed(listed),
            Some(source) if stage_count(&spec.kind).is_some() => {
                shards::keys(source).map_or(Self::None, Self::Computed)
            }
            Some(_) | None => Self::None,
        }
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Self::Listed(keys) => keys.len(),
            Self::Computed(keys) => usize::try_from(keys.count_all()).unwrap_or(usize::MAX),
            Self::One(_) => 1,
            Self::None => 0,
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Cow<'a, str>> {
        match self {
            Self::Listed(keys) => keys.get(index).map(|key| Cow::Borrowed(key.as_str())),
            Self::Computed(keys) => keys.get(index as u64).map(Cow::Owned),
            Self::One(key) => (index == 0).then_some(Cow::Borrowed(*key)),
            Self::None => None,
        }
    }
}

/// Where the keys of one stage are in another.
pub(super) struct Match(Vec<u32>);

const NOWHERE: u32 = u32::MAX;

impl Match {
    /// The same keys in the same places.
    pub(super) fn same(count: usize) -> Self {
        Self((0..u32::try_from(count).unwrap_or(u32::MAX)).collect())
    }

    /// Most stages change little: each key is looked for behind the one before it first, and only then among all.
    pub(super) fn new(keys: &Keys<'_>, others: &Keys<'_>) -> Self {
        let mut by_key: Option<BTreeMap<Cow<'_, str>, usize>> = None;
        let mut next = 0;
        let places = (0..keys.count()).map(|index| {
            let Some(key) = keys.get(index) else {
                return NOWHERE;
            };
            let found = if others.get(next).is_some_and(|other| other == key) {
                Some(next)
            } else {
                let all = by_key.get_or_insert_with(|| {
                    let all = (0..others.count()).filter_map(|at| Some((others.get(at)?, at)));
                    all.collect()
                });
                all.get(key.as_ref()).copied()
            };
            next = found.map_or(next, |at| at + 1);
            found
                .and_then(|at| u32::try_from(at).ok())
                .unwrap_or(NOWHERE)
        });
        Self(places.collect())
    }

    pub(super) fn get(&self, index: usize) -> Option<usize> {
        let place = self.0.get(index).copied()?;
        (place != NOWHERE).then_some(place as usize)
    }
}
