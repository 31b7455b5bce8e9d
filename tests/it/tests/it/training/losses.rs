//! Workers, processes and coordinators that die or stand still in the middle of training.

use super::{Crew, all_alive, gone, number};
use petctl_test_it::{
    Training, World, continue_, is_alive, kill, processes_with, stop, wait_for, wait_until,
};
use serde_json::Value;

/// The newest first cause, once it is known.
fn cause(crew: &Crew<'_>) -> Value {
    crew.training_when("a first cause", |training| {
        training["causes"][0].is_object()
    })["causes"][0]
        .clone()
}

/// A new group after the loss of the worker that holds a rank: the others, in their order, from the newest checkpoint.
fn a_worker_is_killed(name: &str, rank: usize) {
    let world = World::new();
    world.expect_warning("a worker is lost");
    let training = Training::new(name, 1, 3).with("processes_per_worker = 2\nmax_restarts = 0");
    let mut crew = Crew::start(&world, &training, &["one", "two", "three"]);
    let first = world.group_after(0, 6);
    crew.save(&first, 4);
    let lost = crew.name_of(&first, rank);
    let id = crew.id(&lost);
    crew.kill(&lost);
    let second = world.group_after(first.epoch, 4);
    gone(&first);
    wait_until("end of all that the lost worker had started", || {
        processes_with("PETCTL_WORKER_ID", &id).is_empty()
    });
    let survivors: Vec<String> = first
        .workers()
        .into_iter()
        .filter(|worker| *worker != id)
        .collect();
    assert_eq!(second.workers(), survivors, "survivors keep their order");
    assert!(
        second.ranks.iter().all(|rank| rank.resume_step == Some(4)),
        "{second:#?}"
    );
    assert!(
        second.ranks.iter().all(|rank| rank.number("restarts") == 0),
        "a lost worker costs no restart: {second:#?}"
    );
    let cause = cause(&crew);
    assert_eq!(cause["charged"], "worker_lost", "{cause}");
    assert_eq!(cause["worker"], lost.as_str(), "{cause}");
    // Another one may come in its place.
    crew.hire("four");
    world.order_once(second.epoch, 0, "save 6");
    let third = world.group_after(second.epoch, 6);
    assert_eq!(third.workers()[..2], survivors[..]);
    crew.end();
    world.finish();
}

#[test]
fn a_group_goes_on_without_the_killed_worker_of_rank_0() {
    a_worker_is_killed("first-dies", 0);
}

#[test]
fn a_group_goes_on_without_a_killed_worker_that_is_not_rank_0s() {
    a_worker_is_killed("other-dies", 2);
}

#[test]
fn one_killed_process_restarts_the_whole_group_and_is_named() {
    let world = World::new();
    world.expect_warning("a rank failed");
    let training = Training::new("one-dies", 2, 2).with("processes_per_worker = 2");
    let crew = Crew::start(&world, &training, &["one", "two"]);
    let first = world.group_after(0, 4);
    crew.save(&first, 8);
    assert!(kill(first.ranks[2].pid));
    let second = world.group_after(first.epoch, 4);
    gone(&first);
    assert_eq!(second.workers(), first.workers());
    for rank in &second.ranks {
        assert_eq!((rank.number("restarts"), rank.resume_step), (1, Some(8)));
    }
    let cause = cause(&crew);
    assert_eq!(
        (&cause["rank"], &cause["code"], &cause["signal"]),
        (&2.into(), &"RANK_SIGNALLED".into(), &9.into()),
        "{cause}"
    );
    assert_eq!(cause["charged"], "restart", "{cause}");
    let message = cause["message"].as_str().unwrap_or_default();
    assert!(message.contains("SIGKILL"), "{cause}");
    crew.end();
    world.finish();
}

/// SIGSTOP of an agent and of all that it started.
fn freeze(crew: &mut Crew<'_>, name: &str) -> Vec<u32> {
    let mut pids = vec![crew.worker(name).pid()];
    let children = processes_with("PETCTL_WORKER_ID", &crew.id(name));
    pids.extend(children.iter().map(|child| child.pid));
    for pid in &pids {
        stop(*pid);
    }
    pids
}

