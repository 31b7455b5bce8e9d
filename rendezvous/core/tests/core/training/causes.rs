//! What a failure costs, and whose it was.

use crate::jobs::{rules, training};
use crate::training::harness::Harness;
use petctl_core::{Charge, EndState, GroupPhase, RankFailure, ShardState, ToWorker};

#[test]
fn the_first_failure_is_the_cause_and_the_others_are_folded_under_it() {
    let mut harness = Harness::with(training(2, 3, 3), 3);
    for n in 0..3 {
        harness.stubborn(n, true);
    }
    harness.wait(5_000);
    // The first to be heard of is not the first that failed.
    harness.fail(0, 100);
    harness.fail(1, 2_000);
    harness.fail(2, 50);
    for n in 0..3 {
        harness.stubborn(n, false);
        harness.stop_now(n);
    }
    let cause = &harness.group().causes[0];
    assert_eq!(
        (cause.rank, cause.worker.as_str(), cause.host.as_str()),
        (Some(2), "w1", "node-1")
    );
    assert_eq!(
        (cause.code.as_str(), cause.log_tail.as_str()),
        ("RANK_FAILED", "last words")
    );
    assert_eq!(
        (cause.exit_code, cause.others.as_slice()),
        (Some(1), &[0, 4][..])
    );
    assert_eq!(cause.charged, Charge::Restart);
    assert_eq!(
        cause.describe(),
        "rank 2 on node-1 failed first: RuntimeError: boom 1; 2 others after it"
    );
    assert_eq!(harness.starts(), 2);
    assert_eq!(
        (
            harness.start(0).restart_count,
            harness.start(0).max_restarts
        ),
        (1, 2)
    );
}

#[test]
fn processes_that_die_of_a_lost_worker_are_not_the_cause() {
    let mut harness = Harness::with(training(2, 3, 3), 3);
    harness.stubborn(0, true);
    harness.stubborn(2, true);
    harness.fail(0, 0);
    harness.kill(2);
    harness.stop_now(0);
    let cause = &harness.group().causes[0];
    assert_eq!((cause.rank, cause.worker.as_str()), (None, "w2"));
    assert_eq!(
        (cause.code.as_str(), cause.charged),
        ("WORKER_GONE", Charge::WorkerLost)
    );
    assert_eq!(cause.others, [0]);
    assert_eq!(
        cause.describe(),
        "worker w2 on node-2 was lost: its process died or its stream stayed broken; 1 other after it"
    );
    assert_eq!(harness.group().restarts_used, 0);
}

#[test]
fn a_worker_lost_long_after_a_failure_is_not_its_cause() {
    let mut harness = Harness::with(training(2, 3, 3), 3);
    harness.stubborn(2, true);
    harness.fail(0, 0);
    harness.wait(3_000);
    harness.kill(2);
    let cause = &harness.group().causes[0];
    assert_eq!(
        (cause.worker.as_str(), cause.charged),
        ("w0", Charge::Restart)
    );
}

#[test]
fn without_restarts_left_the_job_fails_with_the_first_cause() {
    let mut harness = Harness::with(training(2, 2, 2), 2);
    for _ in 0..3 {
        assert_eq!(harness.end(), None);
        harness.fail(1, 0);
    }
    assert_eq!(harness.end(), Some(EndState::Failed));
    assert_eq!(harness.starts(), 3);
    assert_eq!(
        harness.verdict(),
        "training: rank 2 on node-1 failed first: RuntimeError: boom 1"
    );
    let failure = &harness.view().first_failures[0];
    assert_eq!(
        (failure.state, failure.key.as_str()),
        (ShardState::Failed, "train")
    );
    assert_eq!(
        failure.message,
        "rank 2 on node-1 failed first: RuntimeError: boom 1; it has started again 2 times before, as often as it \
         may (max_restarts)"
    );
    assert_eq!(
        (failure.exit_code, failure.log_tail.as_str()),
        (Some(1), "last words")
    );
    assert_eq!(failure.worker, "w1");
}

#[test]
fn lost_workers_have_a_budget_of_their_own() {
    let mut harness = Harness::with(training(1, 4, 4), 4);
    harness.kill(3);
    harness.kill(2);
    assert_eq!(harness.group().restarts_used, 0);
    harness.kill(1);
    assert_eq!(harness.end(), Some(EndState::Failed));
    let failure = &harness.view().first_failures[0];
    assert!(
        failure.message.ends_with("(budgets.worker_lost)"),
        "{}",
        failure.message
    );
}

#[test]
fn a_healthy_hour_gives_all_restarts_back() {
    let mut harness = Harness::with(training(1, 1, 1), 1);
    harness.fail(0, 0);
    harness.fail(0, 0);
    assert_eq!(harness.group().restarts_used, 2);
    harness.wait(3_600_000);
    assert_eq!(harness.group().restarts_used, 0);
    harness.fail(0, 0);
    assert_eq!((harness.end(), harness.group().restarts_used), (None, 1));
    assert_eq!(harness.start(0).restart_count, 1);
}

#[test]
fn a_departure_does_not_put_the_healthy_hour_off() {
    let mut harness = Harness::with(training(1, 3, 3), 3);
    harness.fail(0, 0);
    harness.wait(1_800_000);
    harness.said(2, petctl_core::FromWorker::Leaving(String::new()));
    harness.wait(1_800_000);
    assert_eq!(harness.group().restarts_used, 0);
}

