//! The situations that are walked, and what each protection is for.

use super::found::{Stood, What};
use super::{Actor, Does, FolderRun, Memory, Situation};
use crate::interleavings::engine::{Walked, walk};
use crate::steps::Protection;
use std::cell::RefCell;
use std::rc::Rc;

/// The first attempt of a version, which has a predecessor.
const FIRST: Actor = Actor {
    lineage: 1,
    lease_id: 0x10,
    content: 1,
    replaces_below: 0x10,
    fresh: false,
    fence: true,
    does: Does::Run,
};
/// The next ones at the same version.
const SECOND: Actor = Actor {
    lease_id: 0x11,
    ..FIRST
};
const THIRD: Actor = Actor {
    lease_id: 0x12,
    ..FIRST
};
/// Begun without a fence: alone, or beside a straggler.
const FIRST_BESIDE: Actor = Actor {
    fence: false,
    ..FIRST
};
const SECOND_BESIDE: Actor = Actor {
    fence: false,
    ..SECOND
};
/// Of a later version of the shard.
const LATER: Actor = Actor {
    lease_id: 0x20,
    content: 2,
    replaces_below: 0x20,
    ..FIRST
};
/// Of another lineage, made of the same.
const STRANGER: Actor = Actor {
    lineage: 2,
    lease_id: 0x5,
    replaces_below: 0,
    ..FIRST
};
/// Of another lineage, made of something else.
const OTHER: Actor = Actor {
    content: 3,
    ..STRANGER
};
/// Asked to run again, whatever there is.
const AGAIN: Actor = Actor {
    fresh: true,
    ..STRANGER
};
const PUTS_ASIDE: Actor = Actor {
    does: Does::PutAside,
    ..FIRST
};
const SWEEPS: Actor = Actor {
    does: Does::Sweep,
    ..SECOND
};

/// Of before, and of another version than all.
const OLD: Stood = Stood {
    lineage: 1,
    lease_id: 1,
    content: 9,
    cut: None,
};
/// Of before, and what the first ones make again.
const SAME: Stood = Stood { content: 1, ..OLD };
const CUT: Stood = Stood {
    cut: Some(What::Nothing),
    ..OLD
};

const PLACES: [(&str, Option<Stood>, Option<Stood>); 10] = [
    (
        "a manifest and empty files, other outputs aside",
        Some(Stood { lease_id: 2, cut: Some(What::Manifest), ..OLD }),
        Some(OLD),
    ),
    ("nothing", None, None),
    ("an older version", Some(OLD), None),
    ("a stranger's of the same", Some(Stood { lineage: 3, ..SAME }), None),
    ("a stranger's of other", Some(Stood { lineage: 3, ..OLD }), None),
    ("empty files", Some(CUT), None),
    (
        "a manifest and empty files",
        Some(Stood {
            cut: Some(What::Manifest),
            ..SAME
        }),
        None,
    ),
    (
        "zeros",
        Some(Stood {
            cut: Some(What::Zeros),
            ..SAME
        }),
        None,
    ),
    ("nothing, the same aside", None, Some(SAME)),
    (
        "an older version, the same aside",
        Some(Stood {
            lease_id: 2,
            ..OLD
        }),
        Some(SAME),
    ),
];

const PAIRS: [(&str, &[Actor]); 12] = [
    ("two with fences", &[FIRST, SECOND]),
    ("one without a fence", &[FIRST_BESIDE, SECOND]),
    ("one beside the other", &[FIRST, SECOND_BESIDE]),
    ("two without fences", &[FIRST_BESIDE, SECOND_BESIDE]),
    ("a later version", &[FIRST, LATER]),
    ("a later version of one without", &[FIRST_BESIDE, LATER]),
    ("a stranger", &[FIRST, STRANGER]),
    ("another stranger", &[FIRST, OTHER]),
    ("another stranger of one without", &[FIRST_BESIDE, OTHER]),
    ("a stranger who runs again", &[FIRST, AGAIN]),
    ("one who puts aside", &[FIRST, PUTS_ASIDE]),
    ("one who sweeps", &[FIRST, SWEEPS]),
];

fn found(situation: &Situation, lacks: Option<Protection>) -> Result<Walked, String> {
    let memory = Rc::new(RefCell::new(Memory::default()));
    walk(|| FolderRun::start(situation, lacks, Rc::clone(&memory)))
}

#[test]
fn measure() {
    for (place_is, place, aside) in PLACES {
        for (pair, actors) in PAIRS {
            let started = std::time::Instant::now();
            let result = found(&Situation { place, aside, actors }, None);
            eprintln!("== {place_is}, {pair}: {result:?} {:?}", started.elapsed());
        }
    }
}
