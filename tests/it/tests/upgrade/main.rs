//! This petctl beside the release before, both ways: coordinators, workers, launchers and what they leave.

use petctl_test_it::{
    Coordinator, Job, Stage, Training, World, is_alive, petctl, petctl_before, verify_commits,
    verify_outputs, wait_until,
};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Both programs, each once as the newer side's.
fn both_ways() -> [(&'static Path, &'static Path); 2] {
    [(petctl_before(), petctl()), (petctl(), petctl_before())]
}

/// The one copy of a log in another format.
fn copy_beside(state: &Path) -> Option<std::path::PathBuf> {
    let files = fs::read_dir(state)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut copies =
        files.filter(|path| path.to_string_lossy().contains("coordinator.redb.format-"));
    copies.next()
}

#[test]
fn every_command_of_one_release_understands_a_coordinator_and_workers_of_the_other() {
    for (theirs, ours) in both_ways() {
        let world = World::new();
        world.use_petctl(theirs);
        let coordinator = Coordinator::start(&world, None);
        let beside = coordinator.worker("beside", 2);
        world.use_petctl(ours);
        let own = coordinator.worker("own", 2);
        let file = Job::new("mixed")
            .workers(2, 2, 2)
            .stage(Stage::gated(8))
            .write(&world);
        let run = coordinator.run(&file).spawn();
        let ask = coordinator.ask();
        wait_until("four shards that run", || world.starts().len() >= 4);
        let members = ask.members("mixed");
        let members: BTreeSet<&str> = members.iter().map(|member| &*member.0).collect();
        assert_eq!(members, BTreeSet::from(["beside", "own"]));
        world.open_gate("all");
        run.wait().exits(0);
        let keys = Stage::keys(8);
        verify_commits(
            &ask.events("mixed"),
            &verify_outputs(&world.output(), "work", &keys),
            &keys,
        );
        assert_eq!(ask.report("mixed").len(), 8);
        for command in [
            &["status", "mixed"][..],
            &["logs", "mixed"],
            &["explain", "mixed"],
            &["explain", "mixed", &keys[0]],
            &["list"],
            &["delete", "mixed", "--yes"],
        ] {
            let petctl = ask.petctl(command[0]).args(&command[1..]);
            petctl.run().exits(0);
        }
        own.terminate();
        beside.terminate();
        coordinator.terminate();
        world.finish();
    }
}

