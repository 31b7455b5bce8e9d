//! Deadlines of stages, and suspension of shards.

use crate::jobs::{need, shard_stage, train_stage, training};
use crate::training::harness::Harness;
use petctl_core::{EndState, ToWorker};

#[test]
fn a_training_that_takes_too_long_is_stopped_and_has_failed() {
    let mut job = training(1, 1, 1);
    job.stages[0].deadline_ms = 60_000;
    job.stages.push(shard_stage("after", 3, vec![need(0)]));
    let mut harness = Harness::with(job, 1);
    harness.wait(59_500);
    assert!(harness.runs(0));
    harness.wait(1_000);
    assert!(!harness.runs(0));
    assert_eq!(harness.end(), Some(EndState::Failed));
    let failure = &harness.view().first_failures[0];
    assert_eq!(failure.code, "STAGE_DEADLINE");
    assert_eq!(failure.message, "its stage had not ended after 1m");
    assert_eq!(harness.view().summary.failed, 1);
}

#[test]
fn a_deadline_counts_from_when_the_needs_were_met_and_over_restarts() {
    let mut job = training(1, 1, 1);
    job.stages = vec![
        train_stage("fit", vec![]),
        shard_stage("after", 3, vec![need(0)]),
    ];
    job.stages[1].deadline_ms = 60_000;
    let mut harness = Harness::with(job, 1);
    harness.wait(600_000);
    harness.succeed(0);
    harness.wait(30_000);
    harness.crash();
    harness.wait(29_000);
    assert_eq!(harness.end(), None);
    harness.wait(1_500);
    assert_eq!(harness.end(), Some(EndState::Failed));
    assert_eq!(harness.view().stages[1].failed, 3);
}

#[test]
fn what_runs_of_a_stage_whose_time_is_over_is_stopped() {
    let mut job = training(1, 1, 1);
    job.stages = vec![shard_stage("a", 2, vec![]), shard_stage("b", 2, vec![])];
    job.stages[0].deadline_ms = 10_000;
    let mut harness = Harness::with(job, 1);
    harness.wait(11_000);
    let revoked = |m: &ToWorker| matches!(m, ToWorker::Revocation { only_if_queued: false, refusal, .. } if refusal.code.as_str() == "STAGE_DEADLINE");
    assert!(harness.worker(0).has_heard(revoked));
    assert_eq!(harness.view().stages[0].failed, 2);
    assert_eq!(harness.view().stages[1].ready, 2);
}

#[test]
fn a_suspended_job_hands_out_nothing_more() {
    let mut job = training(1, 2, 2);
    job.stages = vec![shard_stage("a", 4, vec![])];
    let mut harness = Harness::with(job, 1);
    harness.suspend();
    let granted = |t: &mut Harness, n| t.worker(n).has_heard(|m| matches!(m, ToWorker::Leases(_)));
    harness.join(1);
    assert!(!granted(&mut harness, 1));
    harness.resume();
    assert!(granted(&mut harness, 1));
    harness.resume();
    assert!(harness.replies.last().unwrap().contains("already: true"));
}
