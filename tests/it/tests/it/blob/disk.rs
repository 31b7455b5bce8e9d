//! A scratch disk that is full.

use super::{copies, fill, verify};
use petctl_test_it::{Cloud, Coordinator, Job, World};

#[test]
fn a_full_scratch_disk_is_not_the_shards_fault_and_the_job_goes_on_when_there_is_space() {
    let world = World::new();
    let Some(disk) = world.mount("scratch", 2 * 1_024) else {
        return world.finish();
    };
    world.expect_warning("staging failed");
    let cloud = Cloud::shared(&world);
    let keys = fill(&cloud, 2, 3_000_000);
    let file = Job::new("full")
        .storage(cloud.storage(true))
        .stage(copies().with("budgets = { infrastructure = 0 }"))
        .write(&world);
    let coordinator = Coordinator::start(&world, None);
    let worker = world
        .petctl()
        .arg("worker")
        .args(coordinator.connect())
        .args(["--name", "a", "--slots", "1", "--scratch"])
        .arg(disk.folder())
        .spawn();
    coordinator.run(&file).run().exits(1).says("No space left");
    let ask = coordinator.ask();
    for row in ask.report("full") {
        assert_eq!(row["error"]["code"], "DISK_FULL", "{row}");
        assert_eq!(row["failures"]["failed"], 0, "{row}");
    }
    disk.grow(64 * 1_024);
    coordinator.run(&file).run().exits(0);
    verify(&ask, "full", &cloud.blobs(), "work", &keys);
    petctl_test_it::WorkerProcess { process: worker }.terminate();
    coordinator.terminate();
    world.finish();
}

#[test]
fn an_input_larger_than_what_may_be_staged_is_refused_by_name() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    fill(&cloud, 1, 3_000_000);
    let storage = format!("{}stage_bytes = \"1MiB\"\n", cloud.storage(true));
    let file = Job::new("large")
        .storage(storage)
        .stage(copies().with("retries = 0\nbudgets = { infrastructure = 0 }"))
        .write(&world);
    world.run(&file).run().exits(1);
    let row = world.ask().shard("large", "drive-000");
    assert_eq!(row["error"]["code"], "INPUT_TOO_LARGE", "{row}");
    world.finish();
}

#[test]
fn inputs_that_do_not_all_fit_are_staged_one_after_the_other() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let keys = fill(&cloud, 8, 900_000);
    let storage = format!("{}stage_bytes = \"2MiB\"\n", cloud.storage(true));
    let file = Job::new("tight")
        .workers(1, 1, 1)
        .storage(storage)
        .stage(copies())
        .write(&world);
    world.run(&file).run().exits(0);
    verify(&world.ask(), "tight", &cloud.blobs(), "work", &keys);
    world.finish();
}
