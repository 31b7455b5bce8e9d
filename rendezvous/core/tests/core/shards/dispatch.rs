//! Promises of dispatching that the simulation does not single out: how leases are spread, what needs and budgets do.

use crate::jobs;
use crate::shards::harness::Harness;
use petctl_core::{EndState, FailureKind, Outcome, ShardState, ToWorker};

#[test]
fn ready_shards_are_spread_over_the_workers() {
    let mut harness = Harness::new(jobs::sharded(1, 4, 8));
    let workers: Vec<_> = (0..4).map(|n| harness.join(&format!("w{n}"), 4)).collect();
    // The first worker may take no more than its slots before the others are there.
    let counts: Vec<usize> = workers.iter().map(|w| harness.leases(*w).len()).collect();
    assert_eq!(counts, [4, 4, 0, 0]);
}

#[test]
fn nothing_is_held_ahead_while_durations_are_unknown_or_long() {
    let mut harness = Harness::new(jobs::sharded(1, 1, 100));
    let worker = harness.join("w", 2);
    assert_eq!(harness.leases(worker).len(), 2);
    harness.finish(worker, Outcome::Committed, 60_000);
    assert_eq!(
        harness.leases(worker).len(),
        2,
        "a minute each: no lease waits behind another"
    );
}

#[test]
fn short_shards_are_held_ahead() {
    let mut harness = Harness::new(jobs::sharded(1, 1, 1_000));
    let worker = harness.join("w", 2);
    harness.finish(worker, Outcome::Committed, 1);
    assert!(
        harness.leases(worker).len() > 50,
        "a ms each: {} leases",
        harness.leases(worker).len()
    );
}

#[test]
fn leases_behind_a_long_shard_move_to_an_idle_worker() {
    let mut harness = Harness::new(jobs::sharded(1, 2, 40));
    let busy = harness.join("busy", 1);
    harness.finish(busy, Outcome::Committed, 1);
    let held = harness.leases(busy).len();
    assert!(held > 10, "{held}");
    // All that is left waits behind one long shard now; then somebody idle comes.
    harness.wait(1_000);
    while harness.unleased() > 0 {
        harness.finish_one(busy, Outcome::Committed, 1);
    }
    let idle = harness.join("idle", 4);
    assert!(harness.leases(idle).is_empty());
    harness.wait(1_000);
    let queued = u32::try_from(harness.leases(busy).len() - 1).unwrap();
    let asked = harness.heartbeat(busy, queued);
    let recalled = asked.iter().find_map(|message| {
        if let ToWorker::Revocation {
            leases,
            only_if_queued: true,
            ..
        } = message
        {
            Some(leases.clone())
        } else {
            None
        }
    });
    let recalled = recalled.expect("leases are asked back");
    assert_eq!(recalled.len(), 4, "as many as there are idle slots");
    harness.report(busy, &recalled, Outcome::Returned, 0);
    assert_eq!(harness.leases(idle).len(), 4);
}

#[test]
fn each_kind_of_failure_has_its_own_budget() {
    let mut job = jobs::sharded(1, 1, 1);
    job.stages[0].budgets.failed = 1;
    job.stages[0].budgets.preempted = 2;
    let mut harness = Harness::new(job);
    let worker = harness.join("w", 1);
    for outcome in [Outcome::Preempted, Outcome::Preempted, Outcome::Failed] {
        harness.finish(worker, outcome, 10);
        harness.wait(60_000);
    }
    let shard = harness.shard(0);
    assert_eq!(
        (
            shard.failures.of(FailureKind::Preempted),
            shard.failures.of(FailureKind::Failed)
        ),
        (2, 1)
    );
    assert_eq!(shard.state, ShardState::Running, "no budget is used up");
    harness.finish(worker, Outcome::Failed, 10);
    assert_eq!(harness.shard(0).state, ShardState::Failed);
    assert_eq!(harness.end(), Some(EndState::Failed));
}

#[test]
fn a_shard_starts_when_the_one_it_needs_is_done() {
    let mut harness = Harness::new(jobs::chain(3));
    let worker = harness.join("w", 8);
    assert_eq!(harness.stages_leased(worker), [0, 0, 0]);
    harness.finish_one(worker, Outcome::Committed, 1);
    assert_eq!(
        harness.stages_leased(worker),
        [0, 0, 1],
        "its follower does not wait for the others"
    );
}

#[test]
fn what_needs_a_quarantined_shard_never_runs_and_the_job_says_so() {
    let mut job = jobs::chain(2);
    job.stages[0].budgets.failed = 0;
    let mut harness = Harness::new(job);
    let worker = harness.join("w", 1);
    harness.finish_one(worker, Outcome::Failed, 1);
    harness.finish_one(worker, Outcome::Committed, 1);
    harness.finish_one(worker, Outcome::Committed, 1);
    assert_eq!(harness.end(), Some(EndState::Failed));
    let explained = harness.explain("0");
    assert!(explained.contains("NEEDS_FAILED"), "{explained}");
}

