//! First causes, used up budgets, hangs, and workers that are left out.

use super::{Crew, gone, logs_of, number};
use petctl_test_it::{Training, World, wait_until};
use std::fs;

#[test]
fn the_rank_that_failed_first_is_named_and_those_that_followed_are_folded_under_it() {
    let world = World::new();
    world.expect_warning("a rank failed");
    let training = Training::new("first", 3, 3).with("max_restarts = 0");
    let mut crew = Crew::start(&world, &training, &["one", "two", "three"]);
    let group = world.group_after(0, 3);
    // The others fail because it did, as a collective would.
    for rank in [0, 2] {
        let follow =
            "while [ ! -e orders/boom ]; do sleep 0.02; done; sleep 0.3; echo collateral; exit 1";
        world.order_once(group.epoch, rank, follow);
    }
    let body = "echo out of memory on this one >&2; echo > orders/boom; exit 7";
    world.order_once(group.epoch, 1, body);
    let host = crew.name_of(&group, 1);
    let ask = crew.ask();
    let status = ask.status_when("first", "a failed job", |status| {
        status["state"] == "failed"
    });
    let cause = &status["training"][0]["causes"][0];
    assert_eq!(
        (&cause["rank"], &cause["exit_code"], &cause["code"]),
        (&1.into(), &7.into(), &"RANK_FAILED".into()),
        "{cause}"
    );
    assert_eq!(cause["worker"], host.as_str(), "{cause}");
    let tail = cause["log_tail"].as_str().unwrap_or_default();
    assert!(tail.contains("out of memory on this one"), "{cause}");
    let verdict = status["message"].as_str().unwrap_or_default();
    assert!(verdict.contains("rank 1"), "verdict: {verdict}");
    for command in ["status", "explain"] {
        let ran = ask.petctl(command).arg("first").run();
        assert!(
            ran.stdout.contains("rank 1") && ran.stdout.contains("exited with 7"),
            "{ran}"
        );
    }
    let failed = ask.events_of("first", "group_failed");
    assert_eq!(failed.len(), 1, "one cause for one failure: {failed:#?}");
    assert!(failed[0].text.contains("rank 1"), "{failed:?}");
    let log = crew.coordinator.process().stderr();
    assert!(
        log.lines()
            .any(|line| line.contains("rank 1") || line.contains("rank=1")),
        "{log}"
    );
    crew.ends_with(1)
        .says("rank 1")
        .says("exited with 7")
        .says("out of memory on this one");
    world.finish();
}

#[test]
fn a_used_up_budget_ends_the_job_and_running_it_again_starts_with_a_fresh_one() {
    let world = World::new();
    world.expect_warning("a rank failed");
    let file = Training::new("budget", 1, 1)
        .with("max_restarts = 1")
        .write(&world);
    world.order("all.0", "exit 9");
    world.run(&file).run().exits(1).says("exited with 9");
    assert_eq!(world.ranks().len(), 2, "one start and one restart");
    world
        .ask()
        .petctl("status")
        .arg("budget")
        .run()
        .exits(1)
        .says("exited with 9");
    fs::remove_file(world.job_folder().join("orders/all.0")).unwrap();
    world.order("end", "");
    world.run(&file).run().exits(0);
    let last = world.ranks().pop().unwrap();
    assert_eq!(last.number("restarts"), 0);
    world.verify_epochs();
    world.finish();
}

#[test]
fn lost_workers_have_a_budget_of_their_own() {
    let world = World::new();
    world.expect_warning("a worker is lost");
    let training =
        Training::new("losses", 1, 3).with("max_restarts = 5\nbudgets = { worker_lost = 1 }");
    let mut crew = Crew::start(&world, &training, &["one", "two", "three"]);
    let first = world.group_after(0, 3);
    let lost = crew.name_of(&first, 2);
    crew.kill(&lost);
    let second = world.group_after(first.epoch, 2);
    let lost = crew.name_of(&second, 1);
    crew.kill(&lost);
    let ran = crew.ends_with(1).says(&lost);
    assert!(
        ran.stderr.contains("lost") || ran.stdout.contains("lost"),
        "{ran}"
    );
    gone(&second);
    world.finish();
}

#[test]
fn a_group_in_which_nothing_happens_is_restarted_with_its_stacks_in_the_log() {
    let world = World::new();
    // A sign of life each: output of one, the heartbeat file of the other.
    let busy = "while [ ! -e orders/end ]; do\n\
        if [ -e orders/hang ] && [ $TORCHELASTIC_RESTART_COUNT = 0 ]; then sleep 1000; fi\n\
        if [ $RANK = 0 ]; then echo step; else echo > \"$PETCTL_HEARTBEAT_FILE\"; fi\n\
        echo >> signs.$RANK; sleep 0.1; done";
    let training = Training::new("hangs", 2, 2)
        .script(busy)
        .with("progress_timeout = \"1500ms\"\nmax_restarts = 1");
    let crew = Crew::start(&world, &training, &["one", "two"]);
    let first = world.group_after(0, 2);
    // One each 100 ms, so they last longer than the timeout: life is noticed.
    wait_until("25 signs of life of each rank", || {
        (0..2).all(|rank| {
            let signs = fs::read(world.job_folder().join(format!("signs.{rank}")));
            signs.is_ok_and(|lines| lines.len() >= 25)
        })
    });
    assert_eq!(world.ranks().len(), 2, "a living group was restarted");
    world.order("hang", "");
    let second = world.group_after(first.epoch, 2);
    gone(&first);
    assert_eq!(second.ranks[0].number("restarts"), 1);
    let training = crew.training();
    let cause = &training["causes"][0];
    assert_eq!(
        (&cause["code"], &cause["charged"]),
        (&"RANK_HUNG".into(), &"restart".into()),
        "{cause}"
    );
    let log = logs_of(&crew, first.epoch, 0);
    assert!(log.contains("stacks of rank 0"), "{log}");
    crew.end();
    world.finish();
}

#[test]
fn a_worker_whose_ranks_keep_failing_is_left_out_with_the_reason() {
    let world = World::new();
    world.expect_warning("a rank failed");
    let training = Training::new("bad-node", 1, 3)
        .pool("wanted = 2\nspares = 1")
        .with("max_restarts = 10\nexclude_after = 2\ngrow = \"now\"");
    let mut crew = Crew::start(&world, &training, &["one", "two"]);
    let first = world.group_after(0, 2);
    crew.hire("three");
    crew.ask().status_when(&crew.job, "a spare", |status| {
        status["workers"]["members"]
            .as_array()
            .is_some_and(|members| members.len() == 3)
    });
    let bad = crew.name_of(&first, 1);
    let bad_id = crew.id(&bad);
    world.order(
        "all.1",
        &format!("[ $PETCTL_WORKER_ID != {bad_id} ] || exit 5"),
    );
    let status = crew.training_when("a worker that is left out", |training| {
        training["left_out"][0].is_object()
    });
    let shown = status["left_out"].to_string();
    assert!(shown.contains(&bad), "{shown}");
    let last = world.group_after(first.epoch + 1, 2);
    assert!(last.of(&bad_id).is_empty(), "{last:#?}");
    assert!(number(&crew.training()["restarts_used"]) >= 2);
    crew.end();
    world.finish();
}
