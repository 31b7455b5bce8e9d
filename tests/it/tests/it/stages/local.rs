//! `run_mode = "local"`.

use petctl_test_it::{Coordinator, Job, Stage, World, kill, wait_until};

/// Says which worker it runs on.
const WHO: &str = r#"echo "$PETCTL_STAGE/$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
cat /proc/$PPID/cmdline | tr '\0' ' ' > "$PETCTL_OUTPUT/parent""#;

fn job(world: &World) -> String {
    let range = "{ range = [0, 3] }";
    Job::new("near")
        .workers(1, 1, 1)
        .stage(
            Stage::script(3, WHO)
                .named("fetch")
                .shards(range)
                .with("run_mode = \"local\""),
        )
        .stage(
            Stage::script(3, WHO)
                .named("work")
                .shards(range)
                .with("needs = [\"fetch\"]"),
        )
        .write(world)
}

fn parent(world: &World, stage: &str, key: &str) -> String {
    let file = world.output().join(stage).join(key).join("parent");
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn local_stages_run_beside_the_launcher_and_others_on_the_workers() {
    let world = World::new();
    let file = job(&world);
    let coordinator = Coordinator::start(&world, None);
    let worker = coordinator.worker("far", 1);
    coordinator.run(&file).run().exits(0);
    for key in ["0", "1", "2"] {
        assert!(
            !parent(&world, "fetch", key).contains("--name far"),
            "fetch/{key}"
        );
        assert!(
            parent(&world, "work", key).contains("--name far"),
            "work/{key}"
        );
    }
    let members: Vec<u64> = coordinator
        .ask()
        .events_of("near", "epoch_formed")
        .iter()
        .map(|event| event.number_of("world_size"))
        .collect();
    assert!(
        members.iter().all(|size| *size <= 1),
        "it has no rank: {members:?}"
    );
    worker.terminate();
    coordinator.terminate();
    world.finish();
}

#[test]
fn local_stages_wait_for_their_launcher_and_go_on_with_the_next_one() {
    let world = World::new();
    world.allow_warning("a worker is lost");
    world.allow_warning("given up");
    let gated = "echo \"$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT\" >> starts\n\
                 while [ ! -e gates/all ]; do sleep 0.02; done";
    let stage = Stage::script(2, gated).with("run_mode = \"local\"");
    let file = Job::new("alone")
        .workers(1, 1, 1)
        .stage(stage)
        .write(&world);
    let coordinator = Coordinator::start(&world, None);
    let worker = coordinator.worker("far", 1);
    let mut run = coordinator.run(&file).spawn();
    wait_until("a local shard that runs", || !world.starts().is_empty());
    for process in world.workers() {
        if process.command.contains("--local-stages") {
            kill(process.pid);
        }
    }
    run.kill();
    coordinator
        .ask()
        .status_when("alone", "that it waits for its launcher", |status| {
            status.to_string().contains("LAUNCHER_AWAY")
        });
    world.open_gate("all");
    coordinator.run(&file).run().exits(0);
    for row in coordinator.ask().report("alone") {
        assert_eq!(row["failures"]["failed"], 0, "{row}");
    }
    worker.terminate();
    coordinator.terminate();
    world.finish();
}
