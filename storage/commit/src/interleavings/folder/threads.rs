//! Attempts on threads of their own, of which one moves at a time.

use super::super::actors::digest;
use super::super::engine::{Move, Way};
use crate::steps::{self, Holder, Protection, Step, Touch};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// The step that waits for the lock.
const LOCK: &str = crate::folder::LOCK;
/// Before these an attempt has nothing in mind but where it is.
const ANEW: [&str; 5] = [LOCK, "look", "look again", "publish", "sync"];

/// Where one attempt is.
#[derive(Debug, Default)]
struct Seat {
    /// Steps it may take.
    granted: usize,
    /// It goes no further.
    stopped: bool,
    /// What it waits to do.
    at: Option<Move>,
    ended: bool,
    /// It has looked for others to fence, where it does so.
    has_fenced: bool,
    /// The part of its script it is in.
    part: &'static str,
    /// All it has learnt since it had nothing in mind.
    mind: u64,
}

#[derive(Debug)]
struct Seats {
    all: Vec<Seat>,
    /// Who has the lock.
    locked_by: Option<usize>,
    /// A step that only who has the lock may take, taken without.
    unguarded: Option<String>,
}

/// What all threads of a run share.
#[derive(Debug)]
pub(super) struct Table {
    seats: Mutex<Seats>,
    /// One for each attempt, and one for who holds them.
    changed: Vec<Condvar>,
    root: String,
    /// Folders that only who has the lock moves away, or to.
    guarded: [PathBuf; 2],
    lacks: Option<Protection>,
}

/// Unwinds an attempt that goes no further.
struct Stopped;

impl Table {
    pub(super) fn new(
        attempts: usize,
        root: String,
        guarded: [PathBuf; 2],
        lacks: Option<Protection>,
    ) -> Arc<Self> {
        let seats = Seats {
            all: (0..attempts).map(|_| Seat::default()).collect(),
            locked_by: None,
            unguarded: None,
        };
        Arc::new(Self {
            seats: Mutex::new(seats),
            changed: (0..=attempts).map(|_| Condvar::new()).collect(),
            root,
            guarded,
            lacks,
        })
    }

