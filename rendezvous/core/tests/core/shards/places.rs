//! Workers that a place numbers, what it is told of them, and what it says.

use crate::jobs::sharded;
use crate::shards::harness::Harness;
use petctl_core::{Code, Hello, Outcome, PlaceReport, Reason, ToWorker};
use std::collections::BTreeMap;

/// A worker of that number, called `w` and the number.
fn numbered(harness: &mut Harness, index: u32) -> petctl_core::ConnId {
    harness.hello(Hello {
        name: format!("w{index}"),
        job: "job".to_owned(),
        slots: 1,
        index: Some(index),
        ..Hello::default()
    })
}

fn is_drained(harness: &Harness, worker: petctl_core::ConnId) -> bool {
    let mut heard = harness.heard(worker).iter();
    heard.any(|message| matches!(message, ToWorker::Drain(_)))
}

#[test]
fn a_pool_that_shrinks_drains_the_highest_numbers_whenever_they_came() {
    let mut harness = Harness::new(sharded(1, 4, 100));
    let workers = [2, 0, 3, 1].map(|index| (index, numbered(&mut harness, index)));
    harness.scale(2);
    for (index, worker) in workers {
        assert_eq!(is_drained(&harness, worker), index >= 2, "w{index}");
    }
    let members = harness.view().members;
    let ranks: Vec<(&str, Option<u32>)> =
        members.iter().map(|m| (m.name.as_str(), m.rank)).collect();
    // Survivors keep their order.
    assert_eq!(ranks[..2], [("w0", Some(0)), ("w1", Some(1))]);
}

#[test]
fn a_pool_without_numbers_drains_the_youngest() {
    let mut harness = Harness::new(sharded(1, 3, 100));
    let workers = ["a", "b", "c"].map(|name| harness.join_for(name, "job"));
    harness.scale(1);
    let drained = workers.map(|worker| is_drained(&harness, worker));
    assert_eq!(drained, [false, true, true]);
}

#[test]
fn a_place_is_told_what_is_wanted_what_is_useful_and_who_has_something_to_end() {
    let mut harness = Harness::new(sharded(1, 8, 3));
    let pool = harness.pool();
    assert_eq!((pool.wanted, pool.useful, pool.workers.len()), (8, 3, 0));
    let first = numbered(&mut harness, 0);
    numbered(&mut harness, 1);
    harness.scale(1);
    let pool = harness.pool();
    assert_eq!(pool.wanted, 1);
    let workers: Vec<(&str, bool, bool)> = pool
        .workers
        .iter()
        .map(|w| (w.name.as_str(), w.member, w.drains))
        .collect();
    assert_eq!(workers, [("w0", true, false), ("w1", false, true)]);
    harness.finish(first, Outcome::Committed, 10);
    assert!(harness.pool().useful < 3, "less is left to do");
    harness.suspend();
    assert!(harness.pool().suspended);
}

#[test]
fn what_a_place_says_stands_first_among_the_reasons_and_goes_when_it_says_so() {
    let mut harness = Harness::new(sharded(2, 4, 10));
    let reason = Reason::new(Code::PodUnschedulable, "no node takes it".to_owned());
    harness.place_says(PlaceReport {
        waiting: vec![reason.clone()],
        ..PlaceReport::default()
    });
    assert_eq!(harness.view().waiting[0], reason);
    assert_eq!(harness.view().waiting[1].code, "BELOW_MIN");
    harness.place_says(PlaceReport::default());
    assert_eq!(harness.view().waiting[0].code, "BELOW_MIN");
}

#[test]
fn a_shard_of_a_lost_worker_tells_what_the_place_knows_of_that() {
    let mut spec = sharded(1, 1, 1);
    spec.stages[0].budgets.worker_lost = 0;
    let mut harness = Harness::new(spec);
    let worker = numbered(&mut harness, 0);
    harness.lose(worker);
    let lost = harness.shard(0);
    assert_eq!(lost.code, "WORKER_GONE");
    let why = Reason::new(Code::PodOutOfMemory, "it used too much memory".to_owned());
    harness.place_says(PlaceReport {
        ended: BTreeMap::from([("w0".to_owned(), why)]),
        ..PlaceReport::default()
    });
    // The job has ended with it: what was recorded stands.
    assert_eq!(harness.shard(0).code, "WORKER_GONE");
}

