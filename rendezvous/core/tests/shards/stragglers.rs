//! Second attempts at shards that take much longer than the others.

use crate::house::{self, House};
use petctl_core::{ConnId, EndState, LeaseId, Outcome, ShardState, ToWorker};

/// Nine of ten shards are done; the tenth is still with the first worker, the second one is idle.
fn straggling(speculative: bool) -> (House, ConnId, ConnId) {
    let mut job = house::job(1, 2, 10);
    job.stages[0].dispatch.speculative = speculative;
    let mut house = House::new(job);
    let (slow, quick) = (house.join("a", 1), house.join("b", 1));
    while house.unleased() > 0 || !house.leases(quick).is_empty() {
        house.finish_one(quick, Outcome::Committed, 3_000);
    }
    (house, slow, quick)
}

#[test]
fn a_straggler_gets_a_second_attempt_elsewhere_and_the_first_to_commit_wins() {
    let (mut house, slow, quick) = straggling(true);
    house.wait(5_000);
    assert!(house.leases(quick).is_empty(), "not yet twice as long");
    house.wait(3_000);
    let second = house.grants(quick)[0].clone();
    assert!(second.speculative && !second.fence && second.attempt == 2);
    assert_eq!(house.view().stages[0].speculative, 1);
    house.finish(quick, Outcome::Committed, 3_000);
    let first = house.leases(slow)[0];
    assert!(is_revoked(&house, slow, first));
    assert_eq!(
        house.end(),
        Some(EndState::Succeeded),
        "nobody waits for the other one"
    );
    let stage = &house.view().stages[0];
    assert_eq!((stage.speculative, stage.speculative_won), (1, 1));
}

#[test]
fn the_second_attempt_is_stopped_when_the_first_one_commits() {
    let (mut house, slow, quick) = straggling(true);
    house.wait(8_000);
    let second = house.leases(quick)[0];
    house.finish(slow, Outcome::Committed, 9_000);
    assert!(is_revoked(&house, quick, second));
    let stage = &house.view().stages[0];
    assert_eq!((stage.speculative, stage.speculative_won), (1, 0));
}

#[test]
fn a_failure_of_one_attempt_quarantines_nothing_while_the_other_runs() {
    let mut job = house::job(1, 2, 10);
    job.stages[0].dispatch.speculative = true;
    job.stages[0].budgets.failed = 0;
    let mut house = House::new(job);
    let (slow, quick) = (house.join("a", 1), house.join("b", 1));
    while house.unleased() > 0 || !house.leases(quick).is_empty() {
        house.finish_one(quick, Outcome::Committed, 3_000);
    }
    house.wait(8_000);
    let index = house.grants(slow)[0].shard.index as usize;
    house.finish(quick, Outcome::Failed, 10);
    assert_eq!(house.shard(index).state, ShardState::Running);
    house.finish(slow, Outcome::Committed, 9_000);
    assert_eq!(house.end(), Some(EndState::Succeeded));
}

#[test]
fn there_are_no_second_attempts_unless_a_stage_asks_for_them() {
    let (mut house, _, quick) = straggling(false);
    house.wait(60_000);
    assert!(house.leases(quick).is_empty());
}

fn is_revoked(house: &House, worker: ConnId, lease: LeaseId) -> bool {
    house.heard(worker).iter().any(|m| {
        matches!(m, ToWorker::Revocation { leases, only_if_queued: false, .. } if leases == &[lease])
    })
}
