//! Exit codes, stragglers, failures that are allowed.

use petctl_test_it::{Coordinator, Job, Stage, World, verify_commits, verify_outputs, wait_until};

/// Ends with the code that its gate's name says: shard 3 with 3.
const EXITS: &str = r#"echo "$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
exit "$PETCTL_SHARD_INDEX""#;

#[test]
fn exit_codes_say_what_is_worth_a_retry_and_what_is_to_be_skipped() {
    let world = World::new();
    let stage = Stage::script(4, EXITS)
        .with("retries = 2\nbackoff = \"10ms\"\nretry_on = [1]\nskip_on = [3]");
    let file = Job::new("codes")
        .workers(1, 1, 4)
        .stage(stage)
        .write(&world);
    world.run(&file).run().exits(1);
    let ask = world.ask();
    let starts = |key: &str| {
        world
            .starts()
            .iter()
            .filter(|start| start.key == key)
            .count()
    };
    assert_eq!(
        (starts("0"), starts("1"), starts("2"), starts("3")),
        (1, 3, 1, 1)
    );
    let skipped = ask.shard("codes", "3");
    assert_eq!(
        (&skipped["state"], &skipped["verdict"]),
        (&"done".into(), &"skipped".into()),
        "{skipped}"
    );
    assert_eq!(ask.shard("codes", "1")["state"], "failed");
    assert_eq!(ask.shard("codes", "2")["state"], "failed");
    world.finish();
}

/// Two stages of the same shards, each of which ends with the code that a file in the job's folder says.
fn skipping(world: &World, first: &str, second: &str) -> String {
    let body = r#"echo "$PETCTL_STAGE/$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
case "$PETCTL_STAGE" in look) exit "$(cat codes | sed -n "$((PETCTL_SHARD_INDEX + 1))p")";; esac"#;
    let stage = |keys: &str| Stage::script(3, body).with(&format!("skip_on = [9]\n{keys}"));
    Job::new("skips")
        .stage(stage(first).named("look"))
        .stage(stage(second).named("work").with("needs = [\"look\"]"))
        .write(world)
}

#[test]
fn skips_travel_without_running_and_a_job_with_nothing_done_says_so() {
    let world = World::new();
    let file = skipping(&world, "", "");
    std::fs::write(world.job_folder().join("codes"), "9\n9\n9\n").unwrap();
    let ran = world.run(&file).run().exits(0);
    for said in [
        "nothing was done in stage `look`",
        "nothing was done in stage `work`",
        "ALL_SKIPPED",
        "NOTHING DONE in stage look",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {ran}");
    }
    let last = ran.stdout.trim_end().lines().last().unwrap_or_default();
    assert!(last.contains("6 of 6 shards done, 6 skipped"), "{ran}");
    assert_eq!(world.starts().len(), 3, "{:?}", world.starts());
    let ask = world.ask();
    let rows = ask.report("skips");
    let row = rows
        .iter()
        .find(|row| row["stage"] == "work" && row["shard"] == "1");
    let row = row.expect("it has a row");
    assert_eq!(
        (&row["state"], &row["verdict"], &row["attempts"]),
        (&"skipped".into(), &"skipped".into(), &0.into()),
        "{row}"
    );
    assert_eq!(row["reasons"][0], "its input look/1 was skipped", "{row}");
    assert_eq!(ask.events_of("skips", "shards_skipped").len(), 3);
    let explained = world
        .petctl()
        .args(["explain", "skips", "work/1"])
        .run()
        .exits(0);
    assert!(explained.stdout.contains("INPUT_SKIPPED"), "{explained}");

    // As it is, nothing is to be done; what may run after skips does.
    world.run(&file).run().exits(0);
    assert_eq!(world.starts().len(), 3, "{:?}", world.starts());
    let file = skipping(&world, "", "run_after_skip = true");
    let ran = world.run(&file).run().exits(0);
    assert_eq!(world.starts().len(), 6, "{ran}");
    assert!(!ran.stdout.contains("in stage work"), "{ran}");
    world.finish();
}

#[test]
fn a_stage_with_less_done_than_it_must_fails_the_job_by_name() {
    let world = World::new();
    let file = skipping(&world, "min_done = \"60%\"", "");
    let codes = world.job_folder().join("codes");
    std::fs::write(&codes, "9\n9\n0\n").unwrap();
    let ran = world.run(&file).run().exits(1);
    for said in [
        "stage `look`: 1 of 3 shards really done, and its min_done asks for 2",
        "TOO_FEW_DONE",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {ran}");
    }
    let status = world
        .petctl()
        .args(["status", "skips", "-o", "json"])
        .run()
        .exits(1);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["notices"][0]["code"], "TOO_FEW_DONE", "{status}");
    assert_eq!(status["stages"][0]["min_done"], 2, "{status}");

    // Skipped shards stay as they are; asked for, they run again, and then it is enough.
    std::fs::write(&codes, "0\n9\n0\n").unwrap();
    let before = world.starts().len();
    world.run(&file).run().exits(1);
    assert_eq!(world.starts().len(), before, "{:?}", world.starts());
    world
        .run(&file)
        .args(["--rerun", "all", "--yes"])
        .run()
        .exits(0);
    world.finish();
}

