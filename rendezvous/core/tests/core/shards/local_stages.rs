//! Local stages run with a worker of their own, which is no member of the pool.

use crate::jobs;
use crate::shards::harness::Harness;
use petctl_core::{ConnId, EndState, Hello, Outcome, ToWorker};
use petctl_spec::RunMode;

/// A local stage, and one that follows shard by shard on the workers.
fn job() -> petctl_spec::JobSpec {
    let mut job = jobs::chain(2);
    job.stages[0].dispatch.run_mode = RunMode::Local;
    job
}

fn hello() -> Hello {
    Hello {
        name: "local-stages".to_owned(),
        job: "job".to_owned(),
        slots: 1,
        local_stages: true,
        ..Hello::default()
    }
}

#[test]
fn members_get_no_local_shards_and_local_stage_workers_no_others() {
    let mut harness = Harness::new(job());
    let member = harness.join("w", 4);
    assert!(harness.leases(member).is_empty());
    assert!(
        harness.waiting().contains("LAUNCHER_AWAY"),
        "{}",
        harness.waiting()
    );
    let local = harness.hello(hello());
    assert!(!harness.waiting().contains("LAUNCHER_AWAY"));
    assert_eq!(harness.stages_leased(local), [0]);
    harness.finish(local, Outcome::Committed, 60_000);
    assert_eq!(harness.stages_leased(local), [0]);
    assert_eq!(harness.stages_leased(member), [1]);
}

#[test]
fn a_local_stage_worker_counts_for_no_pool_and_is_released_at_the_end() {
    let mut harness = Harness::new(job());
    let local = harness.hello(hello());
    assert_eq!(harness.view().members.len(), 0);
    assert!(harness.waiting().contains("BELOW_MIN"));
    harness.finish(local, Outcome::Committed, 1);
    harness.finish(local, Outcome::Committed, 1);
    let member = harness.join("w", 4);
    harness.finish(member, Outcome::Committed, 1);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    assert!(was_released(&harness, local));
}

#[test]
fn a_local_stage_worker_that_comes_first_waits_for_its_job() {
    let mut harness = Harness::new(jobs::sharded(1, 1, 1));
    let mut early = hello();
    early.job = "later".to_owned();
    let local = harness.hello(early);
    let mut later = job();
    later.name = "later".to_owned();
    harness.submit(later);
    assert_eq!(harness.stages_leased(local), [0]);
}

#[test]
fn a_lost_local_stage_worker_costs_a_lost_worker_and_the_next_one_goes_on() {
    let mut harness = Harness::new(job());
    let local = harness.hello(hello());
    harness.lose(local);
    assert_eq!(harness.shard(0).failures.worker_lost, 1);
    let next = harness.hello(hello());
    assert_eq!(harness.stages_leased(next), [0]);
}

#[test]
fn a_local_stage_worker_claims_what_it_runs_after_a_restart() {
    let mut harness = Harness::new(job());
    let local = harness.hello(hello());
    let lease = harness.leases(local)[0];
    harness.restart();
    let back = harness.come_back(local, hello());
    let kept = harness
        .heard(back)
        .iter()
        .any(|m| matches!(m, ToWorker::Welcome { kept, .. } if kept == &[lease]));
    assert!(kept, "{:?}", harness.heard(back));
    harness.finish(back, Outcome::Committed, 1);
    assert_eq!(harness.stages_leased(back), [0], "the other one");
}

fn was_released(harness: &Harness, worker: ConnId) -> bool {
    let heard = harness.heard(worker).iter();
    heard.into_iter().any(|m| matches!(m, ToWorker::Release(_)))
}