#[test]
fn a_worker_that_stood_still_is_fenced_and_joins_again_with_new_processes() {
    let world = World::new();
    // It may see a checkpoint of the others in their folder, and tell of it in vain.
    for text in ["a worker is lost", "given up", "STALE_EPOCH"] {
        world.allow_warning(text);
    }
    let training = Training::new("freezes", 1, 3).with("grow = \"now\"");
    let mut crew = Crew::start(&world, &training, &["one", "two", "three"]);
    let first = world.group_after(0, 3);
    crew.save(&first, 2);
    let frozen = crew.name_of(&first, 0);
    let pids = freeze(&mut crew, &frozen);
    let second = world.group_after(first.epoch, 2);
    assert_eq!(second.workers(), first.workers()[1..]);
    assert!(
        second.ranks.iter().all(|rank| rank.resume_step == Some(2)),
        "{second:#?}"
    );
    crew.save(&second, 5);

    for pid in pids {
        continue_(pid);
    }
    let third = world.group_after(second.epoch, 3);
    // The oldest members come first; who was away is new.
    assert_eq!(third.workers()[..2], second.workers()[..]);
    assert!(
        !second.workers().contains(&third.workers()[2]),
        "{third:#?}"
    );
    assert!(
        third.ranks.iter().all(|rank| rank.resume_step == Some(5)),
        "{third:#?}"
    );
    gone(&first);
    gone(&second);
    crew.end();
    world.finish();
}

#[test]
fn a_worker_that_is_told_to_leave_lets_its_ranks_save_and_nothing_is_charged() {
    let world = World::new();
    let training = Training::new("leaves", 1, 3)
        .with("max_restarts = 0")
        .grace("20s");
    let mut crew = Crew::start(&world, &training, &["one", "two", "three"]);
    let three = world.group_after(0, 3);
    crew.save(&three, 3);
    // Rank 0 saves in its SIGTERM handler.
    world.order("term", "[ $RANK != 0 ] || { sleep 0.3; save 11; }");
    let leaving = crew.name_of(&three, 0);
    crew.dismiss(&leaving);
    let two = world.group_after(three.epoch, 2);
    gone(&three);
    assert_eq!(two.workers(), three.workers()[1..]);
    for rank in &two.ranks {
        assert_eq!(
            (rank.resume_step, rank.number("restarts")),
            (Some(11), 0),
            "{rank:?}"
        );
    }
    assert_eq!(world.notes("term").len(), 3, "all were told by SIGTERM");
    assert!(crew.ask().events_of(&crew.job, "group_failed").is_empty());
    let training = crew.training();
    assert_eq!(number(&training["restarts_used"]), 0, "{training}");
    world.order("term", "");
    crew.end();
    world.finish();
}

#[test]
fn training_goes_on_while_the_coordinator_is_dead_and_nothing_is_started_again() {
    let world = World::new();
    let training = Training::new("headless", 2, 2).with("max_restarts = 0");
    let mut crew = Crew::start(&world, &training, &["one", "two"]);
    let group = world.group_after(0, 2);
    crew.save(&group, 1);
    crew.coordinator.kill();
    // What is said to be complete while nobody hears it counts later.
    world.order_once(group.epoch, 0, "save 2; echo > orders/saved");
    wait_until("a checkpoint that nobody hears of", || {
        world.job_folder().join("orders/saved").exists()
    });
    crew.coordinator.start_again();
    crew.committed(2);
    crew.save(&group, 3);
    let status = crew.training_when("a group that runs", |training| {
        training["phase"] == "running"
    });
    assert_eq!(number(&status["epoch"]), group.epoch, "{status}");
    assert_eq!(number(&status["restarts_used"]), 0, "{status}");
    assert!(all_alive(&group), "{group:#?}");
    assert_eq!(world.ranks().len(), 2, "nothing was started again");
    // It is a whole coordinator: a loss is handled.
    world.expect_warning("a worker is lost");
    let lost = crew.name_of(&group, 1);
    crew.kill(&lost);
    crew.hire("new");
    world.group_after(group.epoch, 2);
    crew.end();
    world.finish();
}

