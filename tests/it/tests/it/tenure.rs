//! An output whose launcher has left is held by the workers of the job.

use petctl_output::run::RunRecord;
use petctl_test_it::{Cloud, Coordinator, Job, Stage, World, is_alive, wait_until};
use std::fs;
use std::path::PathBuf;

fn record(world: &World) -> PathBuf {
    world.output().join(".petctl/run.json")
}

#[test]
fn a_job_that_its_launcher_has_left_holds_its_output_to_its_end_and_no_longer() {
    for blobs in [false, true] {
        let world = World::new();
        let cloud = blobs.then(|| Cloud::shared(&world));
        let coordinator = Coordinator::start(&world, None);
        let worker = coordinator.worker("one", 2);
        let job = Job::new("left").workers(1, 1, 2).stage(Stage::gated(2));
        let file = match &cloud {
            Some(cloud) => job.storage(cloud.storage(false)).write(&world),
            None => job.write(&world),
        };
        coordinator.run(&file).arg("--detach").run().exits(0);
        wait_until("both shards", || world.starts().len() == 2);
        let elsewhere = || world.run(&file).arg("--home").arg(world.path("other-home"));
        let busy = elsewhere().run();
        busy.fails_with(75, "OUTPUT_BUSY")
            .says(&coordinator.address());
        world.open_gate("all");
        let wait = coordinator.ask().petctl("status").args(["left", "--wait"]);
        wait.run().exits(0);
        // The worker takes the record away when it is told of the end.
        wait_until("an output that is free", || {
            elsewhere().run().stderr.contains("all 2 shards reused")
        });
        assert_eq!(world.starts().len(), 2, "nothing ran again");
        worker.terminate();
        coordinator.terminate();
        world.finish();
    }
}

#[test]
fn a_job_that_lost_its_output_to_another_run_stops_and_goes_on_when_that_has_left() {
    let world = World::new();
    let coordinator = Coordinator::start(&world, None);
    let worker = coordinator.worker("one", 2);
    let file = Job::new("lost")
        .workers(1, 1, 2)
        .stage(Stage::gated(2))
        .write(&world);
    coordinator.run(&file).arg("--detach").run().exits(0);
    wait_until("both shards", || world.starts().len() == 2);
    world.allow_warning("the output has been taken over");
    // As if nothing had been heard of this run for a minute.
    let ours: RunRecord = serde_json::from_slice(&fs::read(record(&world)).unwrap()).unwrap();
    assert!(ours.left, "{ours:?}");
    let theirs = RunRecord {
        lineage: "00000000000000ff".to_owned(),
        keeper: "elsewhere:/home".to_owned(),
        who: "somebody@elsewhere".to_owned(),
        renewed_ms: u64::MAX / 2,
        ..ours
    };
    fs::write(record(&world), serde_json::to_vec(&theirs).unwrap()).unwrap();
    let first = world.starts();
    wait_until("end of both commands", || {
        first.iter().all(|start| !is_alive(start.pid))
    });
    let ask = coordinator.ask();
    let told = ask.status_when("lost", "attempts that gave up", |_| {
        let failed = ask.events_of("lost", "attempt_failed");
        failed
            .iter()
            .any(|event| event.text_of("code") == "OUTPUT_BUSY")
    });
    assert_eq!(told["done"], 0, "{told}");
    world.open_gate("all");
    fs::remove_file(record(&world)).unwrap();
    let wait = ask.petctl("status").args(["lost", "--wait"]);
    wait.run().exits(0);
    worker.terminate();
    coordinator.terminate();
    world.finish();
}

#[test]
fn what_a_job_of_a_coordinator_elsewhere_has_put_aside_is_pruned_when_nothing_of_it_runs() {
    let world = World::new();
    let coordinator = Coordinator::start(&world, None);
    let worker = coordinator.worker("one", 2);
    let write = |stage: Stage| {
        Job::new("aside")
            .workers(1, 1, 2)
            .stage(stage)
            .write(&world)
    };
    let file = write(Stage::script(3, "echo v > $PETCTL_OUTPUT/v"));
    coordinator.run(&file).run().exits(0);
    let file = write(Stage::script(1, "echo v > $PETCTL_OUTPUT/v"));
    let run = coordinator.run(&file).run().exits(0);
    run.says("what 2 shards that are no part of the job any more left is put aside in");
    let prune = |more: &str| {
        let command = coordinator.ask().petctl("prune");
        command.args(["aside", more]).run()
    };
    prune("--dry-run")
        .exits(0)
        .says("would remove the outputs of 2 shards");
    prune("--yes")
        .exits(0)
        .says("removed the outputs of 2 shards");
    prune("--yes").exits(0).says("nothing is put aside");
    let gated = write(Stage::gated(1));
    coordinator.run(&gated).arg("--detach").run().exits(0);
    wait_until("the shard", || world.starts().len() == 1);
    prune("--yes").fails_with(75, "JOB_RUNNING");
    world.open_gate("all");
    let wait = coordinator.ask().petctl("status").args(["aside", "--wait"]);
    wait.run().exits(0);
    worker.terminate();
    coordinator.terminate();
    world.finish();
}
