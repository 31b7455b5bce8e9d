//! Live jobs that grow, shrink and end early.

use petctl_test_it::{
    Ask, Background, Job, Stage, World, is_alive, processes_with, verify_commits, verify_outputs,
    wait_for, wait_until,
};
use rustix::process::Signal;

/// No attempt beyond the first of each shard, no failure, no lease given back by force.
fn assert_nothing_ran_for_nothing(world: &World, ask: &Ask<'_>, job: &str, shards: u32) {
    let keys = Stage::keys(shards);
    verify_commits(
        &ask.events(job),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    let mut started: Vec<String> = world.starts().into_iter().map(|start| start.key).collect();
    started.sort();
    assert_eq!(started, keys, "every shard is started just once");
    for row in ask.report(job) {
        assert_eq!(
            (row["attempts"].as_u64(), row["state"].as_str()),
            (Some(1), Some("done")),
            "{row}"
        );
    }
    assert!(ask.events_of(job, "attempt_failed").is_empty());
}

/// Opens the gates of shards as they start, until `enough`.
fn let_shards_pass(world: &World, what: &str, mut enough: impl FnMut() -> bool) {
    wait_until(what, || {
        for start in world.starts() {
            world.open_gate(&start.key);
        }
        enough()
    });
}

#[test]
fn a_live_job_grows_at_once_and_shrinks_by_draining_without_losing_or_wasting_a_shard() {
    let world = World::new();
    let file = Job::new("scaled")
        .workers(1, 1, 1)
        .stage(Stage::gated(40))
        .write(&world);
    let run = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("one shard that runs", || world.starts().len() == 1);

    ask.petctl("scale")
        .args(["scaled", "--workers", "4"])
        .run()
        .exits(0)
        .says("4 workers");
    wait_until("four shards that run", || world.starts().len() == 4);
    assert_eq!(ask.members("scaled").len(), 4);
    let_shards_pass(&world, "some shards done by four", || {
        ask.done("scaled") >= 8
    });

    // The three that leave finish what they run first.
    let before = wait_for("four shards that run", || {
        let gates = world.job_folder().join("gates");
        let running: Vec<_> = world
            .starts()
            .into_iter()
            .filter(|start| !gates.join(&start.key).exists())
            .collect();
        (running.len() == 4).then_some(running)
    });
    ask.petctl("scale")
        .args(["scaled", "--workers", "1", "--min", "1"])
        .run()
        .exits(0)
        .says("1 worker wanted");
    ask.status_when("scaled", "a pool of one", |status| {
        status["workers"]["wanted"] == 1
    });
    for start in &before {
        assert!(
            is_alive(start.pid),
            "shard {} was stopped by a scale-down",
            start.key
        );
        world.open_gate(&start.key);
    }
    ask.status_when("scaled", "three workers that have left", |status| {
        status["workers"]["members"]
            .as_array()
            .is_some_and(|members| members.len() == 1)
    });
    let one = ask
        .petctl("scale")
        .args(["scaled", "--workers", "2"])
        .run()
        .exits(0);
    assert!(one.stdout.contains("2 workers"), "{one}");
    world.open_gate("all");
    run.wait().exits(0);
    assert_nothing_ran_for_nothing(&world, &ask, "scaled", 40);
    world.finish();
}

#[test]
fn workers_that_leave_a_shrunken_job_are_not_started_again() {
    let world = World::new();
    let file = Job::new("shrunken")
        .workers(1, 4, 1)
        .stage(Stage::gated(40))
        .write(&world);
    let run = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("four shards that run", || world.starts().len() == 4);
    let_shards_pass(&world, "some shards done by four", || {
        ask.done("shrunken") >= 4
    });
    ask.petctl("scale")
        .args(["shrunken", "--workers", "1", "--min", "1"])
        .run()
        .exits(0);
    // They end their shards just while the run is about to hear of the scale-down.
    world.open_gate("all");
    run.wait().exits(0);
    let log = world.state_of("shrunken").join("coordinator.log");
    let log = std::fs::read_to_string(&log).unwrap();
    assert_eq!(log.matches("worker started").count(), 4, "{log}");
    world.finish();
}

#[test]
fn a_longer_timeout_runs_only_the_shards_again_that_ran_into_the_shorter_one() {
    let world = World::new();
    let stage = Stage::gated(3).with("timeout = \"500ms\"\nretries = 0");
    let file = Job::new("timeouts")
        .workers(1, 1, 3)
        .stage(stage)
        .write(&world);
    world.open_gate("0");
    world.open_gate("2");
    world.run(&file).run().exits(1).says("timed_out");
    let ask = world.ask();
    assert_eq!(
        (ask.done("timeouts"), ask.state("timeouts").as_str()),
        (2, "failed")
    );

    world.open_gate("1");
    let longer = ["--set", "stage.work.timeout=\"60s\""];
    world
        .run(&file)
        .args(longer)
        .arg("--dry-run")
        .run()
        .exits(0)
        .says("would go on with this job");
    world.run(&file).args(longer).run().exits(0);
    let started: Vec<String> = world.starts().into_iter().map(|start| start.key).collect();
    assert_eq!(
        started.iter().filter(|key| *key == "1").count(),
        2,
        "{started:?}"
    );
    assert_eq!(started.len(), 4, "only that shard ran again: {started:?}");
    assert_eq!(ask.events_of("timeouts", "job_retuned").len(), 1);
    let keys = Stage::keys(3);
    verify_commits(
        &ask.events("timeouts"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );

    // A change of what is computed runs all of it again, and says what changed.
    let ran = world
        .run(&file)
        .args(longer)
        .args(["--why-rerun", "--set", "stage.work.env.COLOUR=\"red\""])
        .run()
        .exits(0)
        .says("nothing is reused; 3 shards run: 3 command changed")
        .says("changed in the job file: stage.work.env");
    assert!(!ran.stderr.contains("work.timeout"), "{ran}");
    world.finish();
}

/// Notes its own start and that of a child, and dies of SIGTERM only if it is let.
const STUBBORN: &str = r#"sleep 1000 & child=$!
echo "$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
echo "$PETCTL_SHARD_KEY $child $PETCTL_ATTEMPT" >> starts
trap 'echo "$PETCTL_SHARD_KEY" >> terminated; [ -e gates/stubborn ] || exit 1' TERM
while true; do wait; sleep 0.05; done"#;

fn terminated(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.job_folder().join("terminated")).unwrap_or_default();
    let mut keys: Vec<String> = text.lines().map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn a_cancelled_job_stops_its_process_groups_with_grace_and_ends_with_3() {
    let world = World::new();
    let stage = Stage::script(6, STUBBORN).with("grace = \"30s\"");
    let file = Job::new("cancelled")
        .workers(1, 2, 1)
        .stage(stage)
        .write(&world);
    let run = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("two shards that run", || world.starts().len() == 4);
    ask.petctl("cancel")
        .args(["cancelled", "--reason", "wrong build"])
        .run()
        .exits(0);
    run.wait().exits(3).says("cancelled");
    for start in world.starts() {
        assert!(
            !is_alive(start.pid),
            "process {} of shard {} lives on",
            start.pid,
            start.key
        );
    }
    assert_eq!(
        terminated(&world).len(),
        2,
        "both commands had SIGTERM, and ended of it"
    );
    ask.petctl("status").arg("cancelled").run().exits(3);
    let events = ask.events("cancelled");
    assert!(
        events
            .iter()
            .any(|event| event.kind == "job_cancelled" && event.text_of("reason") == "wrong build")
    );
    verify_outputs(&world.output(), "work", &[]);
    world.finish();
}

#[test]
fn a_cancelled_command_that_ignores_sigterm_is_killed_when_its_grace_is_over() {
    let world = World::new();
    let stage = Stage::script(1, STUBBORN).with("grace = \"500ms\"");
    let file = Job::new("stubborn")
        .workers(1, 1, 1)
        .stage(stage)
        .write(&world);
    world.open_gate("stubborn");
    let run = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("a shard that runs", || world.starts().len() == 2);
    ask.petctl("cancel").arg("stubborn").run().exits(0);
    run.wait().exits(3);
    assert_eq!(terminated(&world), ["0"], "SIGTERM came first");
    for start in world.starts() {
        assert!(!is_alive(start.pid), "process {} lives on", start.pid);
    }
    verify_outputs(&world.output(), "work", &[]);
    world.finish();
}

fn interrupt(run: &mut Background) {
    run.signal(Signal::INT);
}

#[test]
fn ctrl_c_once_lets_what_runs_end_and_the_job_can_go_on() {
    let world = World::new();
    let file = Job::new("drained")
        .workers(1, 2, 1)
        .stage(Stage::gated(8))
        .write(&world);
    let mut run = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("two shards that run", || world.starts().len() == 2);
    interrupt(&mut run);
    wait_until("a run that says that it drains", || {
        run.stderr().contains("draining")
    });
    for start in world.starts() {
        assert!(
            is_alive(start.pid),
            "shard {} was stopped by the first Ctrl-C",
            start.key
        );
    }
    world.open_gate("all");
    run.wait().exits(130).says("petctl run");
    assert_eq!(world.starts().len(), 2, "nothing new was started");
    assert_eq!(ask.done("drained"), 2);
    assert_eq!(ask.state("drained"), "interrupted");
    world.run(&file).run().exits(0);
    assert_nothing_ran_for_nothing(&world, &ask, "drained", 8);
    world.finish();
}

#[test]
fn ctrl_c_twice_stops_what_runs_and_the_job_can_go_on() {
    let world = World::new();
    let file = Job::new("twice")
        .workers(1, 2, 1)
        .stage(Stage::gated(6))
        .write(&world);
    let mut run = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("two shards that run", || world.starts().len() == 2);
    interrupt(&mut run);
    wait_until("a run that says that it drains", || {
        run.stderr().contains("draining")
    });
    interrupt(&mut run);
    run.wait().exits(130);
    for start in world.starts() {
        assert!(!is_alive(start.pid), "shard {} runs on", start.key);
    }
    assert!(processes_with("PETCTL_JOB", "twice").is_empty());
    assert_eq!(ask.done("twice"), 0);
    world.open_gate("all");
    world.run(&file).run().exits(0);
    let keys = Stage::keys(6);
    verify_commits(
        &ask.events("twice"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    // What was stopped by its user is charged to no shard.
    for row in ask.report("twice") {
        assert_eq!(
            (&row["failures"]["failed"], &row["failures"]["worker_lost"]),
            (&0.into(), &0.into()),
            "{row}"
        );
    }
    world.finish();
}

#[test]
fn a_run_whose_terminal_was_closed_goes_on_and_list_finds_it() {
    let world = World::new();
    let file = Job::new("hangup")
        .workers(1, 2, 1)
        .stage(Stage::gated(4))
        .write(&world);
    let mut run = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("two shards that run", || world.starts().len() == 2);
    run.signal(Signal::HUP);
    let listed = ask.petctl("list").run().exits(0);
    assert!(
        listed.stdout.contains("hangup") && listed.stdout.contains("running"),
        "{listed}"
    );
    world.open_gate("all");
    ask.petctl("status")
        .args(["hangup", "--wait"])
        .run()
        .exits(0);
    run.wait().exits(0);
    assert_nothing_ran_for_nothing(&world, &ask, "hangup", 4);
    world.finish();
}

#[test]
fn a_detached_run_goes_on_and_status_waits_for_its_verdict() {
    let world = World::new();
    let file = Job::new("detached")
        .workers(1, 2, 1)
        .stage(Stage::gated(4))
        .write(&world);
    let started = world.run(&file).arg("-d").run().exits(0);
    assert_eq!(started.stdout.trim(), "detached", "{started}");
    let ask = world.ask();
    wait_until("two shards that run", || world.starts().len() == 2);
    world
        .run(&file)
        .run()
        .fails_with(75, "JOB_RUNNING")
        .says("petctl status detached");
    world.open_gate("all");
    ask.petctl("status")
        .args(["detached", "--wait"])
        .run()
        .exits(0)
        .says("succeeded");
    wait_until("the end of the run in the background", || {
        world.processes().is_empty()
    });
    assert_nothing_ran_for_nothing(&world, &ask, "detached", 4);
    world.finish();
}

#[test]
fn what_a_job_came_to_can_be_asked_as_soon_as_its_end_is_known() {
    let world = World::new();
    let ask = world.ask();
    for round in 0..6 {
        let name = format!("asked-{round}");
        let output = world.path(&format!("job/out-{round}"));
        let file = Job::new(&name)
            .output(output)
            .stage(Stage::command(&["true"]))
            .write(&world);
        world.run(&file).arg("-d").run().exits(0);
        // The coordinator goes away in just these moments.
        ask.petctl("status").args([&name, "--wait"]).run().exits(0);
        for command in ["events", "report", "explain", "status"] {
            ask.petctl(command).arg(&name).run().exits(0);
        }
    }
    world.finish();
}
