//! Workers come and go while a group trains.

use crate::jobs::{rules, training};
use crate::training::harness::Harness;
use petctl_core::{EndState, Event, FromWorker, JobState, ToWorker};
use petctl_spec::Grow;

fn charged(harness: &Harness) -> usize {
    let failed = |e: &&Event| matches!(e, Event::GroupFailed { .. });
    harness.events.iter().filter(failed).count()
}

fn told_to_drain(harness: &mut Harness, n: u128) -> bool {
    harness
        .worker(n)
        .has_heard(|m| matches!(m, ToWorker::Drain(_)))
}

#[test]
fn survivors_of_a_lost_worker_keep_their_order_and_start_at_once() {
    let mut harness = Harness::with(training(2, 4, 4), 4);
    harness.kill(1);
    assert_eq!(harness.members(), ["w0", "w2", "w3"]);
    let ranks: Vec<_> = [0, 2, 3].map(|n| harness.start(n).first_rank).into();
    assert_eq!(ranks, [0, 2, 4]);
    assert_eq!((harness.starts(), charged(&harness)), (2, 1));
    assert!([0, 2, 3].into_iter().all(|n| harness.runs(n)));
}

#[test]
fn the_oldest_survivor_becomes_rank_0() {
    let mut harness = Harness::with(training(2, 4, 4), 3);
    harness.join(3);
    harness.kill(0);
    assert_eq!(harness.members()[0], "w1");
    assert_eq!(harness.start(1).group_rank, 0);
}

#[test]
fn a_spare_takes_the_place_of_a_lost_worker() {
    let mut harness = Harness::with(training(2, 4, 2), 3);
    assert_eq!(harness.members(), ["w0", "w1"]);
    harness.kill(0);
    assert_eq!(harness.members(), ["w1", "w2"]);
}

#[test]
fn below_min_it_waits_and_goes_on_as_soon_as_somebody_comes() {
    let mut harness = Harness::with(training(2, 2, 2), 2);
    harness.kill(0);
    assert!(
        harness.waiting().starts_with("BELOW_MIN"),
        "{}",
        harness.waiting()
    );
    assert!(!harness.runs(1));
    harness.wait(100_000);
    harness.join(7);
    assert_eq!(harness.members(), ["w1", "w7"]);
    assert!(harness.runs(1) && harness.runs(7));
}

#[test]
fn nobody_starts_before_the_slowest_has_stopped() {
    let mut harness = Harness::with(training(2, 3, 3), 3);
    harness.stubborn(1, true);
    harness.kill(2);
    assert_eq!(harness.starts(), 1);
    assert_eq!(
        harness.waiting(),
        "STOPPING: epoch 1 stops: 1 of 3 workers still have processes"
    );
    harness.stubborn(1, false);
    harness.stop_now(1);
    assert_eq!(harness.starts(), 2);
}

#[test]
fn who_does_not_stop_in_time_is_given_up() {
    let mut harness = Harness::with(training(1, 2, 2), 2);
    harness.stubborn(1, true);
    harness.fail(0, 0);
    harness.wait(15_500);
    assert_eq!(harness.starts(), 1);
    harness.wait(1_000);
    assert_eq!(harness.members(), ["w0"]);
    assert!(
        harness
            .worker(1)
            .has_heard(|m| matches!(m, ToWorker::Fenced(_)))
    );
    assert_eq!(
        harness.group().causes[0].worker,
        "w0",
        "it failed before the other was given up"
    );
}

#[test]
fn a_worker_that_came_back_with_old_processes_is_no_candidate_until_they_are_gone() {
    let mut harness = Harness::with(training(2, 3, 3), 3);
    harness.stubborn(2, true);
    harness.cut(2);
    harness.wait(1_000);
    assert_eq!(harness.members(), ["w0", "w1"]);
    harness.connect(2);
    let old = harness.start(2).epoch;
    let stopped = harness.worker(2).heard.iter().any(
        |m| matches!(m, ToWorker::GroupStop { epoch, refusal, .. } if *epoch == old && refusal.code.as_str() == "STALE_EPOCH"),
    );
    assert!(stopped);
    assert_eq!(harness.group().left_out[0].code, "STILL_STOPPING");
    harness.checkpoint(0, 1, "/c/1").unwrap();
    assert_eq!(harness.members().len(), 2);
    harness.stop_now(2);
    harness.checkpoint(0, 2, "/c/2").unwrap();
    assert_eq!(harness.members(), ["w0", "w1", "w2"]);
}

#[test]
fn a_departure_costs_nothing() {
    let mut harness = Harness::with(training(2, 3, 3), 3);
    harness.said(0, FromWorker::Leaving("SIGTERM".to_owned()));
    assert_eq!(harness.members(), ["w1", "w2"]);
    assert_eq!((harness.starts(), charged(&harness)), (2, 0));
    assert!(
        harness
            .worker(0)
            .has_heard(|m| matches!(m, ToWorker::GroupStop { .. }))
    );
    assert_eq!(harness.group().restarts_used, 0);
}

