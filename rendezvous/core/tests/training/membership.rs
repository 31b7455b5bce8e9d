//! Workers come and go while a group trains.

use crate::troupe::{Troupe, rules, training};
use petctl_core::{EndState, Event, FromWorker, JobState, ToWorker};
use petctl_spec::Grow;

fn charged(troupe: &Troupe) -> usize {
    let failed = |e: &&Event| matches!(e, Event::GroupFailed { .. });
    troupe.events.iter().filter(failed).count()
}

fn told_to_drain(troupe: &mut Troupe, n: u128) -> bool {
    troupe
        .player(n)
        .has_heard(|m| matches!(m, ToWorker::Drain(_)))
}

#[test]
fn survivors_of_a_lost_worker_keep_their_order_and_start_at_once() {
    let mut troupe = Troupe::with(training(2, 4, 4), 4);
    troupe.kill(1);
    assert_eq!(troupe.members(), ["w0", "w2", "w3"]);
    let ranks: Vec<_> = [0, 2, 3].map(|n| troupe.start(n).first_rank).into();
    assert_eq!(ranks, [0, 2, 4]);
    assert_eq!((troupe.starts(), charged(&troupe)), (2, 1));
    assert!([0, 2, 3].into_iter().all(|n| troupe.runs(n)));
}

#[test]
fn the_oldest_survivor_becomes_rank_0() {
    let mut troupe = Troupe::with(training(2, 4, 4), 3);
    troupe.join(3);
    troupe.kill(0);
    assert_eq!(troupe.members()[0], "w1");
    assert_eq!(troupe.start(1).group_rank, 0);
}

#[test]
fn a_spare_takes_the_place_of_a_lost_worker() {
    let mut troupe = Troupe::with(training(2, 4, 2), 3);
    assert_eq!(troupe.members(), ["w0", "w1"]);
    troupe.kill(0);
    assert_eq!(troupe.members(), ["w1", "w2"]);
}

#[test]
fn below_min_it_waits_and_goes_on_as_soon_as_somebody_comes() {
    let mut troupe = Troupe::with(training(2, 2, 2), 2);
    troupe.kill(0);
    assert!(
        troupe.waiting().starts_with("BELOW_MIN"),
        "{}",
        troupe.waiting()
    );
    assert!(!troupe.runs(1));
    troupe.wait(100_000);
    troupe.join(7);
    assert_eq!(troupe.members(), ["w1", "w7"]);
    assert!(troupe.runs(1) && troupe.runs(7));
}

#[test]
fn nobody_starts_before_the_slowest_has_stopped() {
    let mut troupe = Troupe::with(training(2, 3, 3), 3);
    troupe.stubborn(1, true);
    troupe.kill(2);
    assert_eq!(troupe.starts(), 1);
    assert_eq!(
        troupe.waiting(),
        "STOPPING: epoch 1 stops: 1 of 3 workers still have processes"
    );
    troupe.stubborn(1, false);
    troupe.stop_now(1);
    assert_eq!(troupe.starts(), 2);
}

#[test]
fn who_does_not_stop_in_time_is_given_up() {
    let mut troupe = Troupe::with(training(1, 2, 2), 2);
    troupe.stubborn(1, true);
    troupe.fail(0, 0);
    troupe.wait(15_500);
    assert_eq!(troupe.starts(), 1);
    troupe.wait(1_000);
    assert_eq!(troupe.members(), ["w0"]);
    assert!(
        troupe
            .player(1)
            .has_heard(|m| matches!(m, ToWorker::Fenced(_)))
    );
    assert_eq!(
        troupe.group().causes[0].worker,
        "w0",
        "it failed before the other was given up"
    );
}

#[test]
fn a_worker_that_came_back_with_old_processes_is_no_candidate_until_they_are_gone() {
    let mut troupe = Troupe::with(training(2, 3, 3), 3);
    troupe.stubborn(2, true);
    troupe.cut(2);
    troupe.wait(1_000);
    assert_eq!(troupe.members(), ["w0", "w1"]);
    troupe.connect(2);
    let old = troupe.start(2).epoch;
    let stopped = troupe.player(2).heard.iter().any(
        |m| matches!(m, ToWorker::GroupStop { epoch, refusal, .. } if *epoch == old && refusal.code.as_str() == "STALE_EPOCH"),
    );
    assert!(stopped);
    assert_eq!(troupe.group().left_out[0].code, "STILL_STOPPING");
    troupe.checkpoint(0, 1, "/c/1").unwrap();
    assert_eq!(troupe.members().len(), 2);
    troupe.stop_now(2);
    troupe.checkpoint(0, 2, "/c/2").unwrap();
    assert_eq!(troupe.members(), ["w0", "w1", "w2"]);
}

#[test]
fn a_departure_costs_nothing() {
    let mut troupe = Troupe::with(training(2, 3, 3), 3);
    troupe.said(0, FromWorker::Leaving("SIGTERM".to_owned()));
    assert_eq!(troupe.members(), ["w1", "w2"]);
    assert_eq!((troupe.starts(), charged(&troupe)), (2, 0));
    assert!(
        troupe
            .player(0)
            .has_heard(|m| matches!(m, ToWorker::GroupStop { .. }))
    );
    assert_eq!(troupe.group().restarts_used, 0);
}

