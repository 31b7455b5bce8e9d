//! The simulation itself as a test: many seeds hold, the same seed is the same run, and broken protections are found.

use petctl_test_sim::{Broken, Options, Stats, run, run_many};

const SEEDS: u64 = 2_000;

#[test]
fn invariants_hold_for_two_thousand_seeds() {
    let half = SEEDS / 2;
    let runs: Vec<_> = [1, 1 + half]
        .into_iter()
        .map(|first| std::thread::spawn(move || run_many(first, half, Options::default())))
        .collect();
    let mut all = Stats::default();
    for run in runs {
        match run.join().unwrap() {
            Ok(stats) => all.add(&stats),
            Err(failure) => panic!("{failure}\ncommit: {}", commit()),
        }
    }
    let soft = format!("the simulation has gone soft: {all:?}");
    assert!(all.faults > 2 * SEEDS, "{soft}");
    assert!(
        all.epochs > SEEDS / 2 && all.causes > SEEDS / 10 && all.checkpoints > SEEDS,
        "{soft}"
    );
    assert!(all.reused > SEEDS && all.second.0 > SEEDS / 10, "{soft}");
    assert!(
        all.power_cuts > SEEDS / 10 && all.lost_answers > SEEDS / 2 && all.lock_waits > SEEDS,
        "{soft}"
    );
    assert!(all.damaged > 0 && all.restored > 0, "{soft}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..20 {
        let once = format!("{:?}", run(seed, Options::default()));
        let twice = format!("{:?}", run(seed, Options::default()));
        assert_eq!(once, twice, "seed {seed}");
    }
}

#[test]
fn a_broken_fence_is_found() {
    let found = find(Broken::Fence).what;
    assert!(
        found.contains("published") || found.contains("committed"),
        "{found}"
    );
}

#[test]
fn sending_before_persisting_is_found() {
    find(Broken::PersistFirst);
}

#[test]
fn training_processes_that_outlive_their_epoch_are_found() {
    let found = find(Broken::Stops).what;
    assert!(found.contains("while processes of epoch"), "{found}");
}

#[test]
fn a_checkpoint_that_is_said_too_early_is_found() {
    let found = find(Broken::Checkpoints).what;
    assert!(found.contains("is not complete"), "{found}");
}

fn find(broken: Broken) -> petctl_test_sim::Failure {
    let options = Options {
        broken: Some(broken),
        ..Options::default()
    };
    match run_many(1, 500, options) {
        Ok(stats) => panic!("{broken:?} was not found in 500 seeds: {stats:?}"),
        Err(failure) => failure,
    }
}

fn commit() -> String {
    let output = std::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .output();
    output
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        .unwrap_or_default()
}