#[test]
fn what_fails_while_somebody_leaves_costs_nothing() {
    let mut harness = Harness::with(training(2, 3, 3), 3);
    for n in 0..3 {
        harness.stubborn(n, true);
    }
    harness.said(0, FromWorker::Leaving("SIGTERM".to_owned()));
    harness.fail(1, 0);
    // Its failure was heard of before the leave that caused it.
    for n in 0..3 {
        harness.stubborn(n, false);
        harness.stop_now(n);
    }
    assert_eq!((harness.starts(), charged(&harness)), (2, 0));
    harness.stubborn(2, true);
    harness.fail(1, 0);
    harness.said(2, FromWorker::Leaving("SIGTERM".to_owned()));
    harness.stop_now(2);
    assert_eq!(charged(&harness), 0);
}

#[test]
fn a_drained_worker_is_told_to_go_when_its_processes_are_gone() {
    let mut harness = Harness::with(training(2, 3, 3), 3);
    harness.stubborn(1, true);
    harness.drain_worker("w1");
    assert!(
        harness.replies[1].contains("WorkerDrained(\"w1\")"),
        "{:?}",
        harness.replies
    );
    assert!(!told_to_drain(&mut harness, 1));
    harness.stop_now(1);
    assert!(told_to_drain(&mut harness, 1));
    assert_eq!(harness.members(), ["w0", "w2"]);
    assert_eq!((harness.starts(), charged(&harness)), (2, 0));
    harness.drain_worker("nobody");
    assert_eq!(
        harness.replies[2],
        "NO_SUCH_WORKER: no worker of job `job` is called `nobody`; there are: w0, w2"
    );
}

#[test]
fn growth_waits_for_the_next_checkpoint() {
    let mut harness = Harness::with(training(2, 4, 2), 2);
    harness.scale(2, 4, 4);
    harness.join(2);
    harness.join(3);
    assert_eq!(harness.starts(), 1);
    assert_eq!(harness.group().joining, 2);
    assert_eq!(
        harness.waiting(),
        "WAITS_FOR_CHECKPOINT: 2 workers wait for the next checkpoint, to join"
    );
    harness.checkpoint(0, 100, "/c/100").unwrap();
    assert_eq!(harness.members(), ["w0", "w1", "w2", "w3"]);
    assert_eq!((harness.starts(), charged(&harness)), (2, 0));
    assert_eq!(
        harness.start(3).resume.map(|c| c.step),
        Some(100),
        "no step is lost"
    );
}

#[test]
fn growth_at_once_where_the_job_file_says_so() {
    let mut job = training(2, 3, 3);
    job.workers.settle_timeout_ms = 1_000;
    rules(&mut job).grow = Grow::Now;
    let mut harness = Harness::with(job, 2);
    harness.wait(1_500);
    assert_eq!(harness.members().len(), 2);
    harness.join(2);
    assert_eq!(harness.members(), ["w0", "w1", "w2"]);
    assert_eq!((harness.starts(), charged(&harness)), (2, 0));
}

#[test]
fn nobody_joins_when_some_are_through() {
    let mut job = training(2, 3, 3);
    job.workers.settle_timeout_ms = 1_000;
    rules(&mut job).grow = Grow::Now;
    let mut harness = Harness::with(job, 2);
    harness.wait(1_500);
    harness.succeed(0);
    harness.join(2);
    assert_eq!(harness.starts(), 1);
    harness.succeed(1);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
}

#[test]
fn with_a_unit_it_grows_only_when_its_size_changes() {
    let mut job = training(2, 8, 4);
    job.workers.unit = 2;
    rules(&mut job).grow = Grow::Now;
    job.workers.settle_timeout_ms = 0;
    let mut harness = Harness::with(job, 3);
    assert_eq!(harness.members(), ["w0", "w1"]);
    assert_eq!(harness.starts(), 1);
    harness.join(3);
    assert_eq!(harness.members(), ["w0", "w1", "w2", "w3"]);
    // Three are left: two train, the third waits for another.
    harness.kill(0);
    assert_eq!(harness.members(), ["w1", "w2"]);
    assert!(!told_to_drain(&mut harness, 3));
    harness.join(4);
    assert_eq!(harness.members(), ["w1", "w2", "w3", "w4"]);
}

#[test]
fn scaling_down_lets_the_newest_go_and_costs_nothing() {
    let mut harness = Harness::with(training(1, 4, 4), 4);
    harness.checkpoint(0, 100, "/c/100").unwrap();
    harness.scale(1, 2, 4);
    assert_eq!(harness.members(), ["w0", "w1"]);
    assert!(told_to_drain(&mut harness, 2) && told_to_drain(&mut harness, 3));
    assert!(!told_to_drain(&mut harness, 0));
    assert_eq!((harness.starts(), charged(&harness)), (2, 0));
    assert_eq!(harness.start(0).resume.map(|c| c.step), Some(100));
}

