//! kill -9 of all there is, then the same command again.

use petctl_test_it::{Job, Stage, World, is_alive, verify_commits, verify_outputs, wait_until};
use std::collections::BTreeMap;

#[test]
fn a_job_whose_every_process_was_killed_goes_on_with_only_what_is_left() {
    let world = World::new();
    // The coordinator may live a moment longer than its workers.
    world.allow_warning("a worker is lost");
    let file = Job::new("power")
        .workers(1, 2, 2)
        .stage(Stage::gated(10))
        .write(&world);
    let mut run = world.run(&file).spawn();
    let ask = world.ask();
    let keys = Stage::keys(10);
    wait_until("four shards that run", || world.starts().len() == 4);
    for start in &world.starts()[..3] {
        world.open_gate(&start.key);
    }
    ask.status_when("power", "three shards done", |status| status["done"] == 3);
    let done: Vec<String> = ask
        .report("power")
        .iter()
        .filter(|row| row["state"] == "done")
        .map(|row| row["shard"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(done.len(), 3);
    world.kill_everything();
    run.kill();

    let interrupted = ask
        .petctl("status")
        .arg("power")
        .run()
        .exits(75)
        .says("interrupted");
    let hint = format!("petctl run {}", world.job_folder().join(&file).display());
    assert!(
        interrupted
            .stderr
            .lines()
            .any(|line| line.trim_start().starts_with(&hint)),
        "a command that can be copied: {interrupted}"
    );
    world.open_gate("all");
    world
        .run(&file)
        .run()
        .exits(0)
        .says("3 shards done already");
    let mut starts: BTreeMap<String, u32> = BTreeMap::new();
    for start in world.starts() {
        *starts.entry(start.key).or_default() += 1;
    }
    for key in &done {
        assert_eq!(starts[key], 1, "shard {key} was done, and ran again");
    }
    verify_commits(
        &ask.events("power"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    // Nothing is left to do, and nothing is done.
    let before = world.starts().len();
    world.run(&file).run().exits(0).says("nothing to do");
    assert_eq!(world.starts().len(), before);
    world.finish();
}

#[test]
fn workers_that_outlive_a_killed_run_are_taken_over_by_the_next_one() {
    let world = World::new();
    let file = Job::new("orphans")
        .workers(1, 2, 1)
        .stage(Stage::gated(6))
        .write(&world);
    let mut run = world.run(&file).spawn();
    let ask = world.ask();
    let keys = Stage::keys(6);
    wait_until("two shards that run", || world.starts().len() == 2);
    let running = world.starts();
    run.kill();
    let again = world.run(&file).spawn();
    ask.status_when("orphans", "a coordinator", |status| {
        status["state"] == "running"
    });
    for start in &running {
        assert!(
            is_alive(start.pid),
            "the command of shard {} did not go on",
            start.key
        );
    }
    world.open_gate("all");
    again.wait().exits(0);
    assert_eq!(
        world.starts().len(),
        6,
        "no shard ran twice: {:?}",
        world.starts()
    );
    verify_commits(
        &ask.events("orphans"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    world.finish();
}
