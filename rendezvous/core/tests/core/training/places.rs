//! Workers of a training that a place numbers, and what it says of those that were lost.

use crate::jobs::{rules, training};
use crate::training::harness::Harness;
use petctl_core::{Code, Event, Hello, Input, JobId, PlaceReport, Reason, ToWorker};
use petctl_spec::Grow;
use std::collections::BTreeMap;

fn numbered(harness: &mut Harness, n: u128, index: u32) {
    let hello = Hello {
        index: Some(index),
        ..Hello::default()
    };
    harness.join_as(n, hello);
}

#[test]
fn a_group_that_shrinks_lets_the_highest_numbers_go() {
    let mut spec = training(1, 4, 4);
    rules(&mut spec).grow = Grow::Now;
    let mut harness = Harness::new(spec);
    for (n, index) in [(0, 2), (1, 3), (2, 0), (3, 1)] {
        numbered(&mut harness, n, index);
    }
    assert_eq!(harness.members(), ["w0", "w1", "w2", "w3"]);
    harness.scale(1, 2, 4);
    assert_eq!(harness.members(), ["w2", "w3"]);
    for n in [0, 1] {
        let drained = |m: &ToWorker| matches!(m, ToWorker::Drain(_));
        assert!(harness.worker(n).has_heard(drained), "w{n}");
    }
}

#[test]
fn a_training_goes_on_with_as_many_as_its_place_has_room_for() {
    let mut spec = training(2, 4, 4);
    rules(&mut spec).grow = Grow::Now;
    let mut harness = Harness::with(spec, 4);
    let room = |at_most| PlaceReport {
        at_most,
        ..PlaceReport::default()
    };
    harness.tell(Input::Place(JobId(1), room(Some(3))));
    assert_eq!(harness.members().len(), 3);
    // Not below its minimum.
    harness.tell(Input::Place(JobId(1), room(Some(1))));
    assert_eq!(harness.members().len(), 2);
    let charged = |event: &Event| matches!(event, Event::GroupFailed { .. });
    assert!(!harness.events.iter().any(charged), "it costs nothing");
    harness.tell(Input::Place(JobId(1), room(None)));
    harness.join(7);
    assert_eq!(harness.members().len(), 3);
}

#[test]
fn the_cause_of_an_epochs_end_is_what_the_place_knows_of_the_lost_worker() {
    let mut harness = Harness::with(training(1, 2, 2), 2);
    harness.kill(1);
    assert_eq!(harness.group().causes[0].code, "WORKER_GONE");
    let why = Reason::new(Code::PodPreempted, "it made room".to_owned());
    let report = PlaceReport {
        ended: BTreeMap::from([("w1".to_owned(), why)]),
        ..PlaceReport::default()
    };
    harness.tell(Input::Place(JobId(1), report));
    let cause = harness.group().causes.remove(0);
    assert_eq!(cause.code, "POD_PREEMPTED");
    assert!(
        cause.message.ends_with(": it made room"),
        "{}",
        cause.message
    );
}

#[test]
fn why_a_member_ended_is_an_event_once_and_of_strangers_it_is_none() {
    let mut harness = Harness::with(training(1, 2, 2), 2);
    harness.kill(1);
    let why = Reason::new(
        Code::NodeLost,
        "node n2 does not answer any more".to_owned(),
    );
    let report = PlaceReport {
        ended: ["w1", "a-stranger"]
            .map(|name| (name.to_owned(), why.clone()))
            .into(),
        ..PlaceReport::default()
    };
    for said in [report.clone(), report, PlaceReport::default()] {
        harness.tell(Input::Place(JobId(1), said));
    }
    let told = harness.events.iter().filter_map(|event| {
        if let Event::WorkerEnded {
            worker, message, ..
        } = event
        {
            return Some((worker.as_str(), message.as_str()));
        }
        None
    });
    let told: Vec<(&str, &str)> = told.collect();
    assert_eq!(told, [("w1", "node n2 does not answer any more")]);
}
