//! The input cache: what of the storage is on this machine, what is to come, and what has to go. A plain state machine.
//!
//! An *entry* is a path, the version of what is there, and its size. Leases want entries, and wait in one *admission
//! queue*, in the order in which their attempts will run. The first of the queue is admitted when all that it wants has
//! room: then its entries are pinned until it is released, and what is missing is fetched. Nobody overtakes, so two
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
    /// Fetch it, and come back with [`InputCache::fetched`] or [`InputCache::failed`].
    Fetch { path: PathBuf, source: S },
    /// All that this lease wants is there.
    Ready(u64),
    /// This lease wants more bytes than the cache may hold.
    TooLarge { lease: u64, bytes: u64 },
}

#[derive(Debug)]
pub(super) struct InputCache<S> {
    limit: u64,
    used: u64,
    clock: u64,
    entries: BTreeMap<PathBuf, Entry>,
    /// Spots that are whole and that nobody has pinned, the least recently used first.
    idle: BTreeSet<(u64, PathBuf)>,
    idle_bytes: u64,
    admission: VecDeque<u64>,
    /// Of leases in the admission queue; missing while it is not known yet.
    wanted: BTreeMap<u64, Vec<Want<S>>>,
    held: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Entry {
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

impl<S> InputCache<S> {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            clock: 0,
            entries: BTreeMap::new(),
            idle: BTreeSet::new(),
            idle_bytes: 0,
            admission: VecDeque::new(),
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

    /// A lease joins the admission queue; what it wants is said later.
    pub(super) fn enqueue(&mut self, lease: u64) {
        self.admission.push_back(lease);
    }

    /// What a lease in the admission queue wants. Of two wants for one path the first counts.
    pub(super) fn plan(&mut self, lease: u64, mut wants: Vec<Want<S>>) -> Vec<Step<S>> {
        let mut steps = Vec::new();
        if self.admission.contains(&lease) {
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
        let waiters = match self.entries.get_mut(path) {
            Some(entry) => {
                entry.whole = true;
                std::mem::take(&mut entry.waiters)
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
        self.note_idle(path);
        self.admit(&mut steps);
        steps
    }

    /// It could not be fetched, and nothing lies there. The leases that waited for it fail with it.
    pub(super) fn failed(&mut self, path: &Path) -> (Vec<u64>, Vec<Step<S>>) {
        let Some(entry) = self.entries.remove(path) else {
            return (Vec::new(), Vec::new());
        };
        self.used -= entry.bytes;
        let mut steps = Vec::new();
        for lease in &entry.waiters {
            self.unpin(*lease);
        }
        self.admit(&mut steps);
        (entry.waiters, steps)
    }

    /// The lease needs nothing any more.
    pub(super) fn release(&mut self, lease: u64) -> Vec<Step<S>> {
        let mut steps = Vec::new();
        self.admission.retain(|other| *other != lease);
        self.wanted.remove(&lease);
        self.unpin(lease);
        self.admit(&mut steps);
        steps
    }

    /// Something that lies at `path` already, or is about to be put there. False where there is no room for it, or
    /// something else lies there that is in use.
    pub(super) fn keep(&mut self, path: &Path, version: &str, bytes: u64) -> (bool, Vec<Step<S>>) {
        let mut steps = Vec::new();
        if self
            .entries
            .get(path)
            .is_some_and(|entry| entry.pins > 0 || !entry.whole)
        {
            return (false, steps);
        }
        self.evict(path, &mut steps);
        let fits = self.used - self.idle_bytes + bytes <= self.limit;
        if fits {
            self.make_room(bytes, &mut steps);
            self.insert(path, version, bytes, true);
            self.note_idle(path);
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
            .entries
            .keys()
            .filter(|path| path.starts_with(folder))
            .cloned()
            .collect();
        for path in gone {
            self.drop_entry(&path);
        }
        self.admit(&mut steps);
        steps
    }

    fn admit(&mut self, steps: &mut Vec<Step<S>>) {
        while let Some(lease) = self.admission.front().copied() {
            let Some(wants) = self.wanted.get(&lease) else {
                return;
            };
            let total = wants
                .iter()
                .map(|want| want.bytes)
                .fold(0, u64::saturating_add);
            if total > self.limit {
                self.admission.pop_front();
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
            self.admission.pop_front();
            if let Some(wants) = self.wanted.remove(&lease) {
                self.admit_lease(lease, wants, steps);
            }
        }
    }

    fn has_room_for(&self, wants: &[Want<S>]) -> bool {
        let (mut more, mut idle) = (0_u64, self.idle_bytes);
        for want in wants {
            match self.entries.get(&want.path) {
                Some(entry) if entry.version == want.version => {
                    if entry.pins == 0 && entry.whole {
                        idle -= entry.bytes;
                    }
                }
                // Another version lies there, and is in use.
                Some(entry) if entry.pins > 0 || !entry.whole => return false,
                Some(_) | None => more = more.saturating_add(want.bytes),
            }
        }
        (self.used - idle).saturating_add(more) <= self.limit
    }

    fn admit_lease(&mut self, lease: u64, wants: Vec<Want<S>>, steps: &mut Vec<Step<S>>) {
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
                .entries
                .get(&want.path)
                .is_some_and(|entry| entry.version == want.version);
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
        let Some(entry) = self.entries.get_mut(path) else {
            return;
        };
        if self.idle.remove(&(entry.used_at, path.to_owned())) {
            self.idle_bytes -= entry.bytes;
        }
        entry.pins += 1;
        entry.used_at = self.clock;
        if !entry.whole {
            entry.waiters.push(lease);
            held.missing += 1;
        }
    }

    fn unpin(&mut self, lease: u64) {
        let Some(held) = self.held.remove(&lease) else {
            return;
        };
        for path in held.paths {
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.pins = entry.pins.saturating_sub(1);
                entry.waiters.retain(|waiter| *waiter != lease);
            }
            self.note_idle(&path);
        }
    }

    /// Notes that nobody uses it, where that is so.
    fn note_idle(&mut self, path: &Path) {
        let Some(entry) = self.entries.get(path) else {
            return;
        };
        if entry.pins == 0 && entry.whole && self.idle.insert((entry.used_at, path.to_owned())) {
            self.idle_bytes += entry.bytes;
        }
    }

    fn insert(&mut self, path: &Path, version: &str, bytes: u64, whole: bool) {
        self.clock += 1;
        self.used += bytes;
        let entry = Entry {
            version: version.to_owned(),
            bytes,
            pins: 0,
            whole,
            used_at: self.clock,
            waiters: Vec::new(),
        };
        self.entries.insert(path.to_owned(), entry);
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
        if self.drop_entry(path) {
            steps.push(Step::Evict(path.to_owned()));
        }
    }

    fn drop_entry(&mut self, path: &Path) -> bool {
        let Some(entry) = self.entries.remove(path) else {
            return false;
        };
        self.used -= entry.bytes;
        if self.idle.remove(&(entry.used_at, path.to_owned())) {
            self.idle_bytes -= entry.bytes;
        }
        true
    }
}
