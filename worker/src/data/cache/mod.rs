//! What of the storage lies on this machine, what is to come, and what has to go: a plain state machine.
//!
//! Things lie in *spots*: a path, the version of what is there, and its size. Leases want spots, and stand in one
//! *line*, in the order in which their attempts will run. The first of the line is let in when all that it wants has
//! room: then its spots are pinned until it is released, and what is missing is fetched. Nobody overtakes, so two
//! leases can't wait for each other's room. What nobody has pinned goes when room is needed, least recently used first.

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

#[cfg(test)]
mod tests {
    use super::*;

    fn want(name: &str, bytes: u64) -> Want<()> {
        version(name, "1", bytes)
    }

    fn version(name: &str, version: &str, bytes: u64) -> Want<()> {
        Want {
            path: name.into(),
            version: version.to_owned(),
            bytes,
            source: (),
        }
    }

    /// `evict a, fetch b, ready 1`.
    fn text(steps: Vec<Step<()>>) -> String {
        let said = steps.into_iter().map(|step| match step {
            Step::Evict(path) => format!("evict {}", path.display()),
            Step::Fetch { path, .. } => format!("fetch {}", path.display()),
            Step::Ready(lease) => format!("ready {lease}"),
            Step::TooLarge { lease, bytes } => format!("{lease} is too large: {bytes}"),
        });
        said.collect::<Vec<_>>().join(", ")
    }

    fn shelf(limit: u64) -> Shelf<()> {
        Shelf::new(limit)
    }

    impl Shelf<()> {
        fn ask(&mut self, lease: u64, wants: Vec<Want<()>>) -> String {
            self.queue(lease);
            text(self.plan(lease, wants))
        }

        fn check(&self) {
            let used: u64 = self.spots.values().map(|spot| spot.bytes).sum();
            let idle: u64 = self
                .spots
                .values()
                .filter(|spot| spot.pins == 0 && spot.whole)
                .map(|spot| spot.bytes)
                .sum();
            assert_eq!((self.used, self.idle_bytes), (used, idle));
        }
    }

    #[test]
    fn two_that_want_the_same_cost_one_download() {
        let mut shelf = shelf(100);
        assert_eq!(shelf.ask(1, vec![want("a", 10)]), "fetch a");
        assert_eq!(shelf.ask(2, vec![want("a", 10)]), "");
        assert_eq!(text(shelf.fetched(Path::new("a"))), "ready 1, ready 2");
        assert_eq!(shelf.ask(3, vec![want("a", 10)]), "ready 3");
        shelf.check();
    }

    #[test]
    fn what_is_pinned_stays_and_the_least_recently_used_goes() {
        let mut shelf = shelf(30);
        for (lease, name) in [(1, "a"), (2, "b"), (3, "c")] {
            shelf.ask(lease, vec![want(name, 10)]);
            shelf.fetched(Path::new(name));
        }
        shelf.release(2);
        shelf.release(3);
        // b was used again after c.
        shelf.ask(4, vec![want("b", 10)]);
        shelf.release(4);
        assert_eq!(shelf.ask(5, vec![want("d", 10)]), "evict c, fetch d");
        assert_eq!(shelf.ask(6, vec![want("e", 10)]), "evict b, fetch e");
        assert_eq!(
            shelf.ask(7, vec![want("f", 10)]),
            "",
            "a, d and e are in use"
        );
        assert_eq!(text(shelf.release(1)), "evict a, fetch f");
        shelf.check();
    }

    #[test]
    fn nobody_overtakes_so_that_a_large_one_gets_its_room() {
        let mut shelf = shelf(30);
        shelf.ask(1, vec![want("a", 20)]);
        shelf.fetched(Path::new("a"));
        assert_eq!(shelf.ask(2, vec![want("large", 30)]), "");
        assert_eq!(shelf.ask(3, vec![want("small", 1)]), "");
        assert_eq!(text(shelf.release(1)), "evict a, fetch large");
        shelf.fetched(Path::new("large"));
        assert_eq!(text(shelf.release(2)), "evict large, fetch small");
        shelf.check();
    }