#[test]
fn a_job_that_is_run_again_starts_with_fresh_budgets_and_its_checkpoints() {
    let mut job = training(1, 1, 1);
    rules(&mut job).max_restarts = 0;
    let mut harness = Harness::with(job.clone(), 1);
    harness.checkpoint(0, 9, "/c/9").unwrap();
    harness.fail(0, 0);
    assert_eq!(harness.end(), Some(EndState::Failed));
    harness.submit(job);
    assert!(harness.runs(0));
    assert_eq!(harness.start(0).resume.map(|c| c.step), Some(9));
    assert_eq!(harness.group().restarts_used, 0);
}

#[test]
fn a_worker_that_failed_too_often_is_left_out_while_others_are_enough() {
    let mut job = training(2, 3, 2);
    rules(&mut job).exclude_after = 2;
    rules(&mut job).max_restarts = 10;
    let mut harness = Harness::with(job, 3);
    harness.fail(0, 0);
    assert_eq!(harness.members(), ["w0", "w1"]);
    harness.fail(0, 0);
    assert_eq!(harness.members(), ["w1", "w2"]);
    let out = &harness.group().left_out[0];
    assert_eq!(out.code, "WORKER_LEFT_OUT");
    assert_eq!(
        out.message,
        "w0 on node-0 was the first cause 2 times (exclude_after = 2): it trains only if the others are too few"
    );
    // Without the others it is taken again.
    harness.kill(2);
    assert_eq!(harness.members(), ["w1", "w0"]);
}

#[test]
fn a_hang_is_found_and_the_rank_that_is_behind_is_named() {
    let mut job = training(2, 2, 2);
    rules(&mut job).progress_timeout_ms = 60_000;
    let mut harness = Harness::with(job, 2);
    for n in 0..20 {
        harness.wait(5_000);
        harness.progress(0, 0, &[(0, n, 0.0), (1, n, 0.0)]);
        harness.progress(1, 5_000, &[(2, n, 0.0), (3, n.saturating_sub(1), 0.0)]);
    }
    assert_eq!(harness.starts(), 1);
    harness.wait(61_000);
    assert_eq!(harness.starts(), 1);
    harness.wait(1_000);
    assert_eq!(harness.starts(), 2);
    let dumps = |m: &ToWorker| {
        matches!(
            m,
            ToWorker::GroupStop {
                dump_stacks: true,
                ..
            }
        )
    };
    assert!(harness.worker(0).has_heard(dumps));
    let cause = &harness.group().causes[0];
    assert_eq!(
        (cause.code.as_str(), cause.rank, cause.worker.as_str()),
        ("RANK_HUNG", Some(3), "w1")
    );
    assert_eq!(cause.charged, Charge::Restart);
    assert_eq!(
        cause.message,
        "nothing happened for 62 s; it is at step 18, the others at 19 or later"
    );
}

#[test]
fn a_hang_is_counted_from_the_start() {
    let mut job = training(1, 1, 1);
    rules(&mut job).progress_timeout_ms = 10_000;
    let mut harness = Harness::with(job, 1);
    harness.wait(13_000);
    assert_eq!(harness.starts(), 2);
    assert_eq!(harness.group().causes[0].rank, None);
}

#[test]
fn a_short_progress_timeout_does_not_spin_while_members_come_back() {
    let mut job = training(2, 2, 2);
    rules(&mut job).progress_timeout_ms = 1_000;
    let mut harness = Harness::with(job, 2);
    harness.crash();
    harness.connect(0);
    harness.wait(4_000);
    assert_eq!(harness.starts(), 1);
    harness.connect(1);
    harness.wait(2_000);
    assert_eq!(harness.starts(), 1, "it is counted from when all are back");
    harness.wait(1_000);
    assert_eq!(harness.starts(), 2);
}

#[test]
fn stragglers_are_named() {
    let mut harness = Harness::with(training(2, 2, 2), 2);
    harness.progress(0, 0, &[(0, 7, 100.0), (1, 7, 110.0)]);
    harness.progress(1, 0, &[(2, 7, 90.0), (3, 7, 250.5)]);
    let slow = harness.group().stragglers;
    assert_eq!(slow.len(), 1);
    assert_eq!(
        slow[0].message,
        "rank 3 on node-1 takes 250.5 ms a step, the median is 100.0 ms"
    );
}

#[test]
fn a_worker_that_stops_its_processes_unasked_is_a_failure() {
    let mut harness = Harness::with(training(2, 2, 2), 2);
    harness.report(0, GroupPhase::Stopped, Vec::new());
    assert_eq!(harness.group().causes[0].code, "GROUP_FAILED");
    assert_eq!(harness.group().restarts_used, 1);
}

#[test]
fn failures_without_number_are_bounded() {
    let mut harness = Harness::with(training(1, 1, 1), 1);
    let many = (0..100_000).map(|rank| RankFailure {
        rank,
        ..RankFailure::default()
    });
    harness.report(0, GroupPhase::Failing, many.collect());
    assert!(harness.group().causes[0].others.len() < 100);
}
