//! One output, and homes that know nothing of each other.

use petctl_test_it::{Cloud, Job, Petctl, Stage, World, wait_until};
use std::fs;

/// What is done in a world; the other one writes the job file, with a line more in its stage.
type Act = fn(&World, &dyn Fn(&str) -> String);

/// Does it with both kinds of output.
fn on_both(job: &str, stage: fn() -> Stage, act: Act) {
    for blobs in [false, true] {
        let world = World::new();
        let cloud = blobs.then(|| Cloud::shared(&world));
        let write = |line: &str| {
            let new = Job::new(job).workers(1, 1, 2).stage(stage().with(line));
            match &cloud {
                Some(cloud) => new.storage(cloud.storage(false)).write(&world),
                None => new.write(&world),
            }
        };
        act(&world, &write);
        world.finish();
    }
}

fn elsewhere<'a>(world: &'a World, file: &str) -> Petctl<'a> {
    world.run(file).arg("--home").arg(world.path("other-home"))
}

#[test]
fn of_two_runs_on_one_output_the_second_is_told_who_works_there() {
    on_both(
        "two",
        || Stage::gated(4),
        |world, write| {
            let file = write("");
            let first = world.run(&file).spawn();
            wait_until("shards that run", || world.starts().len() == 2);
            let home = world.home().display().to_string();
            let second = elsewhere(world, &file).run();
            second
                .fails_with(75, "OUTPUT_BUSY")
                .says("job `two`")
                .says(&home);
            world.open_gate("all");
            first.wait().exits(0);
            assert_eq!(world.starts().len(), 4, "the second has run nothing");
            // It gave the output back; and all that it made is taken over.
            let third = elsewhere(world, &file).run().exits(0);
            third.says("all 4 shards reused");
            assert_eq!(world.starts().len(), 4);
        },
    );
}

#[test]
fn a_home_that_knows_nothing_runs_only_what_changed() {
    on_both(
        "fresh",
        || {
            Stage::script(
                3,
                "echo \"$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT\" >> starts\necho $V > $PETCTL_OUTPUT/v",
            )
        },
        |world, write| {
            let file = write("env = { V = \"1\" }");
            world.run(&file).run().exits(0);
            let dry = elsewhere(world, &file).arg("--dry-run").run().exits(0);
            dry.says("all 3 shards reused");
            let changed = write("env = { V = \"2\" }");
            elsewhere(world, &changed).run().exits(0);
            assert_eq!(world.starts().len(), 6);
            // The first home finds what the other has made of the same.
            let same = world.run(&changed).run().exits(0);
            same.says("all 3 shards reused");
            assert_eq!(world.starts().len(), 6);
        },
    );
}

#[test]
fn a_broken_version_destroys_no_results_and_they_come_back() {
    on_both(
        "broken",
        || {
            Stage::script(
                3,
                "echo \"$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT\" >> starts\n[ $V = good ] && echo $V > $PETCTL_OUTPUT/v",
            )
            .with("retries = 0")
        },
        |world, write| {
            let good = write("env = { V = \"good\" }");
            world.run(&good).run().exits(0);
            let bad = write("env = { V = \"bad\" }");
            world.run(&bad).run().exits(1);
            assert_eq!(world.starts().len(), 6);
            let good = write("env = { V = \"good\" }");
            world.run(&good).run().exits(0);
            assert_eq!(world.starts().len(), 6, "nothing ran again");
            let home = world.path("taken-home");
            let taken = world
                .petctl()
                .args(["download", "broken"])
                .arg(&home)
                .run()
                .exits(0);
            for shard in 0..3 {
                let text = fs::read_to_string(home.join(format!("work/{shard}/v")));
                assert_eq!(text.unwrap_or_default(), "good\n", "{taken}");
            }
        },
    );
}

#[test]
fn a_fresh_home_takes_over_what_was_skipped_and_what_needs_its_stage() {
    // Shard 0 of the first stage says that it is skipped.
    let look = "echo \"$PETCTL_STAGE/$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT\" >> starts\n\
                [ $PETCTL_SHARD_INDEX = 0 ] && exit 9\necho seen > $PETCTL_OUTPUT/v";
    let plain = "echo \"$PETCTL_STAGE/$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT\" >> starts\necho 1 > $PETCTL_OUTPUT/v";
    for blobs in [false, true] {
        for (after, ran) in [(false, 6), (true, 7)] {
            let world = World::new();
            let cloud = blobs.then(|| Cloud::shared(&world));
            let score = format!("needs = [\"look\"]\nrun_after_skip = {after}");
            let job = Job::new("skips")
                .workers(1, 1, 2)
                .stage(Stage::script(3, look).named("look").with("skip_on = [9]"))
                .stage(Stage::script(3, plain).named("score").with(&score))
                .stage(Stage::once(plain).named("sum").with("needs = [\"score\"]"));
            let file = match &cloud {
                Some(cloud) => job.storage(cloud.storage(false)).write(&world),
                None => job.write(&world),
            };
            world.run(&file).run().exits(0);
            assert_eq!(world.starts().len(), ran, "{:?}", world.starts());
            let fresh = elsewhere(&world, &file).run().exits(0);
            let fresh = fresh.says("all 7 shards reused").says("7 of 7 shards done");
            assert_eq!(world.starts().len(), ran, "{fresh}");
            world.finish();
        }
    }
}