#[test]
fn a_worker_that_died_while_the_coordinator_was_dead_is_found_lost() {
    let world = World::new();
    for text in ["a worker is lost", "did not come back"] {
        world.allow_warning(text);
    }
    let training = Training::new("both", 1, 2);
    let mut crew = Crew::start(&world, &training, &["one", "two"]);
    let first = world.group_after(0, 2);
    crew.save(&first, 6);
    crew.coordinator.kill();
    let lost = crew.name_of(&first, 0);
    crew.kill(&lost);
    crew.coordinator.start_again();
    let second = world.group_after(first.epoch, 1);
    gone(&first);
    assert_eq!(second.workers(), first.workers()[1..]);
    assert_eq!(second.ranks[0].resume_step, Some(6));
    crew.end();
    world.finish();
}

#[test]
fn a_training_whose_every_process_was_killed_goes_on_from_its_newest_checkpoint() {
    let world = World::new();
    // The coordinator may live a moment longer than its workers.
    world.expect_warning("a worker is lost");
    let file = Training::new("power", 2, 2).write(&world);
    let mut run = world.run(&file).spawn();
    let ask = world.ask();
    let first = world.group_after(0, 2);
    for step in [10, 20] {
        world.order_once(first.epoch, 0, &format!("save {step}"));
        ask.status_when("power", "a committed checkpoint", |status| {
            status["training"][0]["checkpoints"][0]["step"] == step
        });
    }
    // Half a checkpoint: it is never handed out.
    world.order_once(
        first.epoch,
        0,
        "echo half > \"$PETCTL_CHECKPOINT_DIR/step-30\"; echo > orders/half",
    );
    wait_until("half a checkpoint", || {
        world.job_folder().join("orders/half").exists()
    });
    world.kill_everything();
    run.kill();
    gone(&first);
    ask.petctl("status").arg("power").run().exits(75);

    let run = world.run(&file).spawn();
    let second = world.group_after(first.epoch, 2);
    for rank in &second.ranks {
        assert_eq!(
            (rank.resume_step, rank.number("restarts")),
            (Some(20), 0),
            "{rank:?}"
        );
        assert!(rank.field("resume_from").ends_with("step-20"), "{rank:?}");
    }
    world.order("end", "");
    run.wait().exits(0);
    world.verify_epochs();
    world.run(&file).run().exits(0).says("nothing to do");
    assert_eq!(world.ranks().len(), 4);
    world.finish();
}

#[test]
fn a_killed_local_worker_is_replaced_and_the_group_is_whole_again() {
    let world = World::new();
    world.expect_warning("a worker is lost");
    let file = Training::new("local", 1, 2)
        .with("grow = \"now\"")
        .write(&world);
    let run = world.run(&file).spawn();
    let ask = world.ask();
    let first = world.group_after(0, 2);
    let (_, id, pid) = wait_for("the worker of rank 0", || {
        let members = ask.members("local");
        members
            .into_iter()
            .find(|(_, id, _)| *id == first.ranks[0].worker)
    });
    assert!(kill(pid));
    let last = wait_for("a whole group with a new worker", || {
        let ranks = world.ranks();
        let epoch = ranks.iter().map(|rank| rank.epoch).max()?;
        let whole: Vec<_> = ranks
            .into_iter()
            .filter(|rank| rank.epoch == epoch && rank.world == 2)
            .collect();
        let new = epoch > first.epoch && whole.iter().all(|rank| rank.worker != id);
        (whole.len() == 2 && new).then_some(whole)
    });
    assert!(!is_alive(first.ranks[0].pid) || !first.ranks[0].is_alive());
    world.order("end", "");
    run.wait().exits(0);
    world.verify_epochs();
    assert!(last.iter().all(|rank| rank.number("restarts") == 0));
    world.finish();
}
