//! The situations of folders that are walked.

use super::found::{Stood, What};
use super::{FolderRun, How, Memory, Situation};
use crate::interleavings::actors::*;
use crate::interleavings::engine::{Walked, walk};
use crate::steps::Protection;
use std::cell::RefCell;
use std::rc::Rc;

const fn whole(outputs: Outputs) -> Option<Stood> {
    Some(Stood { outputs, cut: None })
}

const fn cut(outputs: Outputs, what: What) -> Option<Stood> {
    let cut = Some(what);
    Some(Stood { outputs, cut })
}

/// What is at the shard's place, and what is aside.
type Before = (Option<Stood>, Option<Stood>);

const NOTHING: Before = (None, None);
const OLDER: Before = (whole(OLD), None);
const STRANGERS_SAME: Before = (whole(SAME.of_lineage(3)), None);
const STRANGERS_OTHER: Before = (whole(OLD.of_lineage(3)), None);
const STRANGERS_CUT: Before = (cut(SAME.of_lineage(3), What::Manifest), None);
const EMPTY_FILES: Before = (cut(OLD, What::Nothing), None);
const MANIFEST_ONLY: Before = (cut(SAME, What::Manifest), None);
const SAME_ASIDE: Before = (None, whole(SAME));
const STRANGERS_ASIDE: Before = (None, whole(SAME.of_lineage(3)));
const BOTH: Before = (whole(OLD.of_lease(2)), whole(SAME));
const CUT_AND_ASIDE: Before = (cut(OLD.of_lease(2), What::Manifest), whole(OLD));

/// As the program is.
const WHOLE: How = How {
    lacks: None,
    merges: true,
    ends: true,
};

fn walked((place, aside): Before, actors: &'static [Actor], how: How) -> Result<Walked, String> {
    let memory = Rc::new(RefCell::new(Memory::default()));
    let situation = Situation {
        place,
        aside,
        actors,
    };
    walk(|| FolderRun::start(&situation, how, Rc::clone(&memory)))
}

/// Walks through all orders of two; the walk has not gone soft as long as it comes to so many states.
fn two(before: Before, at_least: usize) {
    let mut states = 0;
    for (pair, actors) in PAIRS {
        match walked(before, actors, WHOLE) {
            Ok(walked) => {
                println!("{pair}: {walked}");
                states += walked.states;
            }
            Err(wrong) => panic!("{pair}: {wrong}"),
        }
    }
    println!("{states} states");
    assert!(states >= at_least, "only {states} states");
}

fn three(before: Before, actors: &'static [Actor], at_least: usize) {
    match walked(before, actors, WHOLE) {
        Ok(walked) => {
            println!("{walked}");
            assert!(walked.states >= at_least, "only {walked}");
        }
        Err(wrong) => panic!("{wrong}"),
    }
}

#[test]
fn two_where_nothing_is() {
    two(NOTHING, 3_000);
}

#[test]
fn two_where_an_older_version_is() {
    two(OLDER, 8_000);
}

#[test]
fn two_where_a_strangers_outputs_are_made_of_the_same() {
    two(STRANGERS_SAME, 1_500);
}

#[test]
fn two_where_a_strangers_outputs_are_made_of_something_else() {
    two(STRANGERS_OTHER, 8_000);
}

#[test]
fn two_where_a_power_cut_has_left_empty_files() {
    two(EMPTY_FILES, 7_000);
}

#[test]
fn two_where_a_power_cut_has_left_a_manifest() {
    two(MANIFEST_ONLY, 8_000);
}

#[test]
fn two_where_a_power_cut_has_left_a_strangers_manifest() {
    two(STRANGERS_CUT, 4_000);
}

#[test]
fn two_where_the_same_is_aside() {
    two(SAME_ASIDE, 3_000);
}

#[test]
fn two_where_a_strangers_outputs_are_aside() {
    two(STRANGERS_ASIDE, 2_000);
}

#[test]
fn two_where_the_same_is_aside_of_an_older_version() {
    two(BOTH, 5_000);
}

#[test]
fn two_where_a_power_cut_has_left_a_manifest_and_others_are_aside() {
    two(CUT_AND_ASIDE, 5_000);
}

#[test]
fn three_of_which_each_fences_those_before() {
    three(NOTHING, &[FIRST, SECOND, THIRD], 14_000);
}

#[test]
fn three_of_which_the_last_fences_two_beside_each_other() {
    three(NOTHING, &[FIRST_BESIDE, SECOND_BESIDE, THIRD], 11_000);
}

#[test]
fn three_of_which_the_last_is_of_a_later_version() {
    three(NOTHING, &[FIRST, SECOND_BESIDE, LATER], 10_000);
}

