//! How groups form.

use super::{Crew, all_alive, gone, logs_of, number};
use petctl_test_it::{Training, World, wait_for, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

fn environment_of(world: &World, rank: u32) -> BTreeMap<String, String> {
    let path = world.job_folder().join(format!("env.{rank}"));
    let text = wait_for("the environment of a rank", || {
        let text = fs::read_to_string(&path).ok()?;
        text.ends_with("end-of-environment\n").then_some(text)
    });
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn a_group_has_torchruns_whole_environment_with_unique_ranks() {
    let world = World::new();
    let training = Training::new("forms", 2, 2).with("processes_per_worker = 2\nmax_restarts = 5");
    let crew = Crew::start(&world, &training, &["one", "two"]);
    let group = world.group_after(0, 4);
    for rank in &group.ranks {
        let number = rank.rank;
        world.order_once(
            group.epoch,
            number,
            &format!("{{ env; echo end-of-environment; }} > env.{number}"),
        );
    }
    let mut error_files = BTreeSet::new();
    let mut run_ids = BTreeSet::new();
    for rank in 0..4_u32 {
        let found = environment_of(&world, rank);
        let text = |name: &str| {
            found
                .get(name)
                .unwrap_or_else(|| panic!("rank {rank} has no {name}: {found:#?}"))
                .as_str()
        };
        let (worker, local) = ((rank / 2).to_string(), (rank % 2).to_string());
        let expected = [
            ("RANK", rank.to_string()),
            ("LOCAL_RANK", local),
            ("WORLD_SIZE", "4".to_owned()),
            ("LOCAL_WORLD_SIZE", "2".to_owned()),
            ("GROUP_RANK", worker),
            ("GROUP_WORLD_SIZE", "2".to_owned()),
            ("ROLE_NAME", "default".to_owned()),
            ("ROLE_RANK", rank.to_string()),
            ("ROLE_WORLD_SIZE", "4".to_owned()),
            ("MASTER_ADDR", "127.0.0.1".to_owned()),
            ("TORCHELASTIC_RESTART_COUNT", "0".to_owned()),
            ("TORCHELASTIC_MAX_RESTARTS", "5".to_owned()),
            ("TORCHELASTIC_USE_AGENT_STORE", "False".to_owned()),
            ("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1".to_owned()),
            ("OMP_NUM_THREADS", "1".to_owned()),
            ("PETCTL_JOB", "forms".to_owned()),
            ("PETCTL_STAGE", "fit".to_owned()),
            ("PETCTL_EPOCH", group.epoch.to_string()),
        ];
        for (name, value) in expected {
            assert_eq!(text(name), value, "{name} of rank {rank}");
        }
        assert!(
            text("MASTER_PORT")
                .parse::<u16>()
                .is_ok_and(|port| port > 0),
            "{found:#?}"
        );
        error_files.insert(text("TORCHELASTIC_ERROR_FILE").to_owned());
        run_ids.insert(text("TORCHELASTIC_RUN_ID").to_owned());
        for name in [
            "PETCTL_CHECKPOINT_DIR",
            "PETCTL_AGENT_SOCKET",
            "PETCTL_HEARTBEAT_FILE",
        ] {
            assert!(text(name).starts_with('/'), "{name} of rank {rank}");
        }
        for name in ["PETCTL_RESUME_FROM", "PETCTL_TOKEN", "PETCTL_HOME"] {
            assert!(!found.contains_key(name), "{name} of rank {rank}");
        }
        let secret = crew.coordinator.token();
        assert!(
            found.values().all(|value| !value.contains(&secret)),
            "the token is in the environment of rank {rank}"
        );
    }
    assert_eq!(error_files.len(), 4, "{error_files:?}");
    assert_eq!(run_ids.len(), 1, "{run_ids:?}");
    crew.end();
    assert_eq!(world.ranks().len(), 4, "nothing was started twice");
    world.finish();
}

#[test]
fn a_group_of_the_wanted_size_does_not_wait_for_more() {
    let world = World::new();
    let training = Training::new("wanted", 1, 8).pool("wanted = 3\nsettle_timeout = \"1h\"");
    let mut crew = Crew::start(&world, &training, &["one", "two"]);
    crew.training_when("a group that waits for its third worker", |training| {
        training["phase"] == "gathering"
    });
    crew.hire("three");
    let group = world.group_after(0, 3);
    crew.end();
    assert_eq!(world.ranks().len(), group.ranks.len());
    world.finish();
}

#[test]
fn a_group_below_the_wanted_size_forms_when_the_settle_timeout_has_passed() {
    let world = World::new();
    let training = Training::new("settles", 2, 4).pool("settle_timeout = \"500ms\"");
    let crew = Crew::start(&world, &training, &["one", "two"]);
    world.group_after(0, 2);
    crew.end();
    world.finish();
}

#[test]
fn a_group_with_a_unit_has_a_multiple_of_it_and_grows_by_it() {
    let world = World::new();
    let training = Training::new("units", 2, 4)
        .pool("unit = 2\nsettle_timeout = \"300ms\"")
        .with("grow = \"now\"");
    let mut crew = Crew::start(&world, &training, &["one", "two", "three"]);
    let two = world.group_after(0, 2);
    crew.ask()
        .status_when(&crew.job, "the third worker that waits", |status| {
            status["workers"]["members"]
                .as_array()
                .is_some_and(|members| members.len() == 3)
        });
    assert!(all_alive(&two), "a third worker alone is no reason to stop");
    crew.hire("four");
    let four = world.group_after(two.epoch, 4);
    // Three are left: one of them has to wait.
    let last = crew.name_of(&four, 3);
    world.expect_warning("a worker is lost");
    crew.kill(&last);
    let again = world.group_after(four.epoch, 2);
    assert_eq!(again.workers(), four.workers()[..2]);
    crew.end();
    world.finish();
}

#[test]
fn a_spare_takes_the_place_of_a_lost_worker() {
    let world = World::new();
    world.expect_warning("a worker is lost");
    let training = Training::new("spares", 2, 2).pool("spares = 1");
    let mut crew = Crew::start(&world, &training, &["one", "two"]);
    let first = world.group_after(0, 2);
    crew.hire("spare");
    crew.ask().status_when(&crew.job, "a spare", |status| {
        status["workers"]["members"]
            .as_array()
            .is_some_and(|members| members.len() == 3)
    });
    assert!(all_alive(&first), "a spare is no reason to stop");
    let lost = crew.name_of(&first, 0);
    crew.kill(&lost);
    let second = world.group_after(first.epoch, 2);
    assert_eq!(
        second.workers(),
        [first.workers()[1].clone(), crew.id("spare")],
        "the survivor is rank 0, the spare comes after it"
    );
    gone(&first);
    crew.end();
    world.finish();
}

#[test]
fn every_epoch_has_logs_of_its_own_and_a_restart_erases_none() {
    let world = World::new();
    world.expect_warning("a rank failed");
    let training = Training::new("logs", 1, 1).with("max_restarts = 3");
    let crew = Crew::start(&world, &training, &["one"]);
    let first = world.group_after(0, 1);
    world.order_once(first.epoch, 0, "echo words of the first epoch; exit 3");
    let second = world.group_after(first.epoch, 1);
    world.order_once(second.epoch, 0, "echo words of the second epoch");
    let log = |epoch: u64| logs_of(&crew, epoch, 0);
    wait_until("the log of the second epoch", || {
        log(second.epoch).contains("words of the second epoch")
    });
    let before = log(first.epoch);
    assert!(before.contains("words of the first epoch"), "{before}");
    assert!(!before.contains("second"), "{before}");
    crew.end();
    world.finish();
}

#[test]
fn an_agent_of_a_name_that_is_taken_is_told_so_and_the_group_goes_on() {
    let world = World::new();
    let training = Training::new("twins", 1, 2).pool("settle_timeout = \"300ms\"");
    let crew = Crew::start(&world, &training, &["twin"]);
    let group = world.group_after(0, 1);
    crew.coordinator
        .worker("twin", 1)
        .process
        .wait()
        .fails_with(78, "WORKER_NAME_TAKEN");
    assert!(all_alive(&group));
    assert_eq!(number(&crew.training()["restarts_used"]), 0);
    crew.end();
    world.finish();
}
