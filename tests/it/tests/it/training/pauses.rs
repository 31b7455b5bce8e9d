//! Training that is suspended, has a deadline, or workers that do not pass the checks.

use super::{Crew, gone, number};
use petctl_test_it::{Training, World, wait_until};

#[test]
fn a_suspended_training_stops_at_no_cost_and_goes_on_from_its_checkpoint() {
    let world = World::new();
    let training = Training::new("paused", 2, 2).with("max_restarts = 0");
    let mut crew = Crew::start(&world, &training, &["one", "two"]);
    let first = world.group_after(0, 2);
    crew.save(&first, 4);
    // The script may save before it ends.
    world.order("term", "[ $RANK != 0 ] || save 5");
    let ask = crew.ask();
    ask.petctl("suspend").arg(&crew.job).run().exits(0);
    ask.status_when(&crew.job, "a suspended job", |status| {
        status["state"] == "suspended"
    });
    gone(&first);
    ask.petctl("suspend")
        .arg(&crew.job)
        .run()
        .exits(0)
        .says("already");
    assert!(crew.run.runs(), "{}", crew.run.stderr());
    // Nor does it go on after the coordinator's restart.
    crew.coordinator.kill();
    crew.coordinator.start_again();
    ask.status_when(&crew.job, "a suspended job", |status| {
        status["state"] == "suspended"
            && status["workers"]["members"]
                .as_array()
                .is_some_and(|members| members.len() == 2)
    });
    assert_eq!(world.ranks().len(), 2);
    ask.petctl("resume").arg(&crew.job).run().exits(0);
    let second = world.group_after(first.epoch, 2);
    for rank in &second.ranks {
        assert_eq!(
            (rank.resume_step, rank.number("restarts")),
            (Some(5), 0),
            "{rank:?}"
        );
    }
    crew.end();
    world.finish();
}

#[test]
fn a_training_that_passes_its_deadline_is_stopped_and_has_failed() {
    let world = World::new();
    let training = Training::new("late", 1, 1).with("deadline = \"1500ms\"");
    let crew = Crew::start(&world, &training, &["one"]);
    let group = world.group_after(0, 1);
    crew.ends_with(1)
        .says("its stage had not ended after 1s500ms");
    gone(&group);
    world.finish();
}

#[test]
fn a_worker_that_fails_its_preflight_is_kept_out_and_the_reason_is_shown() {
    let world = World::new();
    world.expect_warning("PREFLIGHT");
    let preflight = "settle_timeout = \"300ms\"\n\n[workers.preflight]\n\
        command = [\"sh\", \"-c\", \"test ! -e bad || { echo no space for models; exit 3; }\"]\ntimeout = \"10s\"";
    let training = Training::new("checked", 1, 2).pool(preflight);
    std::fs::create_dir_all(world.job_folder()).unwrap();
    let mut crew = Crew::start(&world, &training, &["good"]);
    let group = world.group_after(0, 1);
    std::fs::write(world.job_folder().join("bad"), "").unwrap();
    crew.hire("bad");
    let status = crew
        .ask()
        .status_when(&crew.job, "a worker that is kept out", |status| {
            status["training"][0]["left_out"][0].is_object()
        });
    let shown = status["training"][0]["left_out"].to_string();
    for part in ["PREFLIGHT_FAILED", "bad", "no space for models"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(world.ranks().len(), 1, "the good one goes on: {group:?}");
    crew.end();
    world.finish();
}

#[test]
fn a_preflight_that_asks_for_more_than_there_is_names_what_is_missing() {
    let world = World::new();
    world.expect_warning("PREFLIGHT");
    let training = Training::new("poor", 1, 1)
        .pool("\n[workers.preflight]\nmemory = \"100000GiB\"\ngpus = 77");
    let crew = Crew::start(&world, &training, &["one"]);
    let mut shown = String::new();
    wait_until("a reason why nothing starts", || {
        shown = crew
            .ask()
            .try_status(&crew.job)
            .unwrap_or_default()
            .to_string();
        shown.contains("PREFLIGHT_FAILED")
    });
    assert!(shown.contains("memory") || shown.contains("GPU"), "{shown}");
    assert_eq!(number(&crew.training()["epoch"]), 0);
    crew.ask()
        .petctl("cancel")
        .args([crew.job.as_str()])
        .run()
        .exits(0);
    crew.ends_with(3);
    world.finish();
}
