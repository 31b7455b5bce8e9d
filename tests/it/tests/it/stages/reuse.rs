//! What did not change does not run again.

use petctl_test_it::{Job, Ran, Stage, World, verify_outputs};
use std::fs;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// A job of two stages over four inputs; the second one needs the first, shard by shard.
struct Reused {
    world: World,
    value: &'static str,
    words: &'static str,
}

impl Reused {
    fn new() -> Self {
        let world = World::new();
        let input = world.job_folder().join("in");
        fs::create_dir_all(&input).unwrap();
        for key in KEYS {
            fs::write(input.join(key), format!("first {key}")).unwrap();
        }
        fs::write(world.job_folder().join("code.txt"), "one").unwrap();
        Self {
            world,
            value: "1",
            words: "of",
        }
    }

    fn input(&self, key: &str, text: &str) {
        fs::write(self.world.job_folder().join("in").join(key), text).unwrap();
    }

    fn run(&self, more: &[&str]) -> Ran {
        let note = "echo \"$PETCTL_STAGE/$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT\" >> starts\n";
        let first = format!(
            "{note}(cat \"$1\"; echo \" {} $2\"; cat code.txt) > \"$PETCTL_OUTPUT/text\"",
            self.words
        );
        let second = format!("{note}wc -c < \"$1/text\" > \"$PETCTL_OUTPUT/size\"");
        let files = "{ glob = \"*\" }";
        let params = format!("params = {{ value = {} }}", self.value);
        let file = Job::new("reused")
            .workers(1, 1, 2)
            .storage("input = \"in\"\noutput = \"out\"\n".to_owned())
            .with("code = [\"code.txt\", \"*.sh\"]")
            .stage(
                Stage::script(1, &first)
                    .named("first")
                    .shards(files)
                    .args(&["{input}", "{param.value}"])
                    .with(&params),
            )
            .stage(
                Stage::script(1, &second)
                    .named("second")
                    .shards(files)
                    .args(&["{output_root}/first/{key}"])
                    .with("needs = [\"first\"]"),
            )
            .write(&self.world);
        let _starts = fs::remove_file(self.world.job_folder().join("starts"));
        self.world.run(&file).args(more).run().exits(0)
    }

    /// What ran in the last run, sorted.
    fn ran(&self) -> Vec<String> {
        let mut ran: Vec<String> = self
            .world
            .starts()
            .into_iter()
            .map(|start| start.key)
            .collect();
        ran.sort();
        ran
    }

    fn output(&self, key: &str) -> String {
        let text = self.world.output().join("first").join(key).join("text");
        fs::read_to_string(text).unwrap()
    }

    fn check(self) {
        let keys = KEYS.map(str::to_owned);
        for stage in ["first", "second"] {
            verify_outputs(&self.world.output(), stage, &keys);
        }
        self.world.finish();
    }
}

#[test]
fn another_input_runs_its_own_shards_again_and_no_others() {
    let job = Reused::new();
    job.run(&[]);
    assert_eq!(job.ran().len(), 8);
    job.input("b", "second b");
    let ran = job.run(&["--why-rerun"]);
    assert_eq!(job.ran(), ["first/b", "second/b"], "{ran}");
    let ran = ran.says("6 of 8 shards reused");
    assert!(ran.stderr.contains("first: 1 input changed: b"), "{ran}");
    assert!(job.output("b").starts_with("second b of 1"), "replaced");
    // Only touched: its bytes are what counts.
    job.input("c", "first c");
    job.run(&[]).says("nothing to do");
    assert!(job.ran().is_empty());
    job.check();
}

#[test]
fn another_parameter_runs_its_stage_and_what_needs_it() {
    let mut job = Reused::new();
    job.run(&[]);
    job.value = "2";
    let ran = job.run(&["--why-rerun"]);
    assert_eq!(job.ran().len(), 8, "{ran}");
    assert!(ran.stderr.contains("needs what runs again"), "{ran}");
    assert!(job.output("a").contains("of 2"));
    job.check();
}

#[test]
fn another_code_or_command_runs_what_it_decides() {
    let mut job = Reused::new();
    job.run(&[]);
    fs::write(job.world.job_folder().join("code.txt"), "two").unwrap();
    let ran = job.run(&["--why-rerun"]);
    assert_eq!(job.ran().len(), 8, "{ran}");
    let ran = ran.says("code changed");
    assert!(job.output("d").ends_with("two"), "{ran}");
    job.words = "from";
    job.run(&["--why-rerun"]).says("code changed");
    assert!(job.output("d").contains("from"));
    job.check();
}

