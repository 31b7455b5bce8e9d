//! Groups that grow and shrink while they live.

use super::{Crew, all_alive, gone, number};
use petctl_test_it::{RankGroup, Training, World, wait_until};

fn pool_of(name: &str, grow: &str) -> Training {
    Training::new(name, 1, 4)
        .pool("wanted = 2\nsettle_timeout = \"1h\"")
        .with(&format!("grow = {grow:?}"))
}

fn scale(crew: &Crew<'_>, workers: &str) {
    crew.ask()
        .petctl("scale")
        .args([&crew.job, "--workers", workers])
        .run()
        .exits(0);
}

fn assert_resumes_at(group: &RankGroup, step: u64) {
    for rank in &group.ranks {
        assert_eq!(rank.resume_step, Some(step), "{rank:?}");
        assert!(
            rank.field("resume_from").ends_with(&format!("step-{step}")),
            "{rank:?}"
        );
    }
}

fn assert_costs_nothing(crew: &Crew<'_>, group: &RankGroup) {
    for rank in &group.ranks {
        assert_eq!(rank.number("restarts"), 0, "{rank:?}");
    }
    let training = crew.training();
    assert_eq!(number(&training["restarts_used"]), 0, "{training}");
    let failed = crew.ask().events_of(&crew.job, "group_failed");
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_group_that_grows_at_once_goes_on_from_the_newest_checkpoint() {
    let world = World::new();
    let mut crew = Crew::start(&world, &pool_of("grows", "now"), &["one", "two"]);
    let two = world.group_after(0, 2);
    crew.save(&two, 5);
    crew.save(&two, 10);
    scale(&crew, "4");
    crew.hire_all(&["three", "four"]);
    let four = world.group_after(two.epoch, 4);
    gone(&two);
    assert_eq!(
        four.workers()[..2],
        two.workers()[..],
        "the old ones keep their ranks"
    );
    assert_resumes_at(&four, 10);
    assert_costs_nothing(&crew, &four);
    crew.end();
    world.finish();
}

#[test]
fn a_group_that_grows_at_checkpoints_loses_no_step() {
    let world = World::new();
    let mut crew = Crew::start(&world, &pool_of("waits", "checkpoint"), &["one", "two"]);
    let two = world.group_after(0, 2);
    crew.save(&two, 5);
    scale(&crew, "4");
    crew.hire_all(&["three", "four"]);
    crew.training_when("two workers that wait for a checkpoint", |training| {
        training["joining"] == 2
    });
    assert!(all_alive(&two), "growing waits");
    assert_eq!(world.ranks().len(), 2);
    // What it stops for is the checkpoint itself: nothing is done after it that could be lost.
    world.order_once(two.epoch, 0, "save 9");
    let four = world.group_after(two.epoch, 4);
    gone(&two);
    assert_eq!(four.workers()[..2], two.workers()[..]);
    assert_resumes_at(&four, 9);
    assert_costs_nothing(&crew, &four);
    crew.end();
    world.finish();
}

#[test]
fn a_scaled_down_group_lets_its_newest_worker_go_and_loses_no_committed_step() {
    let world = World::new();
    let training = Training::new("shrinks", 1, 4);
    let mut crew = Crew::start(&world, &training, &["one", "two", "three", "four"]);
    let four = world.group_after(0, 4);
    crew.save(&four, 7);
    scale(&crew, "3");
    let three = world.group_after(four.epoch, 3);
    gone(&four);
    assert_eq!(
        three.workers(),
        four.workers()[..3],
        "the newest goes, the others keep their order"
    );
    assert_resumes_at(&three, 7);
    assert_costs_nothing(&crew, &three);
    let left = crew.name_of(&four, 3);
    wait_until("the worker that is too many to be gone", || {
        !crew.worker(&left).runs()
    });
    crew.end();
    world.finish();
}

#[test]
fn a_drained_worker_leaves_its_group_at_no_cost() {
    let world = World::new();
    let training = Training::new("drains", 1, 3).with("max_restarts = 0");
    let mut crew = Crew::start(&world, &training, &["one", "two", "three"]);
    let three = world.group_after(0, 3);
    crew.save(&three, 3);
    let name = crew.name_of(&three, 1);
    crew.ask()
        .petctl("drain")
        .args([crew.job.as_str(), name.as_str()])
        .run()
        .exits(0)
        .says(&name);
    let two = world.group_after(three.epoch, 2);
    gone(&three);
    let workers = three.workers();
    assert_eq!(two.workers(), [workers[0].clone(), workers[2].clone()]);
    assert_resumes_at(&two, 3);
    assert_costs_nothing(&crew, &two);
    wait_until("the drained worker to be gone", || {
        !crew.worker(&name).runs()
    });
    let ran = crew
        .ask()
        .petctl("drain")
        .args([crew.job.as_str(), "nobody"])
        .run();
    assert_ne!(ran.exit, Some(0), "{ran}");
    assert!(ran.stderr.contains("nobody"), "{ran}");
    crew.end();
    world.finish();
}
