//! Workers that die or stand still.

use petctl_test_it::{
    Coordinator, Job, Stage, World, continue_, is_alive, kill, processes_with, stop,
    verify_commits, verify_outputs, wait_for, wait_until,
};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[test]
fn a_killed_worker_is_noticed_within_a_second_and_its_shard_runs_elsewhere() {
    let world = World::new();
    world.expect_warning("a worker is lost");
    let file = Job::new("killed")
        .workers(1, 2, 1)
        .stage(Stage::gated(4).with("retries = 0"))
        .write(&world);
    let run = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("two shards that run", || world.starts().len() == 2);
    let victim = world.starts()[0].clone();
    let row = ask.shard("killed", &victim.key);
    let name = row["worker"].as_str().unwrap().to_owned();
    let (_, id, pid) = ask
        .members("killed")
        .into_iter()
        .find(|(member, ..)| *member == name)
        .unwrap();

    // What the command itself started is to die with it: the `sleep` of its loop.
    let before = processes_with("PETCTL_WORKER_ID", &id);
    assert!(
        before.iter().any(|process| process.pid == victim.pid),
        "{before:?}"
    );
    let killed_at_ms = now_ms();
    assert!(kill(pid));

    let failed = wait_for("the loss of the worker in the event log", || {
        ask.events_of("killed", "attempt_failed").into_iter().next()
    });
    let noticed_ms = failed.at_ms.saturating_sub(killed_at_ms);
    assert!(noticed_ms < 1_000, "noticed after {noticed_ms} ms");
    assert_eq!(failed.text_of("failure"), "worker_lost", "{failed:?}");
    wait_until("end of the dead worker's children", || {
        processes_with("PETCTL_WORKER_ID", &id).is_empty()
    });

    world.open_gate("all");
    run.wait().exits(0);
    let row = ask.shard("killed", &victim.key);
    assert_eq!(row["attempts"], 2, "{row}");
    let expected = json!({ "failed": 0, "timed_out": 0, "worker_lost": 1, "infrastructure": 0, "preempted": 0 });
    assert_eq!(
        row["failures"], expected,
        "its own budget is not charged: {row}"
    );
    let again = world
        .starts()
        .into_iter()
        .find(|start| start.key == victim.key && start.attempt == 2)
        .unwrap();
    assert_ne!(again.pid, victim.pid);
    let keys = Stage::keys(4);
    verify_commits(
        &ask.events("killed"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    world.finish();
}

#[test]
fn a_worker_that_stood_still_for_20_s_is_given_up_after_5_s_and_fenced_when_it_wakes() {
    let world = World::new();
    // Where it hears so in the stream of before: its own clock may tell it first that it stood still.
    world.allow_warning("given up");
    world.expect_warning("a worker is lost");
    let file = Job::new("stopped")
        .workers(1, 2, 1)
        .stage(Stage::gated(2).with("retries = 0"))
        .write(&world);
    let run = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("two shards that run", || world.starts().len() == 2);
    let victim = world.starts()[0].clone();
    let other = world.starts()[1].clone();
    let name = ask.shard("stopped", &victim.key)["worker"]
        .as_str()
        .unwrap()
        .to_owned();
    let pid = ask.pid_of("stopped", &name);

    let stopped_at_ms = now_ms();
    assert!(stop(pid));
    // Its command goes on meanwhile, and ends well.
    world.open_gate(&format!("{}.1", victim.key));
    wait_until("end of the first attempt's command", || {
        !is_alive(victim.pid)
    });
    let failed = wait_for("a worker that is given up", || {
        ask.events_of("stopped", "attempt_failed")
            .into_iter()
            .next()
    });
    assert_eq!(
        (failed.text_of("failure"), failed.text_of("code")),
        ("worker_lost", "WORKER_SILENT"),
        "{failed:?}"
    );
    let silent_ms = failed.at_ms.saturating_sub(stopped_at_ms);
    assert!(
        silent_ms >= 2_900,
        "5 s of silence are allowed, and the last word was at most 2 s old: {silent_ms} ms"
    );
    world.open_gate(&other.key);
    wait_until("the second attempt", || {
        world
            .starts()
            .iter()
            .any(|start| start.key == victim.key && start.attempt == 2)
    });

    wait_until("20 s of standing still", || {
        now_ms() >= stopped_at_ms + 20_000
    });
    assert!(continue_(pid));
    // It has a commit in its hands, and must not make it. It is fenced, and either leaves or joins anew.
    let log = world
        .state_of("stopped")
        .join(format!("workers/{name}.log"));
    // It hears so in the stream of before, or when it comes back in a new one.
    wait_until("a worker that knows that it was given up", || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        !is_alive(pid) || said.contains("given up") || said.contains("leases were lost")
    });
    assert!(
        !world.output().join("work").join(&victim.key).exists(),
        "the fenced attempt has committed"
    );
    world.open_gate("all");
    run.wait().exits(0);

    let keys = Stage::keys(2);
    let found = verify_outputs(&world.output(), "work", &keys);
    assert_eq!(
        found[&victim.key].attempt, 2,
        "the outputs are those of the second attempt"
    );
    verify_commits(&ask.events("stopped"), &found, &keys);
    let row = ask.shard("stopped", &victim.key);
    assert_eq!(
        (&row["failures"]["worker_lost"], &row["failures"]["failed"]),
        (&json!(1), &json!(0)),
        "{row}"
    );
    world.finish();
}

#[test]
fn a_fenced_attempt_that_goes_on_can_not_commit_after_its_successor_has() {
    let world = World::new();
    // Where it hears so in the stream of before: its own clock may tell it first that it stood still.
    world.allow_warning("given up");
    world.expect_warning("a worker is lost");
    let coordinator = Coordinator::start(&world, Some("1s"));
    let file = Job::new("fenced")
        .workers(1, 2, 1)
        .stage(Stage::gated(1).with("retries = 0"))
        .write(&world);
    let run = coordinator.run(&file).spawn();
    let ask = coordinator.ask();
    let one = coordinator.worker("one", 1);
    wait_until("a shard that runs", || world.starts().len() == 1);
    let first = world.starts()[0].clone();
    let two = coordinator.worker("two", 1);

    assert!(stop(one.process.pid()));
    wait_until("the second attempt", || world.starts().len() == 2);
    world.open_gate("0.2");
    run.wait().exits(0);
    let keys = Stage::keys(1);
    let committed = verify_outputs(&world.output(), "work", &keys);
    assert_eq!(committed["0"].attempt, 2);

    // It wakes with its command running; the command ends, or is ended.
    assert!(continue_(one.process.pid()));
    world.open_gate("0.1");
    wait_until("end of the first attempt's command", || {
        !is_alive(first.pid)
    });
    let mut one = one;
    wait_until("a worker that is done with its attempt", || {
        // It hears that it is fenced, or, if the stream broke first, that its lease was not kept.
        let said = one.process.stderr();
        !one.process.runs() || said.contains("given up") || said.contains("leases were lost")
    });
    let after = verify_outputs(&world.output(), "work", &keys);
    assert_eq!(
        after["0"].sha256, committed["0"].sha256,
        "what was committed stands"
    );
    verify_commits(&ask.events("fenced"), &after, &keys);
    one.terminate();
    two.terminate();
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_worker_that_is_told_to_leave_hands_its_shard_over_and_nothing_is_charged() {
    let world = World::new();
    let coordinator = Coordinator::start(&world, None);
    let stage = Stage::gated(1).with("retries = 0\nbudgets = { worker_lost = 0, preempted = 1 }");
    let file = Job::new("leaves")
        .workers(1, 2, 1)
        .stage(stage)
        .write(&world);
    let run = coordinator.run(&file).spawn();
    let one = coordinator.worker("one", 1);
    wait_until("a shard that runs", || world.starts().len() == 1);
    let two = coordinator.worker("two", 1);
    let ask = coordinator.ask();
    ask.status_when("leaves", "two members", |status| {
        status["workers"]["members"]
            .as_array()
            .is_some_and(|members| members.len() == 2)
    });
    one.terminate();
    wait_until("the second attempt", || world.starts().len() == 2);
    assert!(
        !is_alive(world.starts()[0].pid),
        "the first attempt's command runs on"
    );
    world.open_gate("all");
    run.wait().exits(0);
    let row = ask.shard("leaves", "0");
    let expected = json!({ "failed": 0, "timed_out": 0, "worker_lost": 0, "infrastructure": 0, "preempted": 1 });
    assert_eq!(row["failures"], expected, "{row}");
    let keys = Stage::keys(1);
    verify_commits(
        &ask.events("leaves"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    two.terminate();
    coordinator.terminate();
    world.finish();
}