#[test]
fn a_straggler_gets_a_second_attempt_and_one_commit() {
    let world = World::new();
    let slow = r#"echo "$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
sleep 0.05
if [ "$PETCTL_SHARD_KEY" = 11 ] && [ ! -e second ]; then touch second; sleep 100; fi
echo "by attempt $PETCTL_ATTEMPT" > "$PETCTL_OUTPUT/data""#;
    let stage = Stage::script(12, slow).with("speculative = true\ngrace = \"1s\"");
    let file = Job::new("straggler")
        .workers(2, 2, 1)
        .stage(stage)
        .write(&world);
    let coordinator = Coordinator::start(&world, None);
    let workers = [coordinator.worker("a", 1), coordinator.worker("b", 1)];
    coordinator.run(&file).run().exits(0);
    let keys = Stage::keys(12);
    let ask = coordinator.ask();
    verify_commits(
        &ask.events("straggler"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    let twice = world
        .starts()
        .iter()
        .filter(|start| start.key == "11")
        .count();
    assert_eq!(twice, 2, "{:?}", world.starts());
    let row = ask.shard("straggler", "11");
    for kind in [
        "failed",
        "timed_out",
        "worker_lost",
        "infrastructure",
        "preempted",
    ] {
        assert_eq!(
            row["failures"][kind], 0,
            "the slower one costs nothing: {row}"
        );
    }
    for worker in workers {
        worker.terminate();
    }
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_combiner_starts_with_few_failed_shards_and_the_job_is_not_green() {
    let world = World::new();
    let body = "[ \"$PETCTL_SHARD_INDEX\" != 7 ] || exit 4\necho x > \"$PETCTL_OUTPUT/data\"";
    let combine = "ls \"$1/work\" | wc -l > \"$PETCTL_OUTPUT/count\"";
    let job = |allowed: &str| {
        Job::new("some")
            .workers(1, 1, 4)
            .stage(Stage::script(20, body).with("retries = 0").with(allowed))
            .stage(
                Stage::once(combine)
                    .named("all")
                    .args(&["{output_root}"])
                    .with("needs = [\"work\"]"),
            )
            .write(&world)
    };
    let file = job("");
    world.run(&file).run().exits(1);
    assert!(
        !world.output().join("all").exists(),
        "it waits for the whole stage"
    );
    let file = job("allow_failed = 0.05");
    let ran = world.run(&file).run().exits(1);
    assert!(
        ran.stdout.contains("allow_failed") || ran.stderr.contains("allow_failed"),
        "{ran}"
    );
    let count = walkdir_first(&world.output().join("all"), "count");
    assert_eq!(count.trim(), "19");
    world.finish();
}

#[test]
fn longer_shards_start_first() {
    let world = World::new();
    let lines: String = (0..6)
        .map(|number| format!("{{\"key\": \"k{number}\", \"expected_s\": {number}}}\n"))
        .collect();
    std::fs::write(world.job_folder().join("shards.jsonl"), lines).unwrap();
    let stage = Stage::gated(1).shards("{ manifest = \"shards.jsonl\" }");
    let file = Job::new("longest").stage(stage).write(&world);
    world.open_gate("all");
    world.run(&file).run().exits(0);
    let keys: Vec<String> = world.starts().into_iter().map(|start| start.key).collect();
    assert_eq!(keys, ["k5", "k4", "k3", "k2", "k1", "k0"]);
    world.finish();
}

#[test]
fn a_suspended_job_of_shards_goes_on_where_it_was() {
    let world = World::new();
    let file = Job::new("rest")
        .workers(1, 1, 2)
        .stage(Stage::gated(6))
        .write(&world);
    let run = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("two shards that run", || world.starts().len() == 2);
    world.open_gate("0");
    ask.status_when("rest", "a shard that is done", |status| status["done"] == 1);
    ask.petctl("suspend").arg("rest").run().exits(0);
    ask.status_when("rest", "its suspension", |status| {
        status["state"] == "suspended"
    });
    let before = world.starts().len();
    world.open_gate("all");
    ask.petctl("resume").arg("rest").run().exits(0);
    run.wait().exits(0);
    assert!(world.starts().len() > before);
    let keys = Stage::keys(6);
    verify_commits(
        &ask.events("rest"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    world.finish();
}

/// The text of the first file of that name.
fn walkdir_first(folder: &std::path::Path, name: &str) -> String {
    let entries = walkdir::WalkDir::new(folder).into_iter().flatten();
    let found = entries.into_iter().find(|entry| entry.file_name() == name);
    let found = found.unwrap_or_else(|| panic!("no {name} below {}", folder.display()));
    std::fs::read_to_string(found.path()).unwrap()
}
