//! `[setup]`: once per worker, and its failure is nobody's shard's.

use petctl_test_it::{Coordinator, Job, Stage, World, wait_until};
use std::fs;

#[test]
fn setup_runs_once_per_worker_and_a_worker_on_which_it_fails_stays_out() {
    let world = World::new();
    world.expect_warning("setup");
    world.expect_warning("SETUP_FAILED");
    world.script(
        "prepare.sh",
        "echo once >> prepared\n[ ! -e broken ] || { echo no wheel for this; exit 3; }",
    );
    let file = Job::new("prepared")
        .workers(1, 2, 1)
        .with("[setup]\ncommand = [\"./prepare.sh\"]\ntimeout = \"30s\"")
        .stage(Stage::gated(6))
        .write(&world);
    let coordinator = Coordinator::start(&world, None);
    let prepared = || fs::read_to_string(world.job_folder().join("prepared")).unwrap_or_default();
    fs::write(world.job_folder().join("broken"), "").unwrap();
    let broken = coordinator.worker("broken", 1);
    let run = coordinator.run(&file).spawn();
    let ask = coordinator.ask();
    let status = ask.status_when("prepared", "the failure of setup", |status| {
        status.to_string().contains("SETUP_FAILED")
    });
    assert!(status.to_string().contains("no wheel for this"), "{status}");
    assert!(world.starts().is_empty());
    fs::remove_file(world.job_folder().join("broken")).unwrap();
    let good = coordinator.worker("good", 1);
    wait_until("a shard that runs", || !world.starts().is_empty());
    world.open_gate("all");
    run.wait().exits(0);
    assert_eq!(
        prepared().lines().count(),
        2,
        "once on each worker, not per shard"
    );
    for row in ask.report("prepared") {
        assert_eq!(row["attempts"], 1, "{row}");
    }
    for worker in [broken, good] {
        worker.terminate();
    }
    coordinator.terminate();
    world.finish();
}
