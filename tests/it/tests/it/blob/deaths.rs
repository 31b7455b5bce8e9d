//! kill -9 at the very moments that matter: the proxy holds a request while somebody is killed.

use super::{close_gates, copies, fill, open_gates, verify};
use petctl_test_it::{
    Azurite, Cloud, Coordinator, Fault, Job, World, kill, verify_visible, wait_until,
};

/// Where a request is held.
struct Moment {
    name: &'static str,
    method: &'static str,
    has: &'static str,
    fault: Fault,
}

const STAGING: Moment = Moment {
    name: "staging",
    method: "GET",
    has: "/in/drive-",
    fault: Fault::Hold,
};
const UPLOADING: Moment = Moment {
    name: "uploading",
    method: "PUT",
    has: "/copy",
    fault: Fault::Hold,
};
const COMMITTING: Moment = Moment {
    name: "committing",
    method: "PUT",
    has: "manifest.json",
    fault: Fault::Hold,
};
/// The commit has taken effect, and the worker does not know it.
const COMMITTED: Moment = Moment {
    name: "committed",
    method: "PUT",
    has: "manifest.json",
    fault: Fault::HoldAnswer,
};

#[test]
fn a_worker_killed_while_it_stages_loses_nothing() {
    worker_killed(&STAGING);
}

#[test]
fn a_worker_killed_while_it_uploads_leaves_nothing_half_written() {
    worker_killed(&UPLOADING);
}

#[test]
fn a_worker_killed_before_its_commit_arrives_is_replaced() {
    worker_killed(&COMMITTING);
}

#[test]
fn a_commit_whose_worker_was_killed_before_the_answer_stands() {
    worker_killed(&COMMITTED);
}

fn worker_killed(moment: &Moment) {
    let world = World::new();
    world.expect_warning("a worker is lost");
    let cloud = Cloud::shared(&world).through_proxy(1);
    let keys = fill(&cloud, 3, 300_000);
    cloud.hold(moment.method, moment.has, moment.fault);
    let file = Job::new(moment.name)
        .workers(1, 2, 1)
        .storage(cloud.storage(true))
        .stage(copies())
        .write(&world);
    let coordinator = Coordinator::start(&world, None);
    let first = coordinator.worker("a", 1);
    let run = coordinator.run(&file).spawn();
    cloud.proxy().wait_held(1);
    kill(first.process.pid());
    let _seen = verify_visible(&cloud.blobs(), "out", "work");
    cloud.proxy().let_go();
    let second = coordinator.worker("b", 1);
    run.wait().exits(0);
    let ask = coordinator.ask();
    verify(&ask, moment.name, &cloud.blobs(), "work", &keys);
    for row in ask.report(moment.name) {
        for kind in ["failed", "timed_out", "infrastructure"] {
            assert_eq!(row["failures"][kind], 0, "{row}");
        }
    }
    drop(first);
    second.terminate();
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_coordinator_killed_while_outputs_are_uploaded_comes_back_to_them() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    let keys = fill(&cloud, 3, 300_000);
    cloud.hold(UPLOADING.method, UPLOADING.has, UPLOADING.fault);
    let file = Job::new("away")
        .workers(1, 1, 1)
        .storage(cloud.storage(true))
        .stage(copies())
        .write(&world);
    let mut coordinator = Coordinator::start(&world, None);
    let worker = coordinator.worker("a", 1);
    let run = coordinator.run(&file).spawn();
    cloud.proxy().wait_held(1);
    coordinator.kill();
    cloud.proxy().let_go();
    coordinator.start_again();
    let ran = run.wait();
    // The launcher may have given up on its coordinator; the same command goes on.
    if ran.exit != Some(0) {
        coordinator.run(&file).run().exits(0);
    }
    verify(&coordinator.ask(), "away", &cloud.blobs(), "work", &keys);
    worker.terminate();
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_service_that_is_killed_and_comes_back_costs_no_shard() {
    let world = World::new();
    let azurite = Azurite::start();
    let cloud = Cloud::on(&azurite, &world);
    let keys = fill(&cloud, 4, 300_000);
    close_gates(&world);
    let file = Job::new("gone")
        .workers(1, 2, 1)
        .storage(cloud.storage(true))
        .stage(copies().with("budgets = { infrastructure = 100 }"))
        .write(&world);
    let run = world.run(&file).spawn();
    wait_until("two shards that run", || world.starts().len() >= 2);
    azurite.kill();
    open_gates(&world);
    let ask = world.ask();
    // It is away while outputs are sent.
    wait_until("commands that have ended", || {
        world
            .starts()
            .iter()
            .take(2)
            .all(|start| !petctl_test_it::is_alive(start.pid))
    });
    azurite.start_again();
    run.wait().exits(0);
    verify(&ask, "gone", &cloud.blobs(), "work", &keys);
    for row in ask.report("gone") {
        assert_eq!(row["failures"]["failed"], 0, "{row}");
    }
    world.finish();
}
