//! What of the storage lies on this machine, what is to come, and what has to go: a plain state machine.
//!
//! Things lie in *spots*: a path, the version of what is there, and its size. Leases want spots, and stand in one
//! *line*, in the order in which their attempts will run. The first of the line is let in when all that it wants has
//! room: then its spots are pinned until it is released, and what is missing is fetched. Nobody overtakes, so two
//! leases can't wait for each other's room. What nobody has pinned goes when room is needed, least recently used first.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// Something that a lease wants here, and what to fetch it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Want<S> {
    pub(super) path: PathBuf,
    pub(super) version: String,
    pub(super) bytes: u64,
    pub(super) source: S,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<S> {
    /// Take away what lies there.
    Evict(PathBuf),
    /// Fetch it, and come back with [`Shelf::fetched`] or [`Shelf::failed`].
    Fetch { path: PathBuf, source: S },
    /// All that this lease wants is there.
    Ready(u64),
    /// This lease wants more bytes than the shelf has.
    TooLarge { lease: u64, bytes: u64 },
}

#[derive(Debug)]
pub(super) struct Shelf<S> {
    limit: u64,
    used: u64,
    clock: u64,
    spots: BTreeMap<PathBuf, Spot>,
    /// Spots that are whole and that nobody has pinned, the least recently used first.
    idle: BTreeSet<(u64, PathBuf)>,
    idle_bytes: u64,
    line: VecDeque<u64>,
    /// Of leases in the line; missing while it is not known yet.
    wanted: BTreeMap<u64, Vec<Want<S>>>,
    held: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Spot {
    version: String,
    bytes: u64,
    pins: usize,
    whole: bool,
    used_at: u64,
    /// Leases that wait for it to be whole.
    waiters: Vec<u64>,
}

#[derive(Debug)]
struct Held {
    paths: Vec<PathBuf>,
    missing: usize,
}

impl<S> Shelf<S> {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            clock: 0,
            spots: BTreeMap::new(),
            idle: BTreeSet::new(),
            idle_bytes: 0,
            line: VecDeque::new(),
            wanted: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// How many bytes may lie here.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Another bound. What is pinned stays.
    pub(super) fn set_limit(&mut self, limit: u64) -> Vec<Step<S>> {
        self.limit = limit;
        let mut steps = Vec::new();
        self.make_room(0, &mut steps);
        self.admit(&mut steps);
        steps
    }

    /// A lease takes its place in the line; what it wants is told later.
    pub(super) fn queue(&mut self, lease: u64) {
        self.line.push_back(lease);
    }

    /// What a lease in the line wants. Of two wants for one path the first counts.
    pub(super) fn plan(&mut self, lease: u64, mut wants: Vec<Want<S>>) -> Vec<Step<S>> {
        let mut steps = Vec::new();
        if self.line.contains(&lease) {
            let mut seen = BTreeSet::new();
            wants.retain(|want| seen.insert(want.path.clone()));
            self.wanted.insert(lease, wants);
            self.admit(&mut steps);
        }
        steps
    }

    /// What was to be fetched is there, whole.
    pub(super) fn fetched(&mut self, path: &Path) -> Vec<Step<S>> {
        let mut steps = Vec::new();
        let waiters = match self.spots.get_mut(path) {
            Some(spot) => {
                spot.whole = true;
                std::mem::take(&mut spot.waiters)
            }
            None => Vec::new(),
        };
        for lease in waiters {
            if let Some(held) = self.held.get_mut(&lease) {
                held.missing = held.missing.saturating_sub(1);
                if held.missing == 0 {
                    steps.push(Step::Ready(lease));
                }
            }
        }
        self.rest(path);
        self.admit(&mut steps);
        steps
    }

    /// It could not be fetched, and nothing lies there. The leases that waited for it fail with it.
    pub(super) fn failed(&mut self, path: &Path) -> (Vec<u64>, Vec<Step<S>>) {
        let Some(spot) = self.spots.remove(path) else {
            return (Vec::new(), Vec::new());
        };
        self.used -= spot.bytes;
        let mut steps = Vec::new();
        for lease in &spot.waiters {
            self.let_go(*lease);
        }
        self.admit(&mut steps);
        (spot.waiters, steps)
    }

    /// The lease needs nothing any more.
    pub(super) fn release(&mut self, lease: u64) -> Vec<Step<S>> {
        let mut steps = Vec::new();
        self.line.retain(|other| *other != lease);
        self.wanted.remove(&lease);
        self.let_go(lease);
        self.admit(&mut steps);
        steps
    }

    /// Something that lies at `path` already, or is about to be put there. False where there is no room for it, or
    /// something else lies there that is in use.
    pub(super) fn keep(&mut self, path: &Path, version: &str, bytes: u64) -> (bool, Vec<Step<S>>) {
        let mut steps = Vec::new();
        if self
            .spots
            .get(path)
            .is_some_and(|spot| spot.pins > 0 || !spot.whole)
        {
            return (false, steps);
        }
        self.evict(path, &mut steps);
        let fits = self.used - self.idle_bytes + bytes <= self.limit;
        if fits {
            self.make_room(bytes, &mut steps);
            self.insert(path, version, bytes, true);
            self.rest(path);
        }
        (fits, steps)
    }

    /// Takes away all that nobody has pinned: the disk is fuller than the bound says.
    pub(super) fn clear_idle(&mut self) -> Vec<Step<S>> {
        let mut steps = Vec::new();
        while let Some((_, path)) = self.idle.first().cloned() {
            self.evict(&path, &mut steps);
        }
        steps
    }

