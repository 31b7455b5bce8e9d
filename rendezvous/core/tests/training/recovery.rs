//! The coordinator dies in the middle of training.

use crate::troupe::{Troupe, training};
use petctl_core::{Charge, EndState, Event, GroupPhase, ToWorker};

fn charged(troupe: &Troupe) -> usize {
    let failed = |e: &&Event| matches!(e, Event::GroupFailed { .. });
    troupe.events.iter().filter(failed).count()
}

#[test]
fn nothing_restarts() {
    let mut troupe = Troupe::with(training(2, 4, 4), 4);
    troupe.crash();
    for n in 0..4 {
        troupe.connect(n);
    }
    troupe.wait(20_000);
    assert_eq!(
        (troupe.epochs(), troupe.starts(), charged(&troupe)),
        (1, 1, 0)
    );
    assert!((0..4).all(|n| troupe.runs(n)));
    assert_eq!(troupe.group().phase.as_str(), "running");
    for n in 0..4 {
        troupe.succeed(n);
    }
    assert_eq!(troupe.end(), Some(EndState::Succeeded));
}

#[test]
fn an_order_to_start_that_was_not_heard_is_given_again() {
    let mut troupe = Troupe::with(training(2, 2, 2), 1);
    // The second joins, and its stream breaks before it hears anything.
    troupe.join(1);
    let first = troupe.start(1);
    troupe.forget(1);
    troupe.crash();
    troupe.connect(0);
    troupe.connect(1);
    assert_eq!(troupe.start(1), first);
    assert!(troupe.runs(1));
    assert_eq!(troupe.starts(), 1);
}

#[test]
fn an_order_that_was_lost_with_a_stream_is_given_again() {
    let mut troupe = Troupe::with(training(2, 2, 2), 1);
    troupe.join(1);
    let first = troupe.start(1);
    let mut deaf = Troupe::with(training(2, 2, 2), 1);
    deaf.join_deaf(1);
    deaf.cut(1);
    deaf.connect(1);
    assert_eq!(deaf.start(1), first);
    assert!(deaf.runs(1));
    assert_eq!(deaf.starts(), 1);
}

#[test]
fn who_does_not_come_back_is_lost() {
    let mut troupe = Troupe::with(training(1, 2, 2), 2);
    troupe.crash();
    troupe.connect(0);
    troupe.wait(6_000);
    assert_eq!(troupe.members(), ["w0"]);
    let cause = &troupe.group().causes[0];
    assert_eq!(
        (cause.charged, cause.worker.as_str()),
        (Charge::WorkerLost, "w1")
    );
    assert_eq!(
        cause.message,
        "worker w1 on node-1 did not come back after the coordinator's restart"
    );
    assert!(troupe.runs(0));
}

#[test]
fn a_failure_during_the_outage_is_charged_once() {
    let mut troupe = Troupe::with(training(2, 2, 2), 2);
    troupe.stubborn(1, true);
    troupe.crash();
    troupe.player_failed(0);
    troupe.connect(0);
    troupe.connect(1);
    assert_eq!(troupe.group().phase.as_str(), "stopping");
    troupe.crash();
    troupe.connect(1);
    troupe.connect(0);
    troupe.stubborn(1, false);
    troupe.stop_now(1);
    assert_eq!((troupe.starts(), charged(&troupe)), (2, 1));
    assert_eq!(troupe.group().causes[0].worker, "w0");
}

#[test]
fn a_charged_failure_is_not_charged_again() {
    let mut troupe = Troupe::with(training(2, 2, 2), 2);
    // It is charged, and then the group can't form.
    troupe.kill(1);
    assert_eq!(charged(&troupe), 1);
    troupe.crash();
    troupe.connect(0);
    troupe.wait(6_000);
    troupe.join(5);
    assert_eq!(charged(&troupe), 1);
    assert!(troupe.runs(0) && troupe.runs(5));
}

#[test]
fn a_departure_is_remembered_as_one() {
    let mut troupe = Troupe::with(training(1, 2, 2), 2);
    troupe.stubborn(0, true);
    troupe.stubborn(1, true);
    troupe.said(1, petctl_core::FromWorker::Leaving(String::new()));
    troupe.crash();
    troupe.player_failed(0);
    troupe.connect(0);
    troupe.wait(6_000);
    assert_eq!(charged(&troupe), 0);
    assert_eq!(troupe.members(), ["w0"]);
}

#[test]
fn a_cancelled_group_is_stopped_after_the_restart_too() {
    let mut troupe = Troupe::with(training(1, 1, 1), 1);
    troupe.stubborn(0, true);
    troupe.cancel();
    troupe.crash();
    troupe.stubborn(0, false);
    troupe.connect(0);
    assert!(
        troupe
            .player(0)
            .has_heard(|m| matches!(m, ToWorker::GroupStop { .. }))
    );
    assert_eq!(troupe.end(), Some(EndState::Cancelled));
}

#[test]
fn a_group_that_ended_meanwhile_has_succeeded() {
    let mut troupe = Troupe::with(training(2, 2, 2), 2);
    troupe.crash();
    for n in 0..2 {
        troupe.player_is(n, GroupPhase::Succeeded);
        troupe.connect(n);
    }
    assert_eq!(troupe.end(), Some(EndState::Succeeded));
}