#[test]
fn a_dry_run_says_what_would_run_and_changes_nothing() {
    let job = Reused::new();
    job.run(&[]);
    job.input("d", "second d");
    let ran = job.run(&["--dry-run", "--why-rerun"]);
    assert!(job.ran().is_empty());
    let ran = ran.says("6 of 8 shards reused");
    ran.says("first: 1 input changed: d");
    assert!(job.output("d").starts_with("first d"));
    job.check();
}

#[test]
fn shards_can_be_asked_for_again_by_name() {
    let job = Reused::new();
    job.run(&[]);
    let ran = job.run(&["--rerun", "{a,c}"]);
    assert_eq!(
        job.ran(),
        ["first/a", "first/c", "second/a", "second/c"],
        "{ran}"
    );
    job.check();
}

#[test]
fn outputs_that_somebody_took_away_are_made_again_with_what_needs_them() {
    let job = Reused::new();
    job.run(&[]);
    let first = job.world.output().join("first");
    fs::remove_dir_all(first.join("b")).unwrap();
    fs::remove_file(first.join("c/text")).unwrap();
    let ran = job.run(&["--dry-run"]);
    ran.says("4 of 8 shards reused; 4 run again: 2 whose output is gone, 2 needs what runs again");
    assert!(job.ran().is_empty());
    let ran = job.run(&["--why-rerun"]);
    ran.says("first: 2 whose output is gone: b, c");
    assert_eq!(job.ran(), ["first/b", "first/c", "second/b", "second/c"]);
    job.run(&[]).says("nothing to do");
    // What is left without its manifest is kept, out of the way.
    job.world
        .allow_warning("committed outputs were damaged and have been moved away");
    fs::remove_file(job.world.output().join("second/d/manifest.json")).unwrap();
    job.run(&["--why-rerun"])
        .says("second: 1 whose output is gone: d");
    assert_eq!(job.ran(), ["second/d"]);
    job.check();
}

#[test]
fn verify_reads_every_committed_file_and_names_what_is_not_as_it_was() {
    let job = Reused::new();
    job.run(&[]);
    let verify = |more: &[&str]| {
        let verify = job.world.petctl().args(["verify", "reused"]);
        verify.args(more).run()
    };
    verify(&[])
        .exits(0)
        .says("reused: 8 files in 8 shards (76 B) are as they were committed");
    let output = job.world.output();
    let text = fs::read_to_string(output.join("first/b/text")).unwrap();
    fs::write(output.join("first/b/text"), text.replace('b', "B")).unwrap();
    fs::remove_file(output.join("second/c/size")).unwrap();
    fs::remove_dir_all(output.join("second/d")).unwrap();
    let ran = verify(&["-o", "json"]).exits(1);
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let errors: Vec<_> = said["errors"].as_array().unwrap().iter().collect();
    let named = |index: usize| {
        (
            errors[index]["name"].as_str(),
            errors[index]["code"].as_str(),
        )
    };
    assert_eq!(errors.len(), 3, "{ran}");
    assert_eq!(named(0), (Some("first/b/text"), Some("STORAGE_CORRUPT")));
    assert_eq!(named(1), (Some("second/c/size"), Some("STORAGE_NOT_FOUND")));
    assert_eq!(named(2), (Some("second/d"), Some("STORAGE_NOT_FOUND")));
    assert_eq!(said["whole"], false);
    verify(&[]).exits(1).says(
        "reused: 3 files or shards are damaged or gone; 6 files in 7 shards (70 B) were read",
    );
    let ran = verify(&["--include", "second/**"]).exits(1);
    assert!(ran.stderr.contains("second/d: the shard is done"), "{ran}");
    assert!(!ran.stderr.contains("first/b"), "{ran}");
    job.run(&["--rerun", "b"]);
    assert_eq!(job.ran(), ["first/b", "second/b", "second/c", "second/d"]);
    verify(&[]).exits(0);
    job.check();
}

#[test]
fn an_input_more_or_less_changes_nothing_for_the_others() {
    let job = Reused::new();
    job.run(&[]);
    job.input("e", "first e");
    job.run(&[]).says("8 of 10 shards reused");
    assert_eq!(job.ran(), ["first/e", "second/e"]);
    fs::remove_file(job.world.job_folder().join("in/e")).unwrap();
    job.run(&[])
        .says("2 shards that are no part of the job any more");
    assert!(
        !job.world.output().join("first/e").exists(),
        "its outputs are gone"
    );
    job.check();
}