    /// Forgets what lies below a folder that is gone.
    pub(super) fn forget_below(&mut self, folder: &Path) -> Vec<Step<S>> {
        let mut steps = Vec::new();
        let gone: Vec<PathBuf> = self
            .spots
            .keys()
            .filter(|path| path.starts_with(folder))
            .cloned()
            .collect();
        for path in gone {
            self.drop_spot(&path);
        }
        self.admit(&mut steps);
        steps
    }

    fn admit(&mut self, steps: &mut Vec<Step<S>>) {
        while let Some(lease) = self.line.front().copied() {
            let Some(wants) = self.wanted.get(&lease) else {
                return;
            };
            let total = wants
                .iter()
                .map(|want| want.bytes)
                .fold(0, u64::saturating_add);
            if total > self.limit {
                self.line.pop_front();
                self.wanted.remove(&lease);
                steps.push(Step::TooLarge {
                    lease,
                    bytes: total,
                });
                continue;
            }
            if !self.has_room_for(wants) {
                return;
            }
            self.line.pop_front();
            if let Some(wants) = self.wanted.remove(&lease) {
                self.let_in(lease, wants, steps);
            }
        }
    }

    fn has_room_for(&self, wants: &[Want<S>]) -> bool {
        let (mut more, mut idle) = (0_u64, self.idle_bytes);
        for want in wants {
            match self.spots.get(&want.path) {
                Some(spot) if spot.version == want.version => {
                    if spot.pins == 0 && spot.whole {
                        idle -= spot.bytes;
                    }
                }
                // Another version lies there, and is in use.
                Some(spot) if spot.pins > 0 || !spot.whole => return false,
                Some(_) | None => more = more.saturating_add(want.bytes),
            }
        }
        (self.used - idle).saturating_add(more) <= self.limit
    }

    fn let_in(&mut self, lease: u64, wants: Vec<Want<S>>, steps: &mut Vec<Step<S>>) {
        self.clock += 1;
        let mut held = Held {
            paths: Vec::with_capacity(wants.len()),
            missing: 0,
        };
        let mut to_fetch = Vec::new();
        // First what is here, so that making room does not take it away.
        for want in wants {
            held.paths.push(want.path.clone());
            let here = self
                .spots
                .get(&want.path)
                .is_some_and(|spot| spot.version == want.version);
            if here {
                self.pin(&want.path, lease, &mut held);
            } else {
                to_fetch.push(want);
            }
        }
        for want in to_fetch {
            self.evict(&want.path, steps);
            self.make_room(want.bytes, steps);
            self.insert(&want.path, &want.version, want.bytes, false);
            self.pin(&want.path, lease, &mut held);
            steps.push(Step::Fetch {
                path: want.path,
                source: want.source,
            });
        }
        if held.missing == 0 {
            steps.push(Step::Ready(lease));
        }
        self.held.insert(lease, held);
    }

    fn pin(&mut self, path: &Path, lease: u64, held: &mut Held) {
        let Some(spot) = self.spots.get_mut(path) else {
            return;
        };
        if self.idle.remove(&(spot.used_at, path.to_owned())) {
            self.idle_bytes -= spot.bytes;
        }
        spot.pins += 1;
        spot.used_at = self.clock;
        if !spot.whole {
            spot.waiters.push(lease);
            held.missing += 1;
        }
    }

    fn let_go(&mut self, lease: u64) {
        let Some(held) = self.held.remove(&lease) else {
            return;
        };
        for path in held.paths {
            if let Some(spot) = self.spots.get_mut(&path) {
                spot.pins = spot.pins.saturating_sub(1);
                spot.waiters.retain(|waiter| *waiter != lease);
            }
            self.rest(&path);
        }
    }

    /// Notes that nobody uses it, where that is so.
    fn rest(&mut self, path: &Path) {
        let Some(spot) = self.spots.get(path) else {
            return;
        };
        if spot.pins == 0 && spot.whole && self.idle.insert((spot.used_at, path.to_owned())) {
            self.idle_bytes += spot.bytes;
        }
    }

    fn insert(&mut self, path: &Path, version: &str, bytes: u64, whole: bool) {
        self.clock += 1;
        self.used += bytes;
        let spot = Spot {
            version: version.to_owned(),
            bytes,
            pins: 0,
            whole,
            used_at: self.clock,
            waiters: Vec::new(),
        };
        self.spots.insert(path.to_owned(), spot);
    }

    /// Evicts until so many bytes more fit, or nothing idle is left.
    fn make_room(&mut self, bytes: u64, steps: &mut Vec<Step<S>>) {
        while self.used.saturating_add(bytes) > self.limit {
            let Some((_, path)) = self.idle.first().cloned() else {
                return;
            };
            self.evict(&path, steps);
        }
    }

    fn evict(&mut self, path: &Path, steps: &mut Vec<Step<S>>) {
        if self.drop_spot(path) {
            steps.push(Step::Evict(path.to_owned()));
        }
    }

    fn drop_spot(&mut self, path: &Path) -> bool {
        let Some(spot) = self.spots.remove(path) else {
            return false;
        };
        self.used -= spot.bytes;
        if self.idle.remove(&(spot.used_at, path.to_owned())) {
            self.idle_bytes -= spot.bytes;
        }
        true
    }
}
