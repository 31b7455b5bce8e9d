//! What a stage makes of failures: which are worth a retry, and how many may be missing.

use crate::house::{self, House};
use petctl_core::{EndState, Outcome, ShardState};
use petctl_spec::StageKind;

/// Ten shards, and one that needs them all.
fn combined(ppm: u32) -> petctl_spec::JobSpec {
    let mut job = house::chain(10);
    job.stages[0].budgets.failed = 0;
    job.stages[0].dispatch.allow_failed_ppm = ppm;
    job.stages[1].kind = StageKind::Once;
    job.stages[1].needs[0].per_shard = false;
    job
}

#[test]
fn a_combiner_starts_with_as_many_missing_as_are_allowed_and_says_so() {
    let mut house = House::new(combined(200_000));
    let worker = house.join("w", 10);
    for _ in 0..2 {
        house.finish_one(worker, Outcome::Failed, 1);
    }
    house.finish(worker, Outcome::Committed, 1);
    assert_eq!(house.stages_leased(worker), [1], "it starts");
    let view = house.view();
    assert!(view.stages[0].failures_allowed);
    assert!(
        view.summary.verdict.contains("NOT COMPLETE"),
        "{}",
        view.summary.verdict
    );
    house.finish(worker, Outcome::Committed, 1);
    assert_eq!(
        house.end(),
        Some(EndState::Failed),
        "never green with shards missing"
    );
}

#[test]
fn a_quarantine_that_settles_the_stage_starts_the_combiner_too() {
    let mut house = House::new(combined(100_000));
    let worker = house.join("w", 10);
    let last = house.leases(worker)[9];
    let first = house.leases(worker)[..9].to_vec();
    house.report(worker, &first, Outcome::Committed, 1);
    assert!(!house.stages_leased(worker).contains(&1));
    house.report(worker, &[last], Outcome::Failed, 1);
    assert_eq!(house.stages_leased(worker), [1]);
}

#[test]
fn one_more_than_allowed_is_too_many() {
    let mut house = House::new(combined(100_000));
    let worker = house.join("w", 10);
    for _ in 0..2 {
        house.finish_one(worker, Outcome::Failed, 1);
    }
    house.finish(worker, Outcome::Committed, 1);
    assert_eq!(house.end(), Some(EndState::Failed));
    assert_eq!(house.shard(10).state, ShardState::Cancelled);
}

#[test]
fn what_was_combined_without_some_is_combined_again_when_they_are_there() {
    let mut house = House::new(combined(100_000));
    let worker = house.join("w", 10);
    house.finish_one(worker, Outcome::Failed, 1);
    house.finish(worker, Outcome::Committed, 1);
    house.finish(worker, Outcome::Committed, 1);
    assert_eq!(house.end(), Some(EndState::Failed));
    house.submit(combined(100_000));
    house.finish(worker, Outcome::Committed, 1);
    assert_eq!(house.stages_leased(worker), [1]);
    house.finish(worker, Outcome::Committed, 1);
    assert_eq!(house.end(), Some(EndState::Succeeded));
}

#[test]
fn an_exit_code_that_is_not_worth_a_retry_quarantines_at_once() {
    let mut job = house::job(1, 1, 2);
    job.stages[0].dispatch.retry_on = vec![75];
    let mut house = House::new(job);
    let worker = house.join("w", 2);
    house.exit(worker, 75);
    house.exit(worker, 2);
    assert_eq!(house.shard(0).state, ShardState::Backoff);
    assert_eq!(house.shard(1).state, ShardState::Failed);
}

#[test]
fn what_a_warm_process_refuses_is_not_tried_again() {
    let mut house = House::new(house::job(1, 1, 2));
    let worker = house.join("w", 2);
    house.fail(worker, None, "SERVE_FAILED");
    house.fail(worker, None, "SERVE_REFUSED");
    assert_eq!(house.shard(0).state, ShardState::Backoff);
    assert_eq!(house.shard(1).state, ShardState::Failed);
}