#[test]
fn a_unit_that_does_not_fit_is_refused() {
    let mut job = training(2, 8, 4);
    job.workers.unit = 4;
    let mut harness = Harness::new(job);
    harness.scale(2, 3, 8);
    assert_eq!(
        harness.replies[1],
        "BAD_SCALE: no multiple of 4 (`unit`) lies from min 2 to 3 workers"
    );
}

#[test]
fn a_worker_that_is_through_may_go() {
    let mut harness = Harness::with(training(2, 3, 3), 3);
    harness.succeed(0);
    harness.kill(0);
    harness.succeed(1);
    harness.said(1, FromWorker::Leaving("SIGTERM".to_owned()));
    assert_eq!(harness.starts(), 1);
    harness.succeed(2);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    assert_eq!(charged(&harness), 0);
}

#[test]
fn a_suspended_job_stops_and_keeps_what_it_has() {
    let mut harness = Harness::with(training(2, 2, 2), 2);
    harness.checkpoint(0, 5, "/c/5").unwrap();
    harness.suspend();
    assert!(!harness.runs(0) && !harness.runs(1));
    assert_eq!(harness.view().summary.state, JobState::Suspended);
    assert_eq!(
        harness.waiting(),
        "SUSPENDED: it was suspended (maintenance); `petctl resume job` lets it go on"
    );
    harness.wait(60_000);
    harness.crash();
    harness.connect(0);
    harness.connect(1);
    harness.wait(10_000);
    assert_eq!((harness.starts(), harness.members().len()), (1, 2));
    harness.resume();
    assert!(harness.runs(0) && harness.runs(1));
    assert_eq!(harness.start(0).resume.map(|c| c.step), Some(5));
    assert_eq!(charged(&harness), 0);
}

#[test]
fn a_draining_coordinator_stops_training_and_then_nothing_runs() {
    let mut harness = Harness::with(training(2, 2, 2), 2);
    harness.stubborn(1, true);
    harness.tell(petctl_core::Input::Request(
        petctl_core::RequestId(9),
        petctl_core::ClientRequest::DrainCoordinator,
    ));
    assert!(!harness.drained);
    harness.stop_now(1);
    assert!(harness.drained);
    assert_eq!((harness.starts(), charged(&harness)), (1, 0));
    assert_eq!(harness.end(), None, "it can be resumed");
}

#[test]
fn a_hundred_lost_at_once_make_one_new_epoch() {
    let mut harness = Harness::with(training(2, 200, 200), 200);
    for n in 100..200 {
        harness.cut(n);
    }
    harness.wait(1_000);
    assert_eq!(harness.members().len(), 100);
    assert_eq!(
        (harness.epochs(), harness.starts(), charged(&harness)),
        (2, 2, 1)
    );
}

#[test]
fn younger_jobs_leave_workers_to_an_older_one_that_gathers() {
    let mut harness = Harness::new(training(2, 2, 2));
    let mut other = training(1, 2, 2);
    other.name = "other".to_owned();
    other.stages = vec![crate::jobs::shard_stage("a", 4, vec![])];
    harness.submit(other);
    for n in 0..2 {
        harness.join_as(
            n,
            petctl_core::Hello {
                job: "any".to_owned(),
                ..petctl_core::Hello::default()
            },
        );
    }
    assert_eq!(harness.members(), ["w0", "w1"]);
    // One that waits in vain does not hold them for ever.
    let mut harness = Harness::new(training(2, 2, 2));
    let mut other = training(1, 1, 1);
    other.name = "other".to_owned();
    other.stages = vec![crate::jobs::shard_stage("a", 4, vec![])];
    harness.submit(other);
    harness.join_as(
        0,
        petctl_core::Hello {
            job: "any".to_owned(),
            ..petctl_core::Hello::default()
        },
    );
    let leased = |t: &mut Harness| t.worker(0).has_heard(|m| matches!(m, ToWorker::Leases(_)));
    assert!(!leased(&mut harness));
    harness.wait(31_000);
    assert!(leased(&mut harness));
}

#[test]
fn a_cancelled_job_ends_when_its_processes_are_gone() {
    let mut harness = Harness::with(training(2, 2, 2), 2);
    harness.stubborn(1, true);
    harness.cancel();
    assert_eq!(harness.end(), None);
    assert_eq!(harness.view().summary.state, JobState::Cancelling);
    harness.stop_now(1);
    assert_eq!(harness.end(), Some(EndState::Cancelled));
    let mut waiting = Harness::with(training(2, 2, 2), 1);
    waiting.cancel();
    assert_eq!(waiting.end(), Some(EndState::Cancelled));
}