#[test]
fn what_fails_while_somebody_leaves_costs_nothing() {
    let mut troupe = Troupe::with(training(2, 3, 3), 3);
    for n in 0..3 {
        troupe.stubborn(n, true);
    }
    troupe.said(0, FromWorker::Leaving("SIGTERM".to_owned()));
    troupe.fail(1, 0);
    // Its failure was heard of before the leave that caused it.
    for n in 0..3 {
        troupe.stubborn(n, false);
        troupe.stop_now(n);
    }
    assert_eq!((troupe.starts(), charged(&troupe)), (2, 0));
    troupe.stubborn(2, true);
    troupe.fail(1, 0);
    troupe.said(2, FromWorker::Leaving("SIGTERM".to_owned()));
    troupe.stop_now(2);
    assert_eq!(charged(&troupe), 0);
}

#[test]
fn a_drained_worker_is_told_to_go_when_its_processes_are_gone() {
    let mut troupe = Troupe::with(training(2, 3, 3), 3);
    troupe.stubborn(1, true);
    troupe.drain_worker("w1");
    assert!(
        troupe.replies[1].contains("WorkerDrained(\"w1\")"),
        "{:?}",
        troupe.replies
    );
    assert!(!told_to_drain(&mut troupe, 1));
    troupe.stop_now(1);
    assert!(told_to_drain(&mut troupe, 1));
    assert_eq!(troupe.members(), ["w0", "w2"]);
    assert_eq!((troupe.starts(), charged(&troupe)), (2, 0));
    troupe.drain_worker("nobody");
    assert_eq!(
        troupe.replies[2],
        "NO_SUCH_WORKER: no worker of job `job` is called `nobody`; there are: w0, w2"
    );
}

#[test]
fn growth_waits_for_the_next_checkpoint() {
    let mut troupe = Troupe::with(training(2, 4, 2), 2);
    troupe.scale(2, 4, 4);
    troupe.join(2);
    troupe.join(3);
    assert_eq!(troupe.starts(), 1);
    assert_eq!(troupe.group().joining, 2);
    assert_eq!(
        troupe.waiting(),
        "WAITS_FOR_CHECKPOINT: 2 workers wait for the next checkpoint, to join"
    );
    troupe.checkpoint(0, 100, "/c/100").unwrap();
    assert_eq!(troupe.members(), ["w0", "w1", "w2", "w3"]);
    assert_eq!((troupe.starts(), charged(&troupe)), (2, 0));
    assert_eq!(
        troupe.start(3).resume.map(|c| c.step),
        Some(100),
        "no step is lost"
    );
}

#[test]
fn growth_at_once_where_the_job_file_says_so() {
    let mut job = training(2, 3, 3);
    job.workers.settle_timeout_ms = 1_000;
    rules(&mut job).grow = Grow::Now;
    let mut troupe = Troupe::with(job, 2);
    troupe.wait(1_500);
    assert_eq!(troupe.members().len(), 2);
    troupe.join(2);
    assert_eq!(troupe.members(), ["w0", "w1", "w2"]);
    assert_eq!((troupe.starts(), charged(&troupe)), (2, 0));
}

#[test]
fn nobody_joins_when_some_are_through() {
    let mut job = training(2, 3, 3);
    job.workers.settle_timeout_ms = 1_000;
    rules(&mut job).grow = Grow::Now;
    let mut troupe = Troupe::with(job, 2);
    troupe.wait(1_500);
    troupe.succeed(0);
    troupe.join(2);
    assert_eq!(troupe.starts(), 1);
    troupe.succeed(1);
    assert_eq!(troupe.end(), Some(EndState::Succeeded));
}

#[test]
fn with_a_unit_it_grows_only_when_its_size_changes() {
    let mut job = training(2, 8, 4);
    job.workers.unit = 2;
    rules(&mut job).grow = Grow::Now;
    job.workers.settle_timeout_ms = 0;
    let mut troupe = Troupe::with(job, 3);
    assert_eq!(troupe.members(), ["w0", "w1"]);
    assert_eq!(troupe.starts(), 1);
    troupe.join(3);
    assert_eq!(troupe.members(), ["w0", "w1", "w2", "w3"]);
    // Three are left: two train, the third waits for another.
    troupe.kill(0);
    assert_eq!(troupe.members(), ["w1", "w2"]);
    assert!(!told_to_drain(&mut troupe, 3));
    troupe.join(4);
    assert_eq!(troupe.members(), ["w1", "w2", "w3", "w4"]);
}

#[test]
fn scaling_down_lets_the_newest_go_and_costs_nothing() {
    let mut troupe = Troupe::with(training(1, 4, 4), 4);
    troupe.checkpoint(0, 100, "/c/100").unwrap();
    troupe.scale(1, 2, 4);
    assert_eq!(troupe.members(), ["w0", "w1"]);
    assert!(told_to_drain(&mut troupe, 2) && told_to_drain(&mut troupe, 3));
    assert!(!told_to_drain(&mut troupe, 0));
    assert_eq!((troupe.starts(), charged(&troupe)), (2, 0));
    assert_eq!(troupe.start(0).resume.map(|c| c.step), Some(100));
}