#[test]
fn a_coordinator_is_upgraded_in_the_middle_of_a_job_and_its_workers_lose_nothing() {
    let world = World::new();
    world.use_petctl(petctl_before());
    let mut coordinator = Coordinator::start(&world, None);
    let older = coordinator.worker("older", 2);
    let file = Job::new("upgraded")
        .workers(1, 2, 2)
        .stage(Stage::gated(8))
        .write(&world);
    // It follows the job through the upgrade, as somebody's who knows nothing of it.
    let run = coordinator.run(&file).spawn();
    wait_until("two shards that run", || world.starts().len() >= 2);
    let first = world.starts();
    world.open_gate(&first[0].key);
    let ask = coordinator.ask();
    ask.status_when("upgraded", "a shard that is done", |status| {
        status["done"] == 1
    });
    wait_until("a third shard", || world.starts().len() >= 3);
    let running: Vec<_> = world
        .starts()
        .into_iter()
        .filter(|start| is_alive(start.pid))
        .collect();
    assert_eq!(running.len(), 2);
    assert!(copy_beside(&coordinator.state()).is_none());

    coordinator.kill();
    world.use_petctl(petctl());
    coordinator.start_again();
    let copy = copy_beside(&coordinator.state());
    assert!(copy.is_some(), "what was there lies beside");
    let newer = coordinator.worker("newer", 2);
    ask.status_when("upgraded", "workers of both releases", |status| {
        status["workers"]["members"]
            .as_array()
            .is_some_and(|members| members.len() == 2)
    });
    for start in &running {
        assert!(
            is_alive(start.pid),
            "the command of {} did not go on",
            start.key
        );
    }
    world.open_gate("all");
    run.wait().exits(0);
    let keys = Stage::keys(8);
    assert_eq!(
        world.starts().len(),
        8,
        "no shard ran twice: {:?}",
        world.starts()
    );
    verify_commits(
        &ask.events("upgraded"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    older.terminate();
    newer.terminate();
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_training_goes_on_while_its_coordinator_is_upgraded_and_the_next_epoch_has_both_releases() {
    let world = World::new();
    world.use_petctl(petctl_before());
    let mut coordinator = Coordinator::start(&world, None);
    let older = coordinator.worker("older", 1);
    let training = Training::new("fit", 1, 2).with("grow = \"now\"");
    let run = coordinator.run(&training.write(&world)).spawn();
    let alone = world.group_after(0, 1);
    coordinator.kill();
    world.use_petctl(petctl());
    coordinator.start_again();
    let ask = coordinator.ask();
    let status = ask.status_when("fit", "a group that runs", |status| {
        status["training"][0]["phase"] == "running" || status["training"]["phase"] == "running"
    });
    assert!(is_alive(alone.ranks[0].pid), "{status}");
    let newer = coordinator.worker("newer", 1);
    let both = world.group_after(alone.epoch, 2);
    assert_eq!(both.ranks.len(), 2);
    world.order("end", "");
    run.wait().exits(0);
    older.terminate();
    newer.terminate();
    coordinator.terminate();
    world.finish();
}

#[test]
fn the_way_back_from_an_upgrade_is_the_copy_beside() {
    let world = World::new();
    world.use_petctl(petctl_before());
    let mut coordinator = Coordinator::start(&world, None);
    let mut run = |coordinator: &Coordinator<'_>, name: &str, says: &str| {
        let worker = coordinator.worker(name, 1);
        let file = Job::new(name)
            .workers(1, 1, 1)
            .output(world.path(&format!("out-{name}")))
            .stage(Stage::script(2, "echo v > $PETCTL_OUTPUT/v"))
            .write(&world);
        coordinator.run(&file).run().exits(0).says(says);
        worker.terminate();
    };
    run(&coordinator, "then", "2 of 2");
    coordinator.process().kill();
    world.use_petctl(petctl());
    coordinator.start_again();
    run(&coordinator, "since", "2 of 2");
    coordinator.kill();

    // The older one leaves alone what it does not understand, and so can the newer one go on.
    world.use_petctl(petctl_before());
    coordinator
        .command()
        .run()
        .fails_with(78, "STATE_VERSION_NEWER");
    world.use_petctl(petctl());
    coordinator.start_again();
    assert_eq!(coordinator.ask().done("since"), 2);
    coordinator.kill();

    let copy = copy_beside(&coordinator.state()).unwrap();
    fs::copy(copy, coordinator.state().join("coordinator.redb")).unwrap();
    world.use_petctl(petctl_before());
    coordinator.start_again();
    assert_eq!(coordinator.ask().done("then"), 2);
    assert!(
        coordinator.ask().try_status("since").is_none(),
        "it came after the upgrade"
    );
    run(&coordinator, "since", "reused");
    coordinator.terminate();
    world.finish();
}

#[test]
fn jobs_of_this_machine_go_on_with_the_petctl_of_today() {
    let world = World::new();
    world.use_petctl(petctl_before());
    let file = Job::new("here")
        .workers(1, 2, 1)
        .stage(Stage::gated(4))
        .write(&world);
    let run = world.run(&file).spawn();
    wait_until("two shards that run", || world.starts().len() >= 2);
    world.use_petctl(petctl());
    let ask = world.ask();
    assert_eq!(ask.state("here"), "running");
    world.open_gate("all");
    ask.petctl("status").args(["here", "--wait"]).run().exits(0);
    run.wait().exits(0);
    // What the older one has left is read and run again from.
    assert_eq!(ask.report("here").len(), 4);
    ask.petctl("logs").arg("here").run().exits(0);
    world
        .run(&file)
        .run()
        .exits(0)
        .says("has succeeded before; nothing to do");
    assert_eq!(world.starts().len(), 4, "nothing ran again");
    world.use_petctl(petctl_before());
    world.run(&file).run().fails_with(78, "STATE_VERSION_NEWER");
    world.finish();
}
