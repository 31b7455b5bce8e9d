//! What a stage makes of failures: which are worth a retry, and how many may be missing.

use crate::jobs;
use crate::shards::harness::Harness;
use petctl_core::{EndState, Outcome, ShardState};
use petctl_spec::StageKind;

/// Ten shards, and one that needs them all.
fn combined(ppm: u32) -> petctl_spec::JobSpec {
    let mut job = jobs::chain(10);
    job.stages[0].budgets.failed = 0;
    job.stages[0].dispatch.allow_failed_ppm = ppm;
    job.stages[1].kind = StageKind::Once;
    job.stages[1].needs[0].per_shard = false;
    job
}

#[test]
fn a_combiner_starts_with_as_many_missing_as_are_allowed_and_says_so() {
    let mut harness = Harness::new(combined(200_000));
    let worker = harness.join("w", 10);
    for _ in 0..2 {
        harness.finish_one(worker, Outcome::Failed, 1);
    }
    harness.finish(worker, Outcome::Committed, 1);
    assert_eq!(harness.stages_leased(worker), [1], "it starts");
    let view = harness.view();
    assert!(view.stages[0].failures_allowed);
    assert!(
        view.summary.verdict.contains("NOT COMPLETE"),
        "{}",
        view.summary.verdict
    );
    harness.finish(worker, Outcome::Committed, 1);
    assert_eq!(
        harness.end(),
        Some(EndState::Failed),
        "never green with shards missing"
    );
}

#[test]
fn a_quarantine_that_settles_the_stage_starts_the_combiner_too() {
    let mut harness = Harness::new(combined(100_000));
    let worker = harness.join("w", 10);
    let last = harness.leases(worker)[9];
    let first = harness.leases(worker)[..9].to_vec();
    harness.report(worker, &first, Outcome::Committed, 1);
    assert!(!harness.stages_leased(worker).contains(&1));
    harness.report(worker, &[last], Outcome::Failed, 1);
    assert_eq!(harness.stages_leased(worker), [1]);
}

#[test]
fn one_more_than_allowed_is_too_many() {
    let mut harness = Harness::new(combined(100_000));
    let worker = harness.join("w", 10);
    for _ in 0..2 {
        harness.finish_one(worker, Outcome::Failed, 1);
    }
    harness.finish(worker, Outcome::Committed, 1);
    assert_eq!(harness.end(), Some(EndState::Failed));
    assert_eq!(harness.shard(10).state, ShardState::Cancelled);
}

#[test]
fn what_was_combined_without_some_is_combined_again_when_they_are_there() {
    let mut harness = Harness::new(combined(100_000));
    let worker = harness.join("w", 10);
    harness.finish_one(worker, Outcome::Failed, 1);
    harness.finish(worker, Outcome::Committed, 1);
    harness.finish(worker, Outcome::Committed, 1);
    assert_eq!(harness.end(), Some(EndState::Failed));
    harness.submit(combined(100_000));
    harness.finish(worker, Outcome::Committed, 1);
    assert_eq!(harness.stages_leased(worker), [1]);
    harness.finish(worker, Outcome::Committed, 1);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
}

#[test]
fn an_exit_code_that_is_not_worth_a_retry_quarantines_at_once() {
    let mut job = jobs::sharded(1, 1, 2);
    job.stages[0].dispatch.retry_on = vec![75];
    let mut harness = Harness::new(job);
    let worker = harness.join("w", 2);
    harness.exit(worker, 75);
    harness.exit(worker, 2);
    assert_eq!(harness.shard(0).state, ShardState::Backoff);
    assert_eq!(harness.shard(1).state, ShardState::Failed);
}

#[test]
fn what_a_warm_process_refuses_is_not_tried_again() {
    let mut harness = Harness::new(jobs::sharded(1, 1, 2));
    let worker = harness.join("w", 2);
    harness.fail(worker, None, "SERVE_FAILED");
    harness.fail(worker, None, "SERVE_REFUSED");
    assert_eq!(harness.shard(0).state, ShardState::Backoff);
    assert_eq!(harness.shard(1).state, ShardState::Failed);
}

#[test]
fn shards_wait_while_another_run_has_the_output_and_it_costs_them_departures_only() {
    let mut job = jobs::sharded(1, 1, 2);
    let budgets = &mut job.stages[0].budgets;
    (budgets.failed, budgets.infrastructure, budgets.preempted) = (0, 0, 20);
    let mut harness = Harness::new(job);
    let worker = harness.join("w", 2);
    for (times, outcome) in [(1, Outcome::Revoked), (10, Outcome::Infrastructure)] {
        for _ in 0..times {
            for _ in 0..2 {
                harness.fail_as(worker, outcome, None, "OUTPUT_BUSY");
            }
            assert!(harness.leases(worker).is_empty(), "they wait");
            for shard in 0..2 {
                let shard = harness.shard(shard);
                assert_eq!(
                    (shard.state, shard.code.as_str()),
                    (ShardState::Backoff, "OUTPUT_BUSY")
                );
            }
            harness.wait(70_000);
            harness.heartbeat(worker, 0);
            assert_eq!(harness.leases(worker).len(), 2);
        }
    }
    assert_eq!(harness.shard(0).failures.preempted, 11);
    harness.finish(worker, Outcome::Committed, 1);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
}
