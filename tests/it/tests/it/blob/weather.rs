//! A service that answers badly, late or not at all.

use super::{copies, fill, verify};
use petctl_test_it::{Cloud, Fault, Job, Matching, World, verify_visible, wait_until};

/// A job of so many shards through a proxy that was prepared; every shard is committed once, and none is charged.
fn runs_through(name: &str, prepare: impl FnOnce(&Cloud<'_>)) {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    let keys = fill(&cloud, 4, 400_000);
    prepare(&cloud);
    let file = Job::new(name)
        .workers(1, 2, 1)
        .storage(cloud.storage(true))
        .stage(copies())
        .write(&world);
    world.run(&file).run().exits(0);
    let ask = world.ask();
    verify(&ask, name, &cloud.blobs(), "work", &keys);
    for row in ask.report(name) {
        assert_eq!(row["failures"]["failed"], 0, "{row}");
        assert_eq!(
            row["attempts"], 1,
            "it was worth a retry of the request, not of the shard: {row}"
        );
    }
    assert_eq!(world.starts().len(), keys.len());
    world.finish();
}

#[test]
fn answers_that_are_lost_after_they_took_effect_double_nothing() {
    runs_through("lost", |cloud| {
        let proxy = cloud.proxy();
        proxy.strike(Matching::of("PUT", "manifest.json"), Fault::LoseAnswer, 2);
        proxy.strike(Matching::of("PUT", "/copy"), Fault::LoseAnswer, 2);
    });
}

#[test]
fn a_service_that_is_busy_or_broken_for_a_moment_is_asked_again() {
    runs_through("busy", |cloud| {
        for (status, has) in [(429, "/in/"), (500, "/copy"), (503, "manifest.json")] {
            cloud
                .proxy()
                .strike(Matching::has(has), Fault::refuse(status), 2);
        }
    });
}

#[test]
fn bodies_that_break_off_are_not_taken_for_whole() {
    runs_through("cut", |cloud| {
        let proxy = cloud.proxy();
        proxy.strike(Matching::of("GET", "/in/drive"), Fault::CutAnswer, 2);
        proxy.strike(Matching::of("PUT", "/copy"), Fault::CutRequest, 2);
    });
}

#[test]
fn a_slow_service_is_waited_for() {
    runs_through("slow", |cloud| {
        let proxy = cloud.proxy();
        proxy.strike(Matching::of("GET", "/in/drive"), Fault::Slow(400), 2);
        proxy.strike(Matching::of("PUT", "/copy"), Fault::Slow(400), 2);
    });
}

#[test]
fn a_service_that_stays_broken_is_said_and_not_charged_to_the_shard() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    let keys = fill(&cloud, 2, 1_000);
    let broken = Matching::of("PUT", "/copy");
    cloud.proxy().strike_all(broken, Fault::refuse(500));
    let file = Job::new("broken")
        .storage(cloud.storage(true))
        .stage(copies().with("budgets = { infrastructure = 0 }"))
        .write(&world);
    world.run(&file).run().exits(1);
    let ask = world.ask();
    for row in ask.report("broken") {
        assert_eq!(row["error"]["code"], "STORAGE_UNAVAILABLE", "{row}");
        assert_eq!(row["failures"]["failed"], 0, "{row}");
        assert_eq!(row["failures"]["infrastructure"], 1, "{row}");
    }
    assert!(verify_visible(&cloud.blobs(), "out", "work").is_empty());
    cloud.proxy().calm();
    world.run(&file).run().exits(0);
    verify(&ask, "broken", &cloud.blobs(), "work", &keys);
    world.finish();
}

#[test]
fn a_container_deleted_under_the_job_is_named_and_the_job_goes_on_when_it_is_back() {
    let world = World::new();
    world.expect_warning("could not send a log");
    let cloud = Cloud::shared(&world);
    let keys = fill(&cloud, 3, 1_000);
    super::close_gates(&world);
    let file = Job::new("deleted")
        .workers(1, 1, 3)
        .storage(cloud.storage(true))
        .stage(copies().with("budgets = { infrastructure = 1 }"))
        .write(&world);
    let run = world.run(&file).spawn();
    wait_until("three shards that run", || world.starts().len() == 3);
    cloud.blobs().delete_container();
    super::open_gates(&world);
    let ran = run.wait().exits(1);
    let container = cloud.blobs().container().to_owned();
    let said = world.ask().report("deleted");
    for row in &said {
        assert_eq!(row["error"]["code"], "STORAGE_NOT_FOUND", "{row}");
        let message = row["error"]["message"].as_str().unwrap();
        assert!(message.contains(&container), "{row}");
    }
    ran.says(&format!("the container {container} is not there"));
    cloud.blobs().create();
    fill(&cloud, 3, 1_000);
    world.run(&file).run().exits(0);
    verify(&world.ask(), "deleted", &cloud.blobs(), "work", &keys);
    world.finish();
}
