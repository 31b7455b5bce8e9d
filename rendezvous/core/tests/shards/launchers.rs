//! Local stages run beside the launcher, which is no member of the pool.

use crate::house::{self, House};
use petctl_core::{ConnId, EndState, Hello, Outcome, ToWorker};
use petctl_spec::RunMode;

/// A local stage, and one that follows shard by shard on the workers.
fn job() -> petctl_spec::JobSpec {
    let mut job = house::chain(2);
    job.stages[0].dispatch.run_mode = RunMode::Local;
    job
}

fn hello() -> Hello {
    Hello {
        name: "launcher".to_owned(),
        job: "job".to_owned(),
        slots: 1,
        launcher: true,
        ..Hello::default()
    }
}

#[test]
fn members_get_no_local_shards_and_launchers_no_others() {
    let mut house = House::new(job());
    let member = house.join("w", 4);
    assert!(house.leases(member).is_empty());
    assert!(
        house.waiting().contains("LAUNCHER_AWAY"),
        "{}",
        house.waiting()
    );
    let launcher = house.hello(hello());
    assert!(!house.waiting().contains("LAUNCHER_AWAY"));
    assert_eq!(house.stages_leased(launcher), [0]);
    house.finish(launcher, Outcome::Committed, 60_000);
    assert_eq!(house.stages_leased(launcher), [0]);
    assert_eq!(house.stages_leased(member), [1]);
}

#[test]
fn a_launcher_counts_for_no_pool_and_is_released_at_the_end() {
    let mut house = House::new(job());
    let launcher = house.hello(hello());
    assert_eq!(house.view().members.len(), 0);
    assert!(house.waiting().contains("BELOW_MIN"));
    house.finish(launcher, Outcome::Committed, 1);
    house.finish(launcher, Outcome::Committed, 1);
    let member = house.join("w", 4);
    house.finish(member, Outcome::Committed, 1);
    assert_eq!(house.end(), Some(EndState::Succeeded));
    assert!(was_released(&house, launcher));
}

#[test]
fn a_launcher_that_comes_first_waits_for_its_job() {
    let mut house = House::new(house::job(1, 1, 1));
    let mut early = hello();
    early.job = "later".to_owned();
    let launcher = house.hello(early);
    let mut later = job();
    later.name = "later".to_owned();
    house.submit(later);
    assert_eq!(house.stages_leased(launcher), [0]);
}

#[test]
fn a_lost_launcher_costs_a_lost_worker_and_the_next_one_goes_on() {
    let mut house = House::new(job());
    let launcher = house.hello(hello());
    house.lose(launcher);
    assert_eq!(house.shard(0).failures.worker_lost, 1);
    let next = house.hello(hello());
    assert_eq!(house.stages_leased(next), [0]);
}

#[test]
fn a_launcher_claims_what_it_runs_after_a_restart() {
    let mut house = House::new(job());
    let launcher = house.hello(hello());
    let lease = house.leases(launcher)[0];
    house.restart();
    let back = house.come_back(launcher, hello());
    let kept = house
        .heard(back)
        .iter()
        .any(|m| matches!(m, ToWorker::Welcome { kept, .. } if kept == &[lease]));
    assert!(kept, "{:?}", house.heard(back));
    house.finish(back, Outcome::Committed, 1);
    assert_eq!(house.stages_leased(back), [0], "the other one");
}

fn was_released(house: &House, worker: ConnId) -> bool {
    let heard = house.heard(worker).iter();
    heard.into_iter().any(|m| matches!(m, ToWorker::Release(_)))
}