#[test]
fn a_second_result_of_the_same_lease_changes_nothing() {
    let mut harness = Harness::new(jobs::sharded(1, 1, 2));
    let worker = harness.join("w", 1);
    let lease = harness.leases(worker)[0];
    harness.report(worker, &[lease], Outcome::Committed, 1);
    let answers = harness.report(worker, &[lease], Outcome::Failed, 1);
    assert!(
        answers.contains(&ToWorker::ResultAck(vec![lease])),
        "{answers:?}"
    );
    assert_eq!(harness.shard(0).state, ShardState::Done);
}

#[test]
fn a_message_of_an_older_epoch_is_refused_with_a_code() {
    let mut harness = Harness::new(jobs::sharded(1, 2, 4));
    let first = harness.join("a", 1);
    let second = harness.join("b", 1);
    let lease = harness.leases(second)[0];
    let answers = harness.report_in(
        second,
        petctl_core::Epoch(1),
        &[lease],
        Outcome::Committed,
        1,
    );
    let refused = answers.iter().any(|m| matches!(m, ToWorker::ResultRefusal { refusal, .. } if refusal.code.as_str() == "STALE_EPOCH"));
    assert!(refused, "{answers:?}");
    assert!(!harness.leases(first).is_empty());
}

#[test]
fn shards_that_ask_for_memory_go_where_there_is_room() {
    let mut job = jobs::sharded(1, 2, 6);
    job.stages[0].memory_mib = 60;
    let mut harness = Harness::new(job);
    let worker = harness.join("w", 4);
    assert_eq!(
        harness.leases(worker).len(),
        1,
        "one of 60 MiB fits into 100 MiB"
    );
    let mut job = jobs::sharded(1, 2, 6);
    job.stages[0].memory_mib = 600;
    let mut harness = Harness::new(job);
    harness.join("w", 4);
    assert!(
        harness.waiting().contains("NO_WORKER_FITS"),
        "{}",
        harness.waiting()
    );
}

#[test]
fn followers_run_before_what_has_not_begun() {
    let mut harness = Harness::new(jobs::chain(40));
    let worker = harness.join("w", 1);
    harness.finish_one(worker, Outcome::Committed, 60_000);
    assert_eq!(harness.stages_leased(worker), [1]);
}

#[test]
fn a_worker_that_comes_for_an_ended_job_is_let_go() {
    let mut harness = Harness::new(jobs::sharded(1, 1, 1));
    let worker = harness.join("w", 1);
    harness.finish(worker, Outcome::Committed, 1);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    let late = harness.join_for("late", "job");
    let released = harness
        .heard(late)
        .iter()
        .any(|m| matches!(m, ToWorker::Release(_)));
    assert!(released, "{:?}", harness.heard(late));
}

#[test]
fn a_job_that_goes_on_takes_new_timeouts_and_budgets() {
    let mut job = jobs::sharded(1, 1, 1);
    job.stages[0].budgets.timed_out = 0;
    let mut harness = Harness::new(job.clone());
    let worker = harness.join("w", 1);
    harness.finish(worker, Outcome::TimedOut, 10);
    assert_eq!(harness.end(), Some(EndState::Failed));
    job.stages[0].timeout_ms = 77_000;
    harness.submit(job);
    assert_eq!(harness.timeout_ms(), 77_000);
    assert_eq!(
        harness.shard(0).state,
        ShardState::Running,
        "what failed runs again"
    );
}

#[test]
fn leases_that_wait_at_a_worker_do_not_count_as_running() {
    let mut harness = Harness::new(jobs::sharded(1, 1, 1_000));
    let worker = harness.join("w", 2);
    harness.finish(worker, Outcome::Committed, 1);
    assert!(harness.leases(worker).len() > 50);
    assert_eq!(harness.running(), 2);
}

#[test]
fn a_lease_that_is_handed_back_goes_to_the_idle_worker_whatever_their_order() {
    for busy_first in [true, false] {
        let mut harness = Harness::new(jobs::sharded(1, 2, 4));
        let (first, second) = (harness.join("a", 1), harness.join("b", 1));
        let (busy, idle) = if busy_first {
            (first, second)
        } else {
            (second, first)
        };
        // Shards seem short, so the last one waits at the busy worker, behind what turns out to be a long one.
        harness.finish(busy, Outcome::Committed, 70);
        harness.finish(idle, Outcome::Committed, 70);
        let held = harness.leases(busy);
        assert_eq!(
            (held.len(), harness.leases(idle).len()),
            (2, 0),
            "{busy_first}"
        );
        harness.wait(1_000);
        let recalled = harness
            .heartbeat(busy, 1)
            .iter()
            .any(|m| matches!(m, ToWorker::Revocation { .. }));
        assert!(recalled, "{busy_first}");
        harness.report(busy, &held[1..], Outcome::Returned, 0);
        assert_eq!(
            (harness.leases(busy).len(), harness.leases(idle).len()),
            (1, 1),
            "{busy_first}"
        );
    }
}
