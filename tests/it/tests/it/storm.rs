//! kill -9 at random moments, many times.

use petctl_test_it::{Background, Job, Stage, World, verify_commits, verify_outputs};
use std::collections::BTreeMap;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

/// Kills in one run of the test.
const ROUNDS: u32 = 80;
/// Shards of one job; when a job has ended the next one begins.
const SHARDS: u32 = 120;
/// A kill comes this long after the start of `petctl run`, at most.
const LATEST_MS: u64 = 1_000;

/// A shard of about 40 ms: two files, one of them larger than a pipe.
const SHARD: &str = r#"echo "$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
sleep 0.03
head -c 100000 /dev/zero > "$PETCTL_OUTPUT/large"
mkdir "$PETCTL_OUTPUT/more"
echo "{\"verdict\": \"pass\", \"numbers\": {\"index\": $PETCTL_SHARD_INDEX}}" > "$PETCTL_OUTPUT/result.json"
echo "outputs of $PETCTL_SHARD_KEY" > "$PETCTL_OUTPUT/more/text"
echo "done with $PETCTL_SHARD_KEY""#;

#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The run, its workers, their commands: as a power cut.
    Everything,
    /// The run, with the coordinator in it. Workers and commands go on.
    Run,
    /// One worker.
    Worker,
    /// All workers; the run goes on.
    Workers,
}

/// After eighty kills at random moments every shard is committed just once, with every hash right, and nothing that was
/// done ran again.
#[test]
fn no_kill_at_any_moment_loses_doubles_or_halves_a_result() {
    let seed = std::env::var("PETCTL_IT_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    // Past the capturing of the test runner: whoever sees a failure needs it.
    let _said = writeln!(
        std::io::stderr(),
        "storm: PETCTL_IT_SEED={seed} draws the same kills again"
    );
    let world = World::new();
    for text in ["a worker is lost", "given up"] {
        world.allow_warning(text);
    }
    let random = fastrand::Rng::with_seed(seed);
    let mut storm = Storm {
        world: &world,
        random,
        job: 0,
        run: None,
        settled: BTreeMap::new(),
        kills: BTreeMap::new(),
    };
    while storm.kills.values().sum::<u32>() < ROUNDS {
        storm.round();
    }
    storm.end_job();
    let _said = writeln!(
        std::io::stderr(),
        "storm: {} jobs of {SHARDS} shards; kills: {:?}",
        storm.job,
        storm.kills
    );
    world.finish();
}

struct Storm<'w> {
    world: &'w World,
    random: fastrand::Rng,
    job: u32,
    run: Option<Background>,
    /// Starts of each shard that was known to be done when nothing lived: it never starts again.
    settled: BTreeMap<String, usize>,
    kills: BTreeMap<String, u32>,
}

impl Storm<'_> {
    fn round(&mut self) {
        if self.job == 0 {
            self.begin_job();
        }
        let victim = match self.random.u32(0..10) {
            0..5 => Victim::Everything,
            5..7 => Victim::Run,
            7..9 => Victim::Worker,
            _ => Victim::Workers,
        };
        let after = Duration::from_millis(self.random.u64(0..LATEST_MS));
        let run = self
            .run
            .get_or_insert_with(|| self.world.run(&format!("storm-{}.toml", self.job)).spawn());
        // The moment of the fault, drawn from the seed; nothing is waited for.
        sleep(after);
        if run.runs() {
            self.strike(victim);
            *self.kills.entry(format!("{victim:?}")).or_default() += 1;
        } else {
            self.end_job();
            self.begin_job();
        }
    }

    fn strike(&mut self, victim: Victim) {
        match victim {
            Victim::Everything => {
                self.world.kill_everything();
                self.end_run();
                self.settle();
            }
            Victim::Run => self.end_run(),
            Victim::Worker | Victim::Workers => {
                let mut workers = self.world.workers();
                if matches!(victim, Victim::Worker) && !workers.is_empty() {
                    workers = vec![workers.swap_remove(self.random.usize(..workers.len()))];
                }
                for worker in workers {
                    petctl_test_it::kill(worker.pid);
                }
            }
        }
    }

    fn end_run(&mut self) {
        if let Some(mut run) = self.run.take() {
            run.kill();
        }
    }

    /// Nothing lives, so what is done now was done before all that is started from now on.
    fn settle(&mut self) {
        let starts = self.starts();
        let keys = Stage::keys(SHARDS);
        let ran = self
            .world
            .petctl()
            .args(["report", &self.name(), "-o", "json"])
            .run();
        // A job that was killed at its very start is not known.
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        for row in report["rows"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|row| row["state"] == "done")
        {
            let key = row["shard"].as_str().unwrap();
            assert!(keys.iter().any(|known| known == key), "{row}");
            self.settled
                .entry(key.to_owned())
                .or_insert_with(|| starts.get(key).copied().unwrap_or(0));
        }
    }

    fn starts(&self) -> BTreeMap<String, usize> {
        let mut starts = BTreeMap::new();
        for start in self.world.starts() {
            *starts.entry(start.key).or_default() += 1;
        }
        starts
    }

    fn begin_job(&mut self) {
        self.job += 1;
        let stage = Stage::script(SHARDS, SHARD)
            .with("retries = 0\nbudgets = { worker_lost = 100, preempted = 100 }");
        let output = self.world.path(&format!("job/out-{}", self.job));
        Job::new(&self.name())
            .workers(1, 2, 2)
            .output(output)
            .stage(stage)
            .write(self.world);
        let _none_yet = std::fs::remove_file(self.world.job_folder().join("starts"));
    }

    /// Brings the job to its end and holds it to its promises.
    fn end_job(&mut self) {
        if let Some(run) = self.run.take() {
            run.wait().exits(0);
        }
        self.world
            .run(&format!("{}.toml", self.name()))
            .run()
            .exits(0);
        let ask = self.world.ask();
        let keys = Stage::keys(SHARDS);
        let output = self.world.path(&format!("job/out-{}", self.job));
        let events = ask.events(&self.name());
        verify_commits(&events, &verify_outputs(&output, "work", &keys), &keys);
        for row in ask.report(&self.name()) {
            let kinds = ["failed", "timed_out", "infrastructure"];
            assert!(
                kinds.iter().all(|kind| row["failures"][*kind] == 0),
                "a kill is charged as what it is not: {row}"
            );
            assert_eq!(
                row["numbers"]["index"].as_f64(),
                row["shard"].as_str().and_then(|key| key.parse().ok()),
                "{row}"
            );
        }
        let starts = self.starts();
        assert_eq!(starts.len(), keys.len(), "every shard was started");
        for (key, before) in std::mem::take(&mut self.settled) {
            assert_eq!(
                starts.get(&key),
                Some(&before),
                "shard {key} was done, and ran again"
            );
        }
        let left = self.world.processes();
        assert!(left.is_empty(), "left after the job's end: {left:?}");
    }

    fn name(&self) -> String {
        format!("storm-{}", self.job)
    }
}
