//! What removes many blobs is stopped by Ctrl-C, says how far it came, and goes on.

use super::copies;
use petctl_test_it::{Cloud, Fault, Job, Matching, Petctl, World};
use rustix::process::Signal;

/// Lets so many blobs go, and stops the command while it removes the next ones.
fn stop_after(cloud: &Cloud<'_>, gone: u32, command: Petctl<'_>) {
    let proxy = cloud.proxy();
    let deletes = || Matching::of("DELETE", "");
    proxy.strike(deletes(), Fault::Pass, gone);
    proxy.strike_all(deletes(), Fault::Hold);
    let mut running = command.spawn();
    proxy.wait_held(1);
    running.signal(Signal::INT);
    running
        .wait()
        .exits(130)
        .says("files are gone; the same command");
    proxy.let_go();
    proxy.calm();
}

#[test]
fn a_removal_that_is_stopped_says_how_far_it_came_and_goes_on() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    let names: Vec<String> = (0..50).map(|number| format!("f{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    cloud.fill(&names, 10);
    let remove = || {
        let remove = world
            .petctl()
            .args(["storage", "rm", "--recursive", "--yes"]);
        let remove = remove.arg(cloud.address("in"));
        remove.args(["--endpoint", &cloud.endpoint()])
    };
    stop_after(&cloud, 10, remove());
    remove().run().exits(0).says(" removed");
    assert!(cloud.blobs().list("in/").is_empty());
    world.finish();
}

#[test]
fn a_job_whose_deletion_was_stopped_is_deleted_by_the_same_command() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    super::fill(&cloud, 12, 100);
    let file = Job::new("doomed")
        .workers(1, 1, 4)
        .storage(cloud.storage(true))
        .stage(copies())
        .write(&world);
    world.run(&file).run().exits(0);
    let delete = || world.petctl().args(["delete", "doomed", "--yes"]);
    stop_after(&cloud, 10, delete());
    delete().run().exits(0).says("doomed: deleted, with ");
    let left = cloud.blobs().list("out/");
    assert!(left.is_empty(), "{left:?}");
    world.petctl().args(["status", "doomed"]).run().exits(66);
    world.finish();
}
