//! The registry of complete checkpoints.

use crate::jobs::{rules, training};
use crate::training::harness::Harness;
use petctl_core::{Epoch, Event};

fn committed(harness: &Harness) -> usize {
    let is = |e: &&Event| matches!(e, Event::CheckpointCommitted { .. });
    harness.events.iter().filter(is).count()
}

fn steps(harness: &Harness) -> Vec<u64> {
    harness.group().checkpoints.iter().map(|c| c.step).collect()
}

#[test]
fn the_newest_is_handed_to_every_new_epoch() {
    let mut harness = Harness::with(training(1, 2, 2), 2);
    assert_eq!(harness.start(0).resume, None);
    assert_eq!(harness.checkpoint(0, 100, "/c/100"), Ok(vec![]));
    assert_eq!(harness.checkpoint(0, 200, "/c/200"), Ok(vec![]));
    harness.kill(1);
    let resume = harness.start(0).resume.unwrap();
    assert_eq!((resume.step, resume.path.as_str()), (200, "/c/200"));
}

#[test]
fn older_ones_are_dropped_and_their_paths_said() {
    let mut harness = Harness::with(training(1, 1, 1), 1);
    for (step, dropped) in [
        (1, vec![]),
        (2, vec![]),
        (3, vec!["/c/1"]),
        (4, vec!["/c/2"]),
    ] {
        let answer = harness.checkpoint(0, step, &format!("/c/{step}")).unwrap();
        assert_eq!(answer, dropped);
    }
    assert_eq!(steps(&harness), [4, 3]);
}

#[test]
fn saying_it_twice_changes_nothing() {
    let mut harness = Harness::with(training(1, 1, 1), 1);
    harness.checkpoint(0, 1, "/c/1").unwrap();
    assert_eq!(harness.checkpoint(0, 1, "/c/1"), Ok(vec![]));
    assert_eq!(committed(&harness), 1);
}

#[test]
fn a_path_that_is_written_again_is_never_dropped() {
    let mut job = training(1, 1, 1);
    rules(&mut job).keep_checkpoints = 1;
    let mut harness = Harness::with(job, 1);
    for step in 1..4 {
        assert_eq!(harness.checkpoint(0, step, "/c/latest"), Ok(vec![]));
    }
    assert_eq!(steps(&harness), [3]);
    // Nor one that holds a kept one.
    assert_eq!(harness.checkpoint(0, 4, "/c/latest/4"), Ok(vec![]));
    assert_eq!(
        harness.checkpoint(0, 5, "/c/latest/5"),
        Ok(vec!["/c/latest/4".to_owned()])
    );
}

#[test]
fn parts_of_one_step_are_not_dropped_for_one_another() {
    let mut harness = Harness::with(training(1, 2, 2), 2);
    assert_eq!(harness.checkpoint(0, 1, "/c/1/a"), Ok(vec![]));
    assert_eq!(harness.checkpoint(1, 1, "/c/1/b"), Ok(vec![]));
    assert_eq!(steps(&harness), [1]);
}

#[test]
fn a_step_that_comes_late_does_not_count_as_newer() {
    let mut harness = Harness::with(training(1, 1, 1), 1);
    harness.checkpoint(0, 20, "/c/20").unwrap();
    harness.checkpoint(0, 10, "/c/10").unwrap();
    assert_eq!(steps(&harness), [20, 10]);
    assert_eq!(
        harness.checkpoint(0, 5, "/c/5"),
        Ok(vec!["/c/5".to_owned()])
    );
    assert_eq!(committed(&harness), 2);
}

#[test]
fn what_a_later_epoch_wrote_is_newer_whatever_its_step() {
    let mut harness = Harness::with(training(1, 2, 2), 2);
    harness.checkpoint(0, 100, "/c/100").unwrap();
    harness.kill(1);
    harness.checkpoint(0, 60, "/c/60").unwrap();
    assert_eq!(steps(&harness), [60, 100]);
}

#[test]
fn one_that_is_said_while_the_group_stops_still_counts() {
    let mut harness = Harness::with(training(1, 2, 2), 2);
    harness.stubborn(0, true);
    harness.kill(1);
    harness.checkpoint(0, 7, "/c/7").unwrap();
    harness.stubborn(0, false);
    harness.stop_now(0);
    assert_eq!(harness.start(0).resume.map(|c| c.step), Some(7));
}

#[test]
fn one_of_an_epoch_that_is_over_is_refused() {
    let mut harness = Harness::with(training(1, 2, 2), 2);
    harness.kill(1);
    assert_eq!(harness.start(0).epoch, Epoch(2));
    assert_eq!(
        harness.checkpoint_of(0, Epoch(1), 9, "/c/9"),
        Err("STALE_EPOCH".to_owned())
    );
    assert_eq!(committed(&harness), 0);
}

#[test]
fn they_outlive_the_coordinator() {
    let mut harness = Harness::with(training(1, 1, 1), 1);
    harness.checkpoint(0, 7, "/c/7").unwrap();
    harness.crash();
    harness.connect(0);
    assert_eq!(steps(&harness), [7]);
    // Its acknowledgement may have been lost.
    assert_eq!(harness.checkpoint(0, 7, "/c/7"), Ok(vec![]));
    harness.fail(0, 0);
    assert_eq!(harness.start(0).resume.map(|c| c.step), Some(7));
}

#[test]
fn status_shows_the_work_at_risk() {
    let mut harness = Harness::with(training(4, 4, 4), 4);
    harness.wait(3_000);
    assert_eq!(
        harness.verdict(),
        "training: epoch 1, 8 ranks on 4 workers, no checkpoint yet (3 s at risk)"
    );
    harness.checkpoint(0, 1_000, "/c/1000").unwrap();
    harness.wait(12_000);
    harness.progress(0, 0, &[(0, 1_200, 0.0)]);
    assert_eq!(
        harness.verdict(),
        "training: epoch 1, 8 ranks on 4 workers, step 1200, checkpoint at step 1000 (12 s at risk)"
    );
    let group = harness.group();
    assert_eq!((group.at_risk_ms, group.at_risk_steps), (12_000, Some(200)));
}