    /// Starts an attempt, which is held before its first step. `watch` hears of each step that is granted.
    pub(super) fn start(
        self: &Arc<Self>,
        attempt: usize,
        watch: impl Fn(Step<'_>) + Send + 'static,
        script: impl FnOnce(&Hand) + Send + 'static,
    ) -> JoinHandle<()> {
        let table = Arc::clone(self);
        let thread = std::thread::spawn(move || {
            let hand = Hand {
                table: Arc::clone(&table),
                attempt,
            };
            steps::hold(Rc::new(Held {
                table: Arc::clone(&table),
                attempt,
                watch: Box::new(watch),
            }));
            let ended = catch_unwind(AssertUnwindSafe(|| script(&hand)));
            let mut seats = table.seats();
            seats.all[attempt].ended = true;
            seats.all[attempt].at = None;
            if seats.locked_by == Some(attempt) {
                seats.locked_by = None;
            }
            drop(seats);
            table.tell_walker();
            if let Err(cause) = ended
                && !cause.is::<Stopped>()
            {
                resume_unwind(cause);
            }
        });
        self.wait_for(attempt);
        thread
    }

    pub(super) fn moves(&self) -> Vec<Move> {
        let seats = self.seats();
        let mut moves = Vec::new();
        for (attempt, seat) in seats.all.iter().enumerate() {
            let Some(at) = &seat.at else { continue };
            if seats.locked_by == Some(attempt) {
                // A pause holds the lock and with it everybody; an end does not.
                moves.push(Move {
                    way: Way::Ends,
                    ..at.clone()
                });
            }
            let waits = at.name == LOCK && seats.locked_by.is_some();
            if !waits {
                moves.push(at.clone());
            }
        }
        moves
    }

    /// Nobody has moved away what only who has the lock may.
    pub(super) fn is_guarded(&self) -> Result<(), String> {
        let unguarded = self.seats().unguarded.clone();
        unguarded.map_or(Ok(()), Err)
    }

    pub(super) fn is_locked_by(&self, attempt: usize) -> bool {
        self.seats().locked_by == Some(attempt)
    }

    /// Who may still do something; with `fences`, who may still fence.
    pub(super) fn is_under_way(&self, attempt: usize, fences: bool) -> bool {
        let seats = self.seats();
        let seat = &seats.all[attempt];
        !(seat.ended || fences && seat.has_fenced)
    }

    pub(super) fn take(&self, moves: &[Move]) {
        let Some(first) = moves.first() else { return };
        let attempt = first.actor;
        let mut seats = self.seats();
        let seat = &mut seats.all[attempt];
        seat.at = None;
        seat.granted = moves.iter().filter(|one| one.way == Way::Taken).count();
        seat.stopped = moves.iter().any(|one| one.way == Way::Ends);
        drop(seats);
        self.changed[attempt].notify_one();
        self.wait_for(attempt);
    }

    /// Ends all that are still on their way.
    pub(super) fn stop(&self) {
        for attempt in 0..self.changed.len() - 1 {
            self.seats().all[attempt].stopped = true;
            self.changed[attempt].notify_one();
            self.wait_for(attempt);
        }
    }

    pub(super) fn hash(&self, into: &mut impl Hasher) {
        let seats = self.seats();
        seats.locked_by.hash(into);
        for seat in &seats.all {
            // Whoever has ended knows nothing any more.
            let alive = (seat.part, seat.has_fenced, seat.mind, seat.at.as_ref());
            let alive = (!seat.ended).then_some(alive);
            let alive =
                alive.map(|(part, fenced, mind, at)| (part, fenced, mind, at.map(|at| at.name)));
            alive.hash(into);
        }
    }

    fn wait_for(&self, attempt: usize) {
        let mut seats = self.seats();
        while !seats.all[attempt].ended && seats.all[attempt].at.is_none() {
            seats = self.changed[self.changed.len() - 1].wait(seats).unwrap();
        }
    }

    /// Every run has a root of its own; and nobody looks into the trash.
    fn below_root(&self, paths: &[&Path]) -> Vec<PathBuf> {
        let below = paths
            .iter()
            .map(|path| path.strip_prefix(&self.root).unwrap());
        let seen = below.filter(|path| !path.starts_with(".petctl/trash"));
        seen.map(Path::to_owned).collect()
    }

    fn tell_walker(&self) {
        self.changed[self.changed.len() - 1].notify_one();
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap()
    }
}

/// What a script has of the table.
pub(super) struct Hand {
    table: Arc<Table>,
    attempt: usize,
}

impl Hand {
    /// A new part of the script begins: what it knows is only `knows`.
    pub(super) fn begin(&self, part: &'static str, knows: impl Hash) {
        let mut seats = self.table.seats();
        let seat = &mut seats.all[self.attempt];
        seat.part = part;
        seat.mind = digest(knows);
    }
}

struct Held {
    table: Arc<Table>,
    attempt: usize,
    watch: Box<dyn Fn(Step<'_>)>,
}

impl Holder for Held {
    fn before(&self, step: Step<'_>) {
        let mut seats = self.table.seats();
        if seats.all[self.attempt].granted == 0 {
            seats.all[self.attempt].at = Some(Move {
                actor: self.attempt,
                way: Way::Taken,
                name: step.name,
                touch: step.touch,
                paths: self.table.below_root(step.paths),
            });
            if ANEW.contains(&step.name) {
                seats.all[self.attempt].mind = 0;
            }
            seats.all[self.attempt].has_fenced |= step.name == "look";
            self.table.tell_walker();
            while seats.all[self.attempt].granted == 0 && !seats.all[self.attempt].stopped {
                seats = self.table.changed[self.attempt].wait(seats).unwrap();
            }
        }
        let seat = &mut seats.all[self.attempt];
        seat.at = None;
        if seat.granted == 0 {
            drop(seats);
            resume_unwind(Box::new(Stopped));
        }
        seat.granted -= 1;
        if ANEW.contains(&step.name) {
            seat.mind = 0;
        }
        seat.mind = digest((seat.mind, step.name));
        let is_guarded = |path: &&Path| self.table.guarded.iter().any(|guarded| guarded == *path);
        let moves = step.touch == Touch::Moves && step.name != "publish";
        if moves && step.paths.iter().any(is_guarded) && seats.locked_by != Some(self.attempt) {
            seats.unguarded = Some(format!("{} {} without the lock", self.attempt, step.name));
        }
        if step.name == LOCK {
            assert_eq!(seats.locked_by, None, "the lock is free");
            seats.locked_by = Some(self.attempt);
        }
        drop(seats);
        (self.watch)(step);
    }

    fn seen(&self, what: String) {
        let what = what.replace(&self.table.root, "");
        let mut seats = self.table.seats();
        let seat = &mut seats.all[self.attempt];
        seat.mind = digest((seat.mind, what));
    }

    fn unlocked(&self) {
        let mut seats = self.table.seats();
        if seats.locked_by == Some(self.attempt) {
            seats.locked_by = None;
        }
    }

    fn stands(&self, protection: Protection) -> bool {
        self.table.lacks != Some(protection)
    }
}
