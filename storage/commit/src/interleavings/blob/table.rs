//! The situations that are walked.

use super::{BlobRun, Lacks, Situation};
use crate::interleavings::actors::*;
use crate::interleavings::engine::{Walked, walk};
use std::cell::RefCell;
use std::rc::Rc;

type Found = (Option<Outputs>, Option<Outputs>);

const NOTHING: Found = (None, None);
const OLDER: Found = (Some(OLD), None);
const STRANGERS_SAME: Found = (Some(SAME.of_lineage(3)), None);
const STRANGERS_OTHER: Found = (Some(OLD.of_lineage(3)), None);
const SAME_ASIDE: Found = (None, Some(SAME));
const OLD_ASIDE: Found = (None, Some(OLD));

fn walked((register, aside): Found, actors: &'static [Actor], losses: u32, lacks: Lacks) -> Result<Walked, String> {
    let begun_afresh = Rc::default();
    let situation = Situation { register, aside, actors, losses };
    walk(|| BlobRun::start(&situation, lacks, Rc::clone(&begun_afresh)))
}

#[test]
fn measure_blob() {
    for place in [NOTHING, OLDER, STRANGERS_SAME, STRANGERS_OTHER, SAME_ASIDE, OLD_ASIDE] {
        for (pair, actors) in PAIRS {
            let started = std::time::Instant::now();
            let result = walked(place, actors, 1, Lacks::default());
            eprintln!("== {place:?}, {pair}: {result:?} {:?}", started.elapsed());
        }
    }
}

