//! A launcher that is killed at any of its steps, and what it leaves: nothing that was good is gone before better stands.
//! strace(1) kills it as it begins its n-th call that changes files.

use petctl_output::layout::Layout;
use petctl_output::manifest::Manifest;
use petctl_test_it::{Job, Petctl, Stage, World, copy_tree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const SHARDS: u32 = 3;
/// Calls by which files come, go, are renamed and made durable.
const CALLS: &str = "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,ftruncate,fsync,fdatasync,flock";

/// What a shard's script writes.
const SCRIPT: &str =
    "echo \"$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT\" >> starts\necho $V > $PETCTL_OUTPUT/v";

/// A job of which a version has run, as it was left.
struct Before {
    world: World,
}

impl Before {
    fn new(first: impl Fn(&World) -> String) -> Self {
        let world = World::new();
        let file = first(&world);
        world.run(&file).run().exits(0);
        for (folder, copy) in folders(&world) {
            copy_tree(&folder, &copy);
        }
        Self { world }
    }

    /// Puts everything back as it was.
    fn restore(&self) {
        self.world.kill_everything();
        for (folder, copy) in folders(&self.world) {
            fs::remove_dir_all(&folder).unwrap();
            copy_tree(&copy, &folder);
        }
        for noted in ["starts", "trained"] {
            fs::remove_file(self.world.job_folder().join(noted)).unwrap_or_default();
        }
    }
}

/// What a run changes, and where it is kept as it was.
fn folders(world: &World) -> [(PathBuf, PathBuf); 2] {
    [
        (world.home(), world.path("home-before")),
        (world.output(), world.path("output-before")),
    ]
}

/// A version of the job.
fn write(world: &World, version: &str, shards: u32) -> String {
    let stage = Stage::script(shards, SCRIPT).with(&format!("env = {{ V = {version:?} }}"));
    Job::new("killed")
        .workers(1, 1, 2)
        .stage(stage)
        .write(world)
}

/// The versions of outputs that are at a shard's place, and that wait aside.
fn versions(output: &Path, key: &str) -> (Option<String>, Option<String>) {
    let layout = Layout::new(output);
    let read = |folder: &Path| {
        Manifest::verify(folder).ok()?;
        fs::read_to_string(folder.join("v"))
            .ok()
            .map(|text| text.trim().to_owned())
    };
    (
        read(&layout.committed("work", key)),
        read(&layout.earlier("work", key)),
    )
}

/// Does `command` in a world in which the job `first` has run, and kills it at each of its steps; after each, `look` says
/// what must be there.
fn at_each_step(
    threads: bool,
    first: impl Fn(&World) -> String,
    command: impl Fn(&World) -> Petctl<'_>,
    look: impl Fn(&World, usize),
) {
    let before = Before::new(first);
    let world = &before.world;
    let trace = world.path("trace");
    let calls = format!("trace={CALLS}");
    // A run is followed by its main thread, which takes its steps; what has no workers, by all of its threads.
    let follow = if threads { "-f" } else { "-q" };
    let strace = [
        "strace",
        follow,
        "-qqq",
        "-o",
        trace.to_str().unwrap(),
        "-e",
    ];
    command(world)
        .under(&[&strace[..], &[&calls]].concat())
        .run()
        .exits(0);
    let text = fs::read_to_string(&trace).unwrap();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let calls = text.lines().filter_map(|line| line.split_once('('));
    let mut steps: BTreeSet<(&str, u32)> = BTreeSet::new();
    for (of_thread, _) in calls {
        // The process's number is before it, where threads are followed: each counts its own.
        let call = of_thread.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        // A thread that ended before it could be asked has no name for its call.
        if call.starts_with('?') {
            continue;
        }
        let count = counts.entry(of_thread).or_default();
        *count += 1;
        steps.insert((call, *count));
    }
    // Several threads take the same steps, as each counts them: few are left where they share the work evenly.
    assert!(counts.values().sum::<u32>() > 5, "{text}");
    for (number, (call, count)) in steps.iter().enumerate() {
        before.restore();
        let inject = format!("inject={call}:signal=KILL:when={count}");
        let ran = command(world)
            .under(&[&strace[..], &[&inject]].concat())
            .run();
        // How many calls there are depends on how the threads of a run meet.
        if ran.signal.is_none() {
            ran.exits(0);
            continue;
        }
        look(world, number);
    }
    before.restore();
    before.world.finish();
}

fn everything_of(world: &World, version: &str, shards: u32) {
    for key in Stage::keys(shards) {
        let (at_place, _) = versions(&world.output(), &key);
        assert_eq!(at_place.as_deref(), Some(version), "shard {key}");
    }
}

#[test]
fn a_run_of_a_new_version_that_is_killed_at_any_step_loses_no_results() {
    at_each_step(
        false,
        |world| write(world, "one", SHARDS),
        |world| {
            let file = write(world, "two", SHARDS);
            world.run(&file)
        },
        |world, number| {
            let output = world.output();
            for key in Stage::keys(SHARDS) {
                let (at_place, aside) = versions(&output, &key);
                let there = at_place.is_some() || aside.as_deref() == Some("one");
                assert!(
                    there,
                    "step {number}: {key} has {at_place:?}, and {aside:?} aside"
                );
            }
            // Forwards, or back again.
            let version = if number % 2 == 0 { "two" } else { "one" };
            let file = write(world, version, SHARDS);
            world.run(&file).run().exits(0);
            everything_of(world, version, SHARDS);
        },
    );
}

#[test]
fn a_run_of_everything_again_that_is_killed_at_any_step_loses_no_results_and_is_not_taken_for_done()
{
    at_each_step(
        false,
        |world| write(world, "one", SHARDS),
        |world| {
            let file = write(world, "one", SHARDS);
            world.run(&file).args(["--rerun", "all", "--yes"])
        },
        |world, number| {
            for key in Stage::keys(SHARDS) {
                let (at_place, aside) = versions(&world.output(), &key);
                let there = at_place.or(aside);
                assert_eq!(there.as_deref(), Some("one"), "step {number}: {key}");
            }
            let file = write(world, "one", SHARDS);
            world.run(&file).run().exits(0);
            everything_of(world, "one", SHARDS);
        },
    );
}

#[test]
fn a_run_with_fewer_shards_that_is_killed_at_any_step_keeps_the_others_results() {
    at_each_step(
        false,
        |world| write(world, "one", SHARDS),
        |world| {
            let file = write(world, "one", 1);
            world.run(&file)
        },
        |world, number| {
            for key in Stage::keys(SHARDS) {
                let (at_place, aside) = versions(&world.output(), &key);
                let there = at_place.or(aside);
                assert_eq!(there.as_deref(), Some("one"), "step {number}: {key}");
            }
            // With all of them again, or with the one: nothing has to run.
            let shards = if number % 2 == 0 { SHARDS } else { 1 };
            let file = write(world, "one", shards);
            world.run(&file).run().exits(0);
            everything_of(world, "one", shards);
            assert!(
                world.starts().is_empty(),
                "step {number}: something ran again"
            );
            for key in &Stage::keys(SHARDS)[shards as usize..] {
                let there = versions(&world.output(), key);
                assert_eq!(
                    there,
                    (None, Some("one".to_owned())),
                    "step {number}: {key}"
                );
            }
        },
    );
}

#[test]
fn a_prune_that_is_killed_at_any_step_removes_nothing_of_the_job() {
    at_each_step(
        true,
        |world| write(world, "one", SHARDS),
        |world| {
            let file = write(world, "one", 1);
            world.run(&file).run().exits(0);
            world.petctl().args(["prune", "killed", "--yes"])
        },
        |world, number| {
            let (at_place, _) = versions(&world.output(), &Stage::keys(1)[0]);
            assert_eq!(at_place.as_deref(), Some("one"), "step {number}");
            let file = write(world, "one", SHARDS);
            world.run(&file).run().exits(0);
            everything_of(world, "one", SHARDS);
        },
    );
}

/// A training that notes how many checkpoints it finds, and makes one.
fn training(world: &World) -> String {
    world.script(
        "train.sh",
        "ls \"$PETCTL_CHECKPOINT_DIR\" | wc -l >> trained\n\
         echo x > \"$PETCTL_CHECKPOINT_DIR/step-1\" && : > \"$PETCTL_CHECKPOINT_DIR/step-1.complete\"",
    );
    let text = "[job]\nname = \"killed\"\n[workers]\nmax = 1\n[storage]\noutput = \"out\"\n[[stage]]\nname = \"fit\"\n\
                kind = \"train\"\nprocesses_per_worker = 1\ncommand = [\"./train.sh\"]\n";
    fs::write(world.job_folder().join("killed.toml"), text).unwrap();
    "killed.toml".to_owned()
}

#[test]
fn a_training_anew_that_is_killed_at_any_step_is_done_only_with_a_checkpoint_and_finds_no_old_one()
{
    at_each_step(
        false,
        training,
        |world| {
            let file = training(world);
            world.run(&file).args(["--rerun", "all", "--yes"])
        },
        |world, number| {
            let file = training(world);
            world.run(&file).run().exits(0);
            let layout = Layout::new(world.output());
            let complete = layout.checkpoints("fit").join("step-1.complete");
            assert!(complete.exists(), "step {number}: it is done, and has none");
            let trained = fs::read_to_string(world.job_folder().join("trained"));
            if let Some(found) = trained.unwrap_or_default().lines().next() {
                assert_eq!(found.trim(), "0", "step {number}");
            }
        },
    );
}