#[test]
fn a_shard_that_is_tried_again_tells_what_the_place_knows_of_its_lost_worker() {
    let mut harness = Harness::new(sharded(1, 1, 1));
    let worker = numbered(&mut harness, 0);
    harness.lose(worker);
    let why = Reason::new(Code::PodOutOfMemory, "it used too much memory".to_owned());
    harness.place_says(PlaceReport {
        ended: BTreeMap::from([("w0".to_owned(), why)]),
        ..PlaceReport::default()
    });
    let shard = harness.shard(0);
    assert_eq!(shard.code, "POD_OUT_OF_MEMORY");
    assert!(
        shard.message.ends_with(": it used too much memory"),
        "{}",
        shard.message
    );
}

fn room(at_most: u32) -> PlaceReport {
    PlaceReport {
        at_most: Some(at_most),
        ..PlaceReport::default()
    }
}

#[test]
fn where_a_place_has_less_room_the_highest_numbers_go_and_come_back_with_it() {
    let mut harness = Harness::new(sharded(1, 4, 100));
    let workers: Vec<_> = (0..4).map(|index| numbered(&mut harness, index)).collect();
    harness.place_says(room(2));
    let drained = workers.iter().map(|worker| is_drained(&harness, *worker));
    assert_eq!(drained.collect::<Vec<_>>(), [false, false, true, true]);
    let there = |harness: &Harness| harness.state().jobs[&petctl_core::JobId(1)].members.len();
    assert_eq!((there(&harness), harness.pool().wanted), (2, 4));
    for worker in &workers[2..] {
        harness.finish(*worker, Outcome::Committed, 10);
    }
    harness.place_says(PlaceReport::default());
    numbered(&mut harness, 4);
    assert_eq!(there(&harness), 3);
}

#[test]
fn no_job_goes_below_its_minimum_for_others() {
    let mut harness = Harness::new(sharded(2, 4, 100));
    let workers: Vec<_> = (0..3).map(|index| numbered(&mut harness, index)).collect();
    harness.place_says(room(0));
    let drained = workers.iter().map(|worker| is_drained(&harness, *worker));
    assert_eq!(drained.collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn a_report_is_bounded() {
    let mut harness = Harness::new(sharded(1, 1, 1));
    let reason = Reason::new(Code::PodStarting, "they start".to_owned());
    harness.place_says(PlaceReport {
        waiting: vec![reason.clone(); 1_000],
        ended: (0..1_000)
            .map(|n| (format!("w{n}"), reason.clone()))
            .collect(),
        ..PlaceReport::default()
    });
    let shown = harness.view().waiting.len();
    assert!(shown <= petctl_core::MAX_PLACE_REASONS + 1, "{shown}");
}

#[test]
fn after_a_restart_nobody_is_sent_away_before_all_have_come_back() {
    let mut harness = Harness::new(sharded(1, 2, 100));
    // The one that came last has the lower number: by its age it would be the first to leave.
    let (young, old) = (1, 0);
    let workers = [young, old].map(|index| (index, numbered(&mut harness, index)));
    harness.restart();
    let hello = |index: u32| Hello {
        name: format!("w{index}"),
        job: "job".to_owned(),
        slots: 1,
        index: Some(index),
        member_of: Some(petctl_core::JobId(1)),
        ..Hello::default()
    };
    let back = harness.come_back(workers[0].1, hello(young));
    harness.scale(1);
    let there: Vec<String> = harness.pool().workers.into_iter().map(|w| w.name).collect();
    assert_eq!(
        there,
        ["w1", "w0"],
        "the place must not take away who may still be at work"
    );
    assert!(!is_drained(&harness, back));
    let other = harness.come_back(workers[1].1, hello(old));
    assert!(is_drained(&harness, back), "the highest number leaves");
    assert!(!is_drained(&harness, other));
}

#[test]
fn after_a_restart_a_worker_of_one_job_takes_up_nothing_of_another() {
    let mut harness = Harness::new(sharded(1, 2, 100));
    let index = 0;
    let worker = numbered(&mut harness, index);
    let held = harness.leases(worker);
    assert!(!held.is_empty());
    harness.restart();
    // It names the leases of a job that it does not serve, and that job as its own.
    let stranger = Hello {
        name: "stranger".to_owned(),
        job: "another".to_owned(),
        slots: 1,
        ..Hello::default()
    };
    let came = harness.come_back(worker, stranger);
    let is_let_in =
        |told: &ToWorker| matches!(told, ToWorker::Welcome { kept, .. } if kept.is_empty());
    assert!(harness.heard(came).iter().any(is_let_in));
    harness.report_in(came, petctl_core::Epoch(1), &held, Outcome::Committed, 5);
    let stages = &harness.state().jobs[&petctl_core::JobId(1)].stages;
    let mut shards = stages.iter().flat_map(|stage| &stage.shards);
    assert!(shards.all(|shard| shard.phase == petctl_core::Phase::Pending));
}
