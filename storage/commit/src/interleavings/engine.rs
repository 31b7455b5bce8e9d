//! The walk itself: depth first through all orders of steps, with sleep sets and a memory of states.

use crate::steps::Touch;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// What one of those that act may do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// Who.
    pub(super) actor: usize,
    /// What becomes of the step.
    pub(super) way: Way,
    pub(super) name: &'static str,
    pub(super) touch: Touch,
    pub(super) paths: Vec<PathBuf>,
}

/// What becomes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Way {
    /// It is taken.
    Taken,
    /// Its process ends before it, and lets go of its locks.
    Ends,
    /// It is taken, the answer is lost, and the request is sent again.
    SentAgain,
    /// It is taken, and the answer is lost for good.
    Failed,
}

impl Move {
    /// Whether it makes a difference which of the two comes first.
    fn meets(&self, other: &Self) -> bool {
        if self.actor == other.actor || self.way != Way::Taken || other.way != Way::Taken {
            return true;
        }
        let met = |one: &PathBuf, two: &PathBuf| match (self.touch, other.touch) {
            (Touch::Reads | Touch::Lists, Touch::Reads | Touch::Lists) => false,
            (Touch::Lists, Touch::Moves) => two.parent() == Some(one) || one.starts_with(two),
            (Touch::Moves, Touch::Lists) => one.parent() == Some(two) || two.starts_with(one),
            (Touch::Lists, Touch::Writes) => one.starts_with(two),
            (Touch::Writes, Touch::Lists) => two.starts_with(one),
            (Touch::Reads, Touch::Writes | Touch::Moves)
            | (Touch::Writes | Touch::Moves, Touch::Reads | Touch::Writes | Touch::Moves) => {
                one.starts_with(two) || two.starts_with(one)
            }
        };
        self.paths
            .iter()
            .any(|one| other.paths.iter().any(|two| met(one, two)))
    }
}

/// One way through a situation, from its beginning.
pub(super) trait Run {
    /// What can happen now.
    fn moves(&mut self) -> Vec<Move>;

    /// Takes moves of one actor, one after the other.
    fn take(&mut self, moves: &[Move]);

    /// Of all that is stored, and all that each actor knows.
    fn fingerprint(&mut self) -> u64;

    /// Whether all that must hold in every state holds in this one.
    fn check(&mut self) -> Result<(), String>;
}

/// What a walk has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// Different states.
    pub(super) states: usize,
    /// Ways through the situation, each from its beginning until nothing new could come.
    pub(super) schedules: usize,
    /// The fingerprints of those in which everybody had ended.
    pub(super) ends: BTreeSet<u64>,
}

impl fmt::Display for Walked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            states,
            schedules,
            ends,
        } = self;
        write!(
            f,
            "{states} states, {schedules} schedules, {} ends",
            ends.len()
        )
    }
}

/// A state on the way, and what is still to be tried there.
struct Node {
    to_try: Vec<Move>,
    sleeping: Vec<Move>,
}

/// Walks through everything that can happen.
///
/// # Errors
/// What did not hold, and the steps that led there.
pub(super) fn walk<R: Run>(start: impl Fn() -> R) -> Result<Walked, String> {
    let mut walked = Walked::default();
    // By state: the moves that were left asleep there.
    let mut seen: BTreeMap<u64, Vec<Move>> = BTreeMap::new();
    let mut nodes: Vec<Node> = Vec::new();
    let mut way: Vec<Move> = Vec::new();
    let mut sleeping: Vec<Move> = Vec::new();
    let mut run = start();
    walked.schedules = 1;
    loop {
        let moves = run.moves();
        let to_try = match seen.get_mut(&run.fingerprint()) {
            Some(asleep) => {
                let woken: Vec<Move> = asleep
                    .iter()
                    .filter(|one| !sleeping.contains(one))
                    .cloned()
                    .collect();
                asleep.retain(|one| sleeping.contains(one));
                sleeping.clone_from(asleep);
                woken
            }
            None => {
                run.check()
                    .map_err(|wrong| format!("{wrong}\nafter {}", told(&way)))?;
                walked.states += 1;
                let state = run.fingerprint();
                if moves.is_empty() {
                    walked.ends.insert(state);
                }
                seen.insert(state, sleeping.clone());
                moves
                    .into_iter()
                    .filter(|one| !sleeping.contains(one))
                    .collect()
            }
        };
        nodes.push(Node {
            to_try,
            sleeping: std::mem::take(&mut sleeping),
        });
        let deepest = nodes.len();
        while nodes.last().is_some_and(|node| node.to_try.is_empty()) {
            nodes.pop();
            way.pop();
        }
        let Some(node) = nodes.last_mut() else {
            return Ok(walked);
        };
        let next = node.to_try.remove(0);
        let still = node.sleeping.iter().filter(|one| !one.meets(&next));
        sleeping = still.cloned().collect();
        node.sleeping.push(next.clone());
        if nodes.len() < deepest {
            walked.schedules += 1;
            run = start();
            for row in way.chunk_by(|one, two| one.actor == two.actor) {
                run.take(row);
            }
        }
        run.take(std::slice::from_ref(&next));
        way.push(next);
    }
}

fn told(way: &[Move]) -> String {
    let one = |taken: &Move| {
        let who = char::from(b'A' + u8::try_from(taken.actor).unwrap_or_default());
        match taken.way {
            Way::Taken => format!("{who} {}", taken.name),
            Way::Ends | Way::SentAgain | Way::Failed => {
                format!("{who} {} ({:?})", taken.name, taken.way)
            }
        }
    };
    way.iter().map(one).collect::<Vec<_>>().join(", ")
}
