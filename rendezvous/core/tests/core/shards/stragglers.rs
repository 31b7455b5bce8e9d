//! Second attempts at shards that take much longer than the others.

use crate::jobs;
use crate::shards::harness::{self, Harness};
use petctl_core::{ConnId, EndState, LeaseId, Outcome, ShardState, ToWorker};

/// Nine of ten shards are done; the tenth is still with the first worker, the second one is idle.
fn straggling(speculative: bool) -> (Harness, ConnId, ConnId) {
    straggling_until(speculative, 0)
}

fn straggling_until(speculative: bool, deadline_ms: u64) -> (Harness, ConnId, ConnId) {
    let mut job = jobs::sharded(1, 2, 10);
    job.stages[0].dispatch.speculative = speculative;
    job.stages[0].deadline_ms = deadline_ms;
    let mut harness = Harness::new(job);
    let (slow, quick) = (harness.join("a", 1), harness.join("b", 1));
    while harness.unleased() > 0 || !harness.leases(quick).is_empty() {
        harness.finish_one(quick, Outcome::Committed, 3_000);
    }
    (harness, slow, quick)
}

#[test]
fn a_straggler_gets_a_second_attempt_elsewhere_and_the_first_to_commit_wins() {
    let (mut harness, slow, quick) = straggling(true);
    harness.wait(5_000);
    assert!(harness.leases(quick).is_empty(), "not yet twice as long");
    harness.wait(3_000);
    let second = harness.grants(quick)[0].clone();
    assert!(second.speculative && !second.fence && second.attempt == 2);
    assert_eq!(harness.view().stages[0].speculative, 1);
    harness.finish(quick, Outcome::Committed, 3_000);
    let first = harness.leases(slow)[0];
    assert!(is_revoked(&harness, slow, first));
    assert_eq!(
        harness.end(),
        Some(EndState::Succeeded),
        "nobody waits for the other one"
    );
    let stage = &harness.view().stages[0];
    assert_eq!((stage.speculative, stage.speculative_won), (1, 1));
}

#[test]
fn the_second_attempt_is_stopped_when_the_first_one_commits() {
    let (mut harness, slow, quick) = straggling(true);
    harness.wait(8_000);
    let second = harness.leases(quick)[0];
    harness.finish(slow, Outcome::Committed, 9_000);
    assert!(is_revoked(&harness, quick, second));
    let stage = &harness.view().stages[0];
    assert_eq!((stage.speculative, stage.speculative_won), (1, 0));
}

#[test]
fn a_failure_of_one_attempt_quarantines_nothing_while_the_other_runs() {
    let mut job = jobs::sharded(1, 2, 10);
    job.stages[0].dispatch.speculative = true;
    job.stages[0].budgets.failed = 0;
    let mut harness = Harness::new(job);
    let (slow, quick) = (harness.join("a", 1), harness.join("b", 1));
    while harness.unleased() > 0 || !harness.leases(quick).is_empty() {
        harness.finish_one(quick, Outcome::Committed, 3_000);
    }
    harness.wait(8_000);
    let index = harness.grants(slow)[0].shard.index as usize;
    harness.finish(quick, Outcome::Failed, 10);
    assert_eq!(harness.shard(index).state, ShardState::Running);
    harness.finish(slow, Outcome::Committed, 9_000);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
}

#[test]
fn of_two_attempts_that_have_ended_neither_is_claimed_after_a_restart() {
    let (mut harness, slow, quick) = straggling(true);
    harness.wait(8_000);
    // The later one ends first.
    harness.finish_unheard(quick, Outcome::Preempted);
    harness.finish_unheard(slow, Outcome::Preempted);
    harness.restart();
    for (name, worker) in [("b", quick), ("a", slow)] {
        let back = harness.come_back(worker, harness::hello(name));
        let mut heard = harness.heard(back).iter();
        let kept = heard.any(|m| matches!(m, ToWorker::Welcome { kept, .. } if !kept.is_empty()));
        assert!(!kept, "what {name} held is charged already");
    }
}

#[test]
fn what_a_deadline_has_given_up_gets_no_second_attempt_while_it_stops() {
    let (mut harness, slow, quick) = straggling_until(true, 5_500);
    harness.wait(6_000);
    harness.wait(6_000);
    assert!(is_revoked(&harness, slow, harness.leases(slow)[0]));
    assert!(harness.leases(quick).is_empty());
}

#[test]
fn there_are_no_second_attempts_unless_a_stage_asks_for_them() {
    let (mut harness, _, quick) = straggling(false);
    harness.wait(60_000);
    assert!(harness.leases(quick).is_empty());
}

fn is_revoked(harness: &Harness, worker: ConnId, lease: LeaseId) -> bool {
    harness.heard(worker).iter().any(|m| {
        matches!(m, ToWorker::Revocation { leases, only_if_queued: false, .. } if leases == &[lease])
    })
}