#[test]
fn a_unit_that_does_not_fit_is_refused() {
    let mut job = training(2, 8, 4);
    job.workers.unit = 4;
    let mut troupe = Troupe::new(job);
    troupe.scale(2, 3, 8);
    assert_eq!(
        troupe.replies[1],
        "BAD_SCALE: no multiple of 4 (`unit`) lies from min 2 to 3 workers"
    );
}

#[test]
fn a_worker_that_is_through_may_go() {
    let mut troupe = Troupe::with(training(2, 3, 3), 3);
    troupe.succeed(0);
    troupe.kill(0);
    troupe.succeed(1);
    troupe.said(1, FromWorker::Leaving("SIGTERM".to_owned()));
    assert_eq!(troupe.starts(), 1);
    troupe.succeed(2);
    assert_eq!(troupe.end(), Some(EndState::Succeeded));
    assert_eq!(charged(&troupe), 0);
}

#[test]
fn a_suspended_job_stops_and_keeps_what_it_has() {
    let mut troupe = Troupe::with(training(2, 2, 2), 2);
    troupe.checkpoint(0, 5, "/c/5").unwrap();
    troupe.suspend();
    assert!(!troupe.runs(0) && !troupe.runs(1));
    assert_eq!(troupe.view().summary.state, JobState::Suspended);
    assert_eq!(
        troupe.waiting(),
        "SUSPENDED: it was suspended (maintenance); `petctl resume job` lets it go on"
    );
    troupe.wait(60_000);
    troupe.crash();
    troupe.connect(0);
    troupe.connect(1);
    troupe.wait(10_000);
    assert_eq!((troupe.starts(), troupe.members().len()), (1, 2));
    troupe.resume();
    assert!(troupe.runs(0) && troupe.runs(1));
    assert_eq!(troupe.start(0).resume.map(|c| c.step), Some(5));
    assert_eq!(charged(&troupe), 0);
}

#[test]
fn a_draining_coordinator_stops_training_and_then_nothing_runs() {
    let mut troupe = Troupe::with(training(2, 2, 2), 2);
    troupe.stubborn(1, true);
    troupe.tell(petctl_core::Input::DrainCoordinator(
        petctl_core::RequestId(9),
    ));
    assert!(!troupe.drained);
    troupe.stop_now(1);
    assert!(troupe.drained);
    assert_eq!((troupe.starts(), charged(&troupe)), (1, 0));
    assert_eq!(troupe.end(), None, "it can be resumed");
}

#[test]
fn a_hundred_lost_at_once_make_one_new_epoch() {
    let mut troupe = Troupe::with(training(2, 200, 200), 200);
    for n in 100..200 {
        troupe.cut(n);
    }
    troupe.wait(1_000);
    assert_eq!(troupe.members().len(), 100);
    assert_eq!(
        (troupe.epochs(), troupe.starts(), charged(&troupe)),
        (2, 2, 1)
    );
}

#[test]
fn younger_jobs_leave_workers_to_an_older_one_that_gathers() {
    let mut troupe = Troupe::new(training(2, 2, 2));
    let mut other = training(1, 2, 2);
    other.name = "other".to_owned();
    other.stages = vec![crate::troupe::shard_stage("a", 4, vec![])];
    troupe.submit(other);
    for n in 0..2 {
        troupe.join_as(
            n,
            petctl_core::Hello {
                job: "any".to_owned(),
                ..petctl_core::Hello::default()
            },
        );
    }
    assert_eq!(troupe.members(), ["w0", "w1"]);
    // One that waits in vain does not hold them for ever.
    let mut troupe = Troupe::new(training(2, 2, 2));
    let mut other = training(1, 1, 1);
    other.name = "other".to_owned();
    other.stages = vec![crate::troupe::shard_stage("a", 4, vec![])];
    troupe.submit(other);
    troupe.join_as(
        0,
        petctl_core::Hello {
            job: "any".to_owned(),
            ..petctl_core::Hello::default()
        },
    );
    let leased = |t: &mut Troupe| t.player(0).has_heard(|m| matches!(m, ToWorker::Leases(_)));
    assert!(!leased(&mut troupe));
    troupe.wait(31_000);
    assert!(leased(&mut troupe));
}

#[test]
fn a_cancelled_job_ends_when_its_processes_are_gone() {
    let mut troupe = Troupe::with(training(2, 2, 2), 2);
    troupe.stubborn(1, true);
    troupe.cancel();
    assert_eq!(troupe.end(), None);
    assert_eq!(troupe.view().summary.state, JobState::Cancelling);
    troupe.stop_now(1);
    assert_eq!(troupe.end(), Some(EndState::Cancelled));
    let mut waiting = Troupe::with(training(2, 2, 2), 1);
    waiting.cancel();
    assert_eq!(waiting.end(), Some(EndState::Cancelled));
}
