//! The coordinator dies in the middle of training.

use crate::jobs::training;
use crate::training::harness::Harness;
use petctl_core::{Charge, EndState, Event, GroupPhase, ToWorker};

fn charged(harness: &Harness) -> usize {
    let failed = |e: &&Event| matches!(e, Event::GroupFailed { .. });
    harness.events.iter().filter(failed).count()
}

#[test]
fn nothing_restarts() {
    let mut harness = Harness::with(training(2, 4, 4), 4);
    harness.crash();
    for n in 0..4 {
        harness.connect(n);
    }
    harness.wait(20_000);
    assert_eq!(
        (harness.epochs(), harness.starts(), charged(&harness)),
        (1, 1, 0)
    );
    assert!((0..4).all(|n| harness.runs(n)));
    assert_eq!(harness.group().phase.as_str(), "running");
    for n in 0..4 {
        harness.succeed(n);
    }
    assert_eq!(harness.end(), Some(EndState::Succeeded));
}

#[test]
fn an_order_to_start_that_was_not_heard_is_given_again() {
    let mut harness = Harness::with(training(2, 2, 2), 1);
    // The second joins, and its stream breaks before it hears anything.
    harness.join(1);
    let first = harness.start(1);
    harness.forget(1);
    harness.crash();
    harness.connect(0);
    harness.connect(1);
    assert_eq!(harness.start(1), first);
    assert!(harness.runs(1));
    assert_eq!(harness.starts(), 1);
}

#[test]
fn an_order_that_was_lost_with_a_stream_is_given_again() {
    let mut harness = Harness::with(training(2, 2, 2), 1);
    harness.join(1);
    let first = harness.start(1);
    let mut deaf = Harness::with(training(2, 2, 2), 1);
    deaf.join_deaf(1);
    deaf.cut(1);
    deaf.connect(1);
    assert_eq!(deaf.start(1), first);
    assert!(deaf.runs(1));
    assert_eq!(deaf.starts(), 1);
}

#[test]
fn who_does_not_come_back_is_lost() {
    let mut harness = Harness::with(training(1, 2, 2), 2);
    harness.crash();
    harness.connect(0);
    harness.wait(6_000);
    assert_eq!(harness.members(), ["w0"]);
    let cause = &harness.group().causes[0];
    assert_eq!(
        (cause.charged, cause.worker.as_str()),
        (Charge::WorkerLost, "w1")
    );
    assert_eq!(
        cause.message,
        "worker w1 on node-1 did not come back after the coordinator's restart"
    );
    assert!(harness.runs(0));
}

#[test]
fn a_failure_during_the_outage_is_charged_once() {
    let mut harness = Harness::with(training(2, 2, 2), 2);
    harness.stubborn(1, true);
    harness.crash();
    harness.worker_failed(0);
    harness.connect(0);
    harness.connect(1);
    assert_eq!(harness.group().phase.as_str(), "stopping");
    harness.crash();
    harness.connect(1);
    harness.connect(0);
    harness.stubborn(1, false);
    harness.stop_now(1);
    assert_eq!((harness.starts(), charged(&harness)), (2, 1));
    assert_eq!(harness.group().causes[0].worker, "w0");
}

#[test]
fn a_charged_failure_is_not_charged_again() {
    let mut harness = Harness::with(training(2, 2, 2), 2);
    // It is charged, and then the group can't form.
    harness.kill(1);
    assert_eq!(charged(&harness), 1);
    harness.crash();
    harness.connect(0);
    harness.wait(6_000);
    harness.join(5);
    assert_eq!(charged(&harness), 1);
    assert!(harness.runs(0) && harness.runs(5));
}

#[test]
fn a_departure_is_remembered_as_one() {
    let mut harness = Harness::with(training(1, 2, 2), 2);
    harness.stubborn(0, true);
    harness.stubborn(1, true);
    harness.said(1, petctl_core::FromWorker::Leaving(String::new()));
    harness.crash();
    harness.worker_failed(0);
    harness.connect(0);
    harness.wait(6_000);
    assert_eq!(charged(&harness), 0);
    assert_eq!(harness.members(), ["w0"]);
}

#[test]
fn a_cancelled_group_is_stopped_after_the_restart_too() {
    let mut harness = Harness::with(training(1, 1, 1), 1);
    harness.stubborn(0, true);
    harness.cancel();
    harness.crash();
    harness.stubborn(0, false);
    harness.connect(0);
    assert!(
        harness
            .worker(0)
            .has_heard(|m| matches!(m, ToWorker::GroupStop { .. }))
    );
    assert_eq!(harness.end(), Some(EndState::Cancelled));
}

#[test]
fn a_group_that_ended_meanwhile_has_succeeded() {
    let mut harness = Harness::with(training(2, 2, 2), 2);
    harness.crash();
    for n in 0..2 {
        harness.worker_is(n, GroupPhase::Succeeded);
        harness.connect(n);
    }
    assert_eq!(harness.end(), Some(EndState::Succeeded));
}