    #[test]
    fn the_order_is_that_of_the_line_and_not_of_the_answers() {
        let mut shelf = shelf(10);
        shelf.queue(1);
        shelf.queue(2);
        assert_eq!(text(shelf.plan(2, vec![want("b", 10)])), "");
        assert_eq!(text(shelf.plan(1, vec![want("a", 10)])), "fetch a");
        shelf.fetched(Path::new("a"));
        assert_eq!(text(shelf.release(1)), "evict a, fetch b");
        assert_eq!(
            text(shelf.plan(9, vec![want("c", 1)])),
            "",
            "not in the line"
        );
        shelf.check();
    }

    #[test]
    fn what_can_never_fit_is_refused_and_holds_nobody_up() {
        let mut shelf = shelf(10);
        assert_eq!(
            shelf.ask(1, vec![want("a", 6), want("b", 5)]),
            "1 is too large: 11"
        );
        assert_eq!(
            shelf.ask(2, vec![want("a", 6), want("a", 6)]),
            "fetch a",
            "once, since it is one thing"
        );
        shelf.check();
    }

    #[test]
    fn a_failed_download_fails_all_that_waited_for_it_and_is_tried_again_by_the_next() {
        let mut shelf = shelf(10);
        shelf.ask(1, vec![want("a", 5), want("b", 5)]);
        shelf.ask(2, vec![want("a", 5)]);
        shelf.queue(3);
        assert_eq!(text(shelf.plan(3, vec![want("c", 5)])), "");
        let (failed, steps) = shelf.failed(Path::new("a"));
        assert_eq!((failed, text(steps)), (vec![1, 2], "fetch c".to_owned()));
        // b comes late, and nobody wants it.
        assert_eq!(text(shelf.fetched(Path::new("b"))), "");
        assert_eq!(shelf.ask(4, vec![want("a", 5)]), "evict b, fetch a");
        shelf.check();
    }

    #[test]
    fn another_version_waits_until_the_old_one_is_out_of_use() {
        let mut shelf = shelf(100);
        shelf.ask(1, vec![version("a", "1", 10)]);
        shelf.fetched(Path::new("a"));
        assert_eq!(shelf.ask(2, vec![version("a", "2", 12)]), "");
        assert_eq!(text(shelf.release(1)), "evict a, fetch a");
        shelf.check();
    }

    #[test]
    fn own_outputs_are_kept_while_there_is_room() {
        let mut shelf = shelf(20);
        assert!(shelf.keep(Path::new("x"), "7", 15).0);
        let (kept, steps) = shelf.keep(Path::new("y"), "8", 15);
        assert_eq!((kept, text(steps)), (true, "evict x".to_owned()));
        assert_eq!(shelf.ask(1, vec![version("y", "8", 15)]), "ready 1");
        assert!(!shelf.keep(Path::new("z"), "9", 15).0, "y is in use");
        assert!(!shelf.keep(Path::new("y"), "9", 1).0, "y is in use");
        shelf.release(1);
        assert_eq!(text(shelf.clear_idle()), "evict y");
        shelf.check();
    }

    #[test]
    fn a_lease_that_is_withdrawn_frees_its_place() {
        let mut shelf = shelf(10);
        shelf.queue(1);
        shelf.queue(2);
        shelf.plan(2, vec![want("b", 10)]);
        assert_eq!(text(shelf.release(1)), "fetch b");
        assert_eq!(text(shelf.release(2)), "", "still under way");
        assert_eq!(text(shelf.fetched(Path::new("b"))), "");
        assert_eq!(text(shelf.set_limit(5)), "evict b");
        shelf.check();
    }

    #[test]
    fn a_folder_that_is_gone_is_forgotten() {
        let mut shelf = shelf(10);
        shelf.keep(Path::new("/s/job/a"), "1", 5);
        shelf.keep(Path::new("/s/jobs/a"), "1", 5);
        shelf.forget_below(Path::new("/s/job"));
        assert_eq!(shelf.ask(1, vec![want("/s/jobs/a", 5)]), "ready 1");
        assert_eq!(shelf.ask(2, vec![want("/s/job/a", 5)]), "fetch /s/job/a");
        shelf.check();
    }
}
