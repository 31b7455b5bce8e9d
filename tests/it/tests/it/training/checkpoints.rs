//! What scripts say of their checkpoints.

use super::Crew;
use petctl_test_it::{Training, World, wait_for, wait_until};
use std::fs;

fn answer_of(world: &World, name: &str) -> String {
    let path = world.job_folder().join(name);
    wait_for("the answer to a script", || {
        let text = fs::read_to_string(&path).ok()?;
        text.contains("\nexit ").then_some(text)
    })
}

/// Orders rank 0 to run `petctl checkpoint`, and waits for what it answered.
fn checkpoint(crew: &Crew<'_>, epoch: u64, arguments: &str, answer: &str) -> String {
    let program = petctl_test_it::petctl().display().to_string();
    let body = format!(
        "{program} checkpoint {arguments} > {answer}.part 2>&1; echo \"\nexit $?\" >> {answer}.part; mv {answer}.part {answer}"
    );
    crew.world.order_once(epoch, 0, &body);
    answer_of(crew.world, answer)
}

#[test]
fn a_checkpoint_that_a_script_announces_by_command_is_durable_when_the_command_ends() {
    let world = World::new();
    world.expect_warning("a rank failed");
    let training = Training::new("says", 1, 1);
    let crew = Crew::start(&world, &training, &["one"]);
    let first = world.group_after(0, 1);
    let folder = world.path("elsewhere");
    fs::create_dir_all(folder.join("model")).unwrap();
    let path = folder.join("model").display().to_string();
    let said = checkpoint(&crew, first.epoch, &format!("--step 17 {path}"), "said");
    assert!(said.ends_with("exit 0\n"), "{said}");
    let rows = crew.ask().events_of("says", "checkpoint_committed");
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(
        (rows[0].number_of("step"), rows[0].text_of("path")),
        (17, path.as_str())
    );
    world.order_once(first.epoch, 0, "exit 1");
    let second = world.group_after(first.epoch, 1);
    assert_eq!(second.ranks[0].resume_step, Some(17));
    assert_eq!(second.ranks[0].field("resume_from"), path);
    crew.end();
    world.finish();
}

#[test]
fn a_checkpoint_that_is_not_there_is_refused_and_never_handed_out() {
    let world = World::new();
    world.expect_warning("a rank failed");
    world.expect_warning("CHECKPOINT_MISSING");
    world.expect_warning("checkpoint");
    let training = Training::new("nowhere", 1, 1);
    let crew = Crew::start(&world, &training, &["one"]);
    let first = world.group_after(0, 1);
    crew.save(&first, 3);
    let said = checkpoint(
        &crew,
        first.epoch,
        "--step 5 /no/such/checkpoint",
        "refused",
    );
    assert!(said.contains("CHECKPOINT_MISSING"), "{said}");
    assert!(!said.ends_with("exit 0\n"), "{said}");
    // A marker that points nowhere, one that is no JSON, one without a number, one that points out of its own name.
    let markers = "cd \"$PETCTL_CHECKPOINT_DIR\"\n\
        echo '{\"step\": 6, \"path\": \"/no/such/checkpoint\"}' > six.complete\n\
        echo 'nonsense' > step-7.complete\n: > unnumbered.complete\n: > step-8.complete\n\
        head -c 3000000 /dev/zero > step-9.complete\ncd \"$OLDPWD\"; echo > orders/marked";
    world.order_once(first.epoch, 0, markers);
    wait_until("markers", || {
        world.job_folder().join("orders/marked").exists()
    });
    // A good one after them is seen.
    crew.save(&first, 4);
    world.order_once(first.epoch, 0, "exit 1");
    let second = world.group_after(first.epoch, 1);
    assert_eq!(second.ranks[0].resume_step, Some(4), "{second:?}");
    let steps: Vec<u64> = crew
        .ask()
        .events_of("nowhere", "checkpoint_committed")
        .iter()
        .map(|event| event.number_of("step"))
        .collect();
    assert_eq!(steps, [3, 4]);
    crew.end();
    world.finish();
}

#[test]
fn a_checkpoint_that_was_deleted_is_passed_over_for_the_one_before_it() {
    let world = World::new();
    world.expect_warning("a rank failed");
    let training = Training::new("deleted", 1, 1);
    let crew = Crew::start(&world, &training, &["one"]);
    let first = world.group_after(0, 1);
    crew.save(&first, 1);
    crew.save(&first, 2);
    world.order_once(
        first.epoch,
        0,
        "rm \"$PETCTL_CHECKPOINT_DIR/step-2\"; exit 1",
    );
    let second = world.group_after(first.epoch, 1);
    assert_eq!(second.ranks[0].resume_step, Some(1), "{second:?}");
    crew.end();
    world.finish();
}

#[test]
fn only_the_newest_checkpoints_are_kept_and_older_ones_are_removed() {
    let world = World::new();
    let training = Training::new("keeps", 1, 1).with("keep_checkpoints = 2");
    let crew = Crew::start(&world, &training, &["one"]);
    let group = world.group_after(0, 1);
    for step in 1..=4 {
        crew.save(&group, step);
    }
    let folder = world.output().join("fit/checkpoints");
    wait_until("two checkpoints that are left", || {
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("step-"))
            .collect();
        names.sort();
        names == ["step-3", "step-3.complete", "step-4", "step-4.complete"]
    });
    let status = crew.training();
    let steps: Vec<&serde_json::Value> = status["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["step"])
        .collect();
    assert_eq!(steps, [4, 3]);
    crew.end();
    world.finish();
}

#[test]
fn a_training_whose_last_checkpoint_is_gone_is_not_done_and_goes_on_from_the_one_before_it() {
    let world = World::new();
    let script = "mine=${PETCTL_RESUME_STEP:-0}\necho $mine >> trained\n\
                  for step in 1 2; do\n\
                  \x20   [ $step -gt $mine ] || continue\n\
                  \x20   echo x > \"$PETCTL_CHECKPOINT_DIR/step-$step\"\n\
                  \x20   : > \"$PETCTL_CHECKPOINT_DIR/step-$step.complete\"\n\
                  done";
    world.script("train.sh", script);
    let job = "[job]\nname = \"gone\"\n[workers]\nmax = 1\n[storage]\noutput = \"out\"\n[[stage]]\nname = \"fit\"\n\
               kind = \"train\"\nprocesses_per_worker = 1\ncommand = [\"./train.sh\"]\n";
    fs::write(world.job_folder().join("gone.toml"), job).unwrap();
    let checkpoints = world.output().join("fit/checkpoints");
    let trained = || fs::read_to_string(world.job_folder().join("trained")).unwrap();
    for (lost, from) in [
        // Nothing was there before; all is there; the last one is gone; all are.
        (&[][..], &["0"][..]),
        (&[], &["0"]),
        (&["step-2"], &["0", "1"]),
        (&["step-1", "step-2"], &["0", "1", "0"]),
    ] {
        for name in lost {
            fs::remove_file(checkpoints.join(name)).unwrap();
        }
        if !lost.is_empty() {
            let said = world.run("gone.toml").args(["--dry-run"]).run().exits(0);
            assert!(
                said.stderr.contains("whose output is gone"),
                "{}",
                said.stderr
            );
        }
        world.run("gone.toml").run().exits(0);
        let lines: Vec<String> = trained().lines().map(str::to_owned).collect();
        assert_eq!(lines, from);
        assert!(checkpoints.join("step-2").exists());
    }
    world.finish();
}
