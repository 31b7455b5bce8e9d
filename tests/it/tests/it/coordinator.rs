//! A coordinator that dies while its job runs.

use petctl_test_it::{
    Coordinator, Job, Stage, World, is_alive, verify_commits, verify_outputs, wait_until,
};
use std::collections::BTreeMap;

#[test]
fn running_shards_outlive_a_killed_coordinator_and_nothing_runs_twice() {
    let world = World::new();
    let mut coordinator = Coordinator::start(&world, None);
    let workers = [coordinator.worker("one", 2), coordinator.worker("two", 2)];
    let file = Job::new("restart")
        .workers(1, 2, 2)
        .stage(Stage::gated(12))
        .write(&world);
    let run = coordinator.run(&file).spawn();
    let ask = coordinator.ask();
    let keys = Stage::keys(12);
    wait_until("four shards that run", || world.starts().len() >= 4);
    let waiting = ask.petctl("status").args(["restart", "--wait"]).spawn();
    // Some are done before it dies.
    let first: Vec<_> = world.starts().into_iter().take(2).collect();
    for start in &first {
        world.open_gate(&start.key);
    }
    ask.status_when("restart", "two shards done", |status| status["done"] == 2);
    wait_until("six shards started", || world.starts().len() >= 6);
    let running: Vec<_> = world
        .starts()
        .into_iter()
        .filter(|start| is_alive(start.pid))
        .collect();
    assert_eq!(running.len(), 4);

    coordinator.kill();
    // One ends while nobody is there to be told.
    world.open_gate(&running[0].key);
    wait_until("end of a command without a coordinator", || {
        !is_alive(running[0].pid)
    });
    coordinator.start_again();
    ask.status_when("restart", "three shards done", |status| status["done"] == 3);
    for start in &running[1..] {
        assert!(
            is_alive(start.pid),
            "the command of shard {} did not go on",
            start.key
        );
    }

    world.open_gate("all");
    run.wait().exits(0);
    waiting.wait().exits(0);
    let mut starts: BTreeMap<String, u32> = BTreeMap::new();
    for start in world.starts() {
        *starts.entry(start.key).or_default() += 1;
    }
    assert_eq!(starts.keys().cloned().collect::<Vec<_>>(), keys);
    assert!(
        starts.values().all(|times| *times == 1),
        "every shard is started once: {starts:?}"
    );
    verify_commits(
        &ask.events("restart"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    for worker in workers {
        worker.terminate();
    }
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_coordinator_that_is_killed_again_and_again_loses_nothing_that_it_acknowledged() {
    let world = World::new();
    let mut coordinator = Coordinator::start(&world, None);
    let workers = [coordinator.worker("one", 1), coordinator.worker("two", 1)];
    let file = Job::new("again")
        .workers(1, 2, 1)
        .stage(Stage::gated(10))
        .write(&world);
    let run = coordinator.run(&file).spawn();
    let ask = coordinator.ask();
    let keys = Stage::keys(10);
    for round in 1..=5_usize {
        wait_until("the next shards", || world.starts().len() >= round * 2);
        for start in world.starts() {
            world.open_gate(&start.key);
        }
        coordinator.kill();
        coordinator.start_again();
        wait_until("the acknowledged shards", || {
            ask.done("again") >= round as u64 * 2
        });
    }
    run.wait().exits(0);
    assert_eq!(
        world.starts().len(),
        10,
        "no shard ran twice: {:?}",
        world.starts()
    );
    verify_commits(
        &ask.events("again"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    for worker in workers {
        worker.terminate();
    }
    coordinator.terminate();
    world.finish();
}
