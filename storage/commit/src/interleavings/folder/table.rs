//! The situations that are walked.

use super::found::{Stood, What};
use super::{FolderRun, Memory, Situation};
use crate::interleavings::actors::*;
use crate::interleavings::engine::{Walked, walk};
use crate::steps::Protection;
use std::cell::RefCell;
use std::rc::Rc;

const fn whole(outputs: Outputs) -> Option<Stood> {
    Some(Stood { outputs, cut: None })
}

const fn cut(outputs: Outputs, what: What) -> Option<Stood> {
    Some(Stood {
        outputs,
        cut: Some(what),
    })
}

type Found = (Option<Stood>, Option<Stood>);

const NOTHING: Found = (None, None);
const OLDER: Found = (whole(OLD), None);
const STRANGERS_SAME: Found = (whole(SAME.of_lineage(3)), None);
const STRANGERS_OTHER: Found = (whole(OLD.of_lineage(3)), None);
const EMPTY_FILES: Found = (cut(OLD, What::Nothing), None);
const MANIFEST_ONLY: Found = (cut(SAME, What::Manifest), None);
const ZEROS: Found = (cut(SAME, What::Zeros), None);
const SAME_ASIDE: Found = (None, whole(SAME));
const BOTH: Found = (whole(OLD.of_lease(2)), whole(SAME));
const CUT_AND_ASIDE: Found = (cut(OLD.of_lease(2), What::Manifest), whole(OLD));

fn walked((place, aside): Found, actors: &'static [Actor], lacks: Option<Protection>) -> Result<Walked, String> {
    let memory = Rc::new(RefCell::new(Memory::default()));
    let situation = Situation { place, aside, actors };
    walk(|| FolderRun::start(&situation, lacks, Rc::clone(&memory)))
}

#[test]
fn measure() {
    for place in [NOTHING, OLDER, STRANGERS_SAME, STRANGERS_OTHER, EMPTY_FILES, MANIFEST_ONLY, ZEROS, SAME_ASIDE, BOTH, CUT_AND_ASIDE] {
        for (pair, actors) in PAIRS {
            let started = std::time::Instant::now();
            let result = walked(place, actors, None);
            eprintln!("== {place:?}, {pair}: {result:?} {:?}", started.elapsed());
        }
    }
}
