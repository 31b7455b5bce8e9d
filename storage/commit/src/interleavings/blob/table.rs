//! The situations of registers that are walked.

use super::{BlobRun, Lacks, Situation};
use crate::interleavings::actors::*;
use crate::interleavings::engine::{Walked, walk};
use crate::steps::Protection;
use std::rc::Rc;

/// What the register holds, or keeps aside.
type Before = (Option<Outputs>, Option<Outputs>);

const NOTHING: Before = (None, None);
const OLDER: Before = (Some(OLD), None);
const STRANGERS_SAME: Before = (Some(SAME.of_lineage(3)), None);
const STRANGERS_OTHER: Before = (Some(OLD.of_lineage(3)), None);
const SAME_ASIDE: Before = (None, Some(SAME));
const OLD_ASIDE: Before = (None, Some(OLD));
const ALL: [Before; 6] = [
    NOTHING,
    OLDER,
    STRANGERS_SAME,
    STRANGERS_OTHER,
    SAME_ASIDE,
    OLD_ASIDE,
];

/// So many answers may be lost.
const LOSSES: u32 = 1;

fn walked(
    (register, aside): Before,
    actors: &'static [Actor],
    losses: u32,
    lacks: Lacks,
) -> Result<Walked, String> {
    let begun_afresh = Rc::default();
    let situation = Situation {
        register,
        aside,
        actors,
        losses,
    };
    walk(|| BlobRun::start(&situation, lacks, Rc::clone(&begun_afresh)))
}

/// Walks through all orders; the walk has not gone soft as long as it comes to so many states.
fn all(situations: &[(Before, &'static [Actor])], losses: u32, at_least: usize) {
    let mut states = 0;
    for (before, actors) in situations {
        match walked(*before, actors, losses, Lacks::default()) {
            Ok(walked) => {
                println!("{walked}");
                states += walked.states;
            }
            Err(wrong) => panic!("{before:?}, {actors:?}: {wrong}"),
        }
    }
    println!("{states} states");
    assert!(states >= at_least, "only {states} states");
}

#[test]
fn two_with_a_lost_answer() {
    let every = ALL
        .iter()
        .flat_map(|before| PAIRS.map(|(_, actors)| (*before, actors)));
    all(&every.collect::<Vec<_>>(), LOSSES, 36_000);
}

#[test]
fn two_with_two_lost_answers() {
    let every: [&[Actor]; 4] = [
        &[FIRST, SECOND],
        &[FIRST, LATER],
        &[FIRST, OTHER],
        &[FIRST, SWEEPS],
    ];
    let every = every.map(|actors| (OLDER, actors));
    all(&every, 2, 6_500);
}

#[test]
fn three_of_one_version() {
    let who: [&[Actor]; 2] = [
        &[FIRST, SECOND, THIRD],
        &[FIRST_BESIDE, SECOND_BESIDE, THIRD],
    ];
    let every = who.map(|actors| (OLDER, actors));
    all(&every, LOSSES, 33_000);
}

#[test]
fn three_of_two_versions() {
    let who: [&[Actor]; 2] = [&[FIRST, SECOND_BESIDE, LATER], &[FIRST, LATER, SWEEPS]];
    let every = who.map(|actors| (OLDER, actors));
    all(&every, 0, 6_500);
}

#[test]
fn three_of_two_lineages() {
    let who: [&[Actor]; 2] = [&[FIRST, SECOND, STRANGER], &[FIRST_BESIDE, LATER, OTHER]];
    let every = who.map(|actors| (NOTHING, actors));
    all(&every, 0, 7_000);
}

/// Without a protection the walk finds what it is for.
fn finds(lacks: Lacks, before: Before, actors: &'static [Actor], what: &str) {
    match walked(before, actors, LOSSES, lacks) {
        Ok(walked) => panic!("nothing found in {walked}"),
        Err(wrong) => assert!(wrong.contains(what), "{wrong}"),
    }
}

fn without(protection: Protection) -> Lacks {
    Lacks {
        protection: Some(protection),
        conditions: false,
    }
}

#[test]
fn a_walk_in_which_the_store_asks_for_no_condition_finds_it() {
    let lacks = Lacks {
        conditions: true,
        ..Lacks::default()
    };
    finds(lacks, NOTHING, &[FIRST_BESIDE, SECOND_BESIDE], "stands");
}

#[test]
fn a_walk_in_which_a_late_attempt_begins_finds_it() {
    finds(
        without(Protection::GiveUp),
        NOTHING,
        &[FIRST, SECOND],
        "fenced",
    );
}

#[test]
fn a_walk_in_which_any_claim_is_replaced_finds_it() {
    let lacks = without(Protection::ReplaceEarlier);
    finds(lacks, NOTHING, &[FIRST, SECOND], "fenced");
}

#[test]
fn a_walk_in_which_what_came_since_gives_way_finds_it() {
    let lacks = without(Protection::CameSince);
    finds(lacks, NOTHING, &[FIRST, OTHER], "fenced");
}

#[test]
fn a_walk_in_which_a_claim_forgets_what_is_aside_finds_it() {
    let lacks = without(Protection::PutAside);
    finds(lacks, OLDER, &[FIRST, SECOND], "are lost");
}

#[test]
fn a_walk_in_which_an_attempt_settles_before_it_publishes_finds_it() {
    let lacks = without(Protection::DurableFirst);
    finds(lacks, OLDER, &[FIRST, SECOND], "half");
}

#[test]
fn a_walk_in_which_a_discard_does_not_look_at_claims_finds_it() {
    let lacks = without(Protection::DiscardLooks);
    finds(lacks, NOTHING, &[FIRST, LATER], "half");
}

#[test]
fn a_walk_in_which_a_sweep_takes_what_is_aside_finds_it() {
    let lacks = without(Protection::SweepKeepsAside);
    finds(lacks, OLDER, &[FIRST, SWEEPS], "half");
}

#[test]
fn a_walk_in_which_a_sweep_shuts_nobody_out_finds_it() {
    let lacks = without(Protection::SweepClaims);
    finds(lacks, NOTHING, &[FIRST_BESIDE, SWEEPS], "half");
}

#[test]
fn a_walk_in_which_an_adoption_is_not_signed_finds_it() {
    let lacks = without(Protection::Sign);
    finds(lacks, STRANGERS_OTHER, &[FIRST, BACK], "stands");
}