/// Steps that stand alone are merged with those before them. That leaves no end out.
#[test]
fn merged_steps_leave_no_end_out() {
    let pairs = [FIRST_TWO, BESIDE, &[FIRST, LATER], &[FIRST_BESIDE, OTHER]];
    for (before, actors) in [
        (NOTHING, pairs[0]),
        (OLDER, pairs[1]),
        (SAME_ASIDE, pairs[2]),
        (NOTHING, pairs[3]),
    ] {
        let how = How {
            ends: false,
            ..WHOLE
        };
        let merged = walked(before, actors, how).unwrap();
        let how = How {
            merges: false,
            ..how
        };
        let every = walked(before, actors, how).unwrap();
        println!("{merged} of {every}");
        assert!(merged.states < every.states, "{merged} of {every}");
        assert_eq!(merged.ends, every.ends, "{actors:?}");
    }
}

/// Without a protection the walk finds what it is for.
fn finds(lacks: Protection, before: Before, actors: &'static [Actor], what: &str) {
    let how = How {
        lacks: Some(lacks),
        merges: false,
        ends: false,
    };
    match walked(before, actors, how) {
        Ok(walked) => panic!("nothing found in {walked}"),
        Err(wrong) => assert!(wrong.contains(what), "{wrong}"),
    }
}

const FIRST_TWO: &[Actor] = &[FIRST, SECOND];
const BESIDE: &[Actor] = &[FIRST_BESIDE, SECOND_BESIDE];

#[test]
fn a_walk_without_the_lock_finds_it() {
    finds(Protection::Lock, EMPTY_FILES, BESIDE, "taken for damaged");
}

#[test]
fn a_walk_without_a_look_under_the_lock_finds_it() {
    let who = &[FIRST_BESIDE, OTHER_BESIDE];
    finds(Protection::LookFirst, OLDER, who, "something without");
}

#[test]
fn a_walk_without_a_second_look_at_the_manifest_finds_it() {
    let who = &[FIRST, AGAIN];
    finds(Protection::StillTheSame, STRANGERS_CUT, who, "never came");
}

#[test]
fn a_walk_in_which_publishing_replaces_finds_it() {
    finds(Protection::NoReplace, NOTHING, BESIDE, "stands");
}

#[test]
fn a_walk_in_which_a_fence_looks_before_it_is_there_finds_it() {
    finds(Protection::FolderFirst, NOTHING, FIRST_TWO, "both go on");
}

#[test]
fn a_walk_in_which_a_late_fence_goes_on_finds_it() {
    finds(Protection::GiveUp, NOTHING, FIRST_TWO, "both go on");
}

#[test]
fn a_walk_in_which_what_came_since_gives_way_finds_it() {
    let who = &[FIRST, OTHER_BESIDE];
    finds(Protection::CameSince, NOTHING, who, "came since");
}

#[test]
fn a_walk_in_which_outputs_of_before_are_thrown_away_finds_it() {
    finds(Protection::PutAside, OLDER, FIRST_TWO, "are lost");
}

#[test]
fn a_walk_without_hashes_finds_it() {
    finds(Protection::Hashes, STRANGERS_CUT, FIRST_TWO, "half");
}

#[test]
fn a_walk_in_which_an_attempt_settles_before_it_is_durable_finds_it() {
    finds(Protection::DurableFirst, OLDER, FIRST_TWO, "are lost");
}

#[test]
fn a_walk_in_which_an_attempt_settles_what_others_have_put_aside_finds_it() {
    finds(Protection::SettleOwn, OLDER, &[FIRST, LATER], "are lost");
}

#[test]
fn a_walk_in_which_what_is_aside_goes_for_what_is_not_durable_finds_it() {
    let who = &[FIRST_BESIDE, LATER];
    finds(Protection::SyncBefore, OLDER, who, "are lost");
}

#[test]
fn a_walk_in_which_a_fenced_attempt_moves_outputs_finds_it() {
    let who = &[FIRST, LATER];
    finds(
        Protection::NotFenced,
        STRANGERS_SAME,
        who,
        "nobody is later",
    );
}

#[test]
fn a_walk_in_which_fences_take_no_lock_finds_it() {
    let who = &[FIRST, LATER];
    finds(
        Protection::FenceLocked,
        STRANGERS_ASIDE,
        who,
        "nobody is later",
    );
}

#[test]
fn a_walk_in_which_an_adoption_leaves_no_sign_finds_it() {
    finds(
        Protection::Sign,
        STRANGERS_OTHER,
        &[FIRST, BACK],
        "was told that",
    );
}
