//! kill -9 of all there is, in bad weather, many times.

use super::fill;
use petctl_test_it::{
    Azurite, Background, Cloud, Coordinator, Job, Stage, Weather, WorkerProcess, World, kill,
    verify_visible,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Rounds of one run of the test, unless `PETCTL_IT_BLOB_ROUNDS` says otherwise.
const ROUNDS: u32 = 6;
/// Shards of a round's job, in each of its two stages.
const SHARDS: u32 = 12;
/// A fault comes this long after the one before, at most.
const LATEST_MS: u64 = 700;
/// After so many faults the weather clears up and everybody lives.
const FAULTS: u32 = 5;

const FIRST: &str = r#"sleep 0.05
cat "$1" "$1" > "$PETCTL_OUTPUT/twice"
mkdir "$PETCTL_OUTPUT/more"
echo "of $PETCTL_SHARD_KEY" > "$PETCTL_OUTPUT/more/text""#;
const SECOND: &str = r#"sleep 0.05
wc -c < "$1/twice" > "$PETCTL_OUTPUT/size"
printf '{"verdict": "pass", "numbers": {"size": %s}}' "$(cat "$PETCTL_OUTPUT/size")" > "$PETCTL_OUTPUT/result.json""#;

/// After every kill and fault at random moments, each shard is committed just once, every hash holds, nothing
/// half-written was ever to be seen, and nothing of a lost attempt is left.
#[test]
fn no_fault_at_any_moment_loses_doubles_or_halves_what_is_in_a_container() {
    let number = |name: &str| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse::<u64>().ok())
    };
    let seed = number("PETCTL_IT_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = number("PETCTL_IT_BLOB_ROUNDS").unwrap_or(u64::from(ROUNDS));
    say(&format!(
        "storm over blobs: PETCTL_IT_SEED={seed} draws the same faults again"
    ));
    let azurite = Azurite::start();
    let mut faults = BTreeMap::new();
    let start = Instant::now();
    for round in 0..rounds {
        let random = fastrand::Rng::with_seed(seed.wrapping_add(round));
        Round::new(&azurite, round, random).run(&mut faults);
    }
    let took = start.elapsed().as_secs();
    say(&format!(
        "storm over blobs: {rounds} rounds in {took} s; faults: {faults:?}"
    ));
}

struct Round<'a> {
    azurite: &'a Azurite,
    name: String,
    random: fastrand::Rng,
}

/// What lives in a round.
struct Crew<'w, 'a> {
    cloud: Cloud<'a>,
    coordinator: Coordinator<'w>,
    workers: Vec<WorkerProcess>,
    run: Option<Background>,
    file: String,
    joined: u32,
}

impl<'a> Round<'a> {
    fn new(azurite: &'a Azurite, round: u64, random: fastrand::Rng) -> Self {
        Self {
            azurite,
            name: format!("storm-{round}"),
            random,
        }
    }

    fn run(mut self, faults: &mut BTreeMap<&'static str, u32>) {
        let world = World::new();
        for text in [
            "a worker is lost",
            "given up",
            "could not send a log",
            "staging failed",
        ] {
            world.allow_warning(text);
        }
        let cloud = Cloud::on(self.azurite, &world).through_proxy(self.random.u64(..));
        let keys = fill(&cloud, SHARDS, 100_000);
        let file = self.job(&cloud).write(&world);
        let coordinator = Coordinator::start(&world, Some("2s"));
        let mut crew = Crew {
            cloud,
            coordinator,
            workers: Vec::new(),
            run: None,
            file,
            joined: 0,
        };
        crew.man();
        for _ in 0..FAULTS {
            // The moment of the fault, drawn from the seed; nothing is waited for.
            sleep(Duration::from_millis(self.random.u64(50..LATEST_MS)));
            *faults.entry(self.strike(&mut crew)).or_default() += 1;
            let _whole = verify_visible(&crew.cloud.blobs(), "out", "first");
            crew.man();
        }
        self.calm(crew, &keys);
        world.finish();
    }

    fn job(&self, cloud: &Cloud<'_>) -> Job {
        let budgets = "retries = 0\nbackoff = \"20ms\"\n\
                       budgets = { worker_lost = 100, preempted = 100, infrastructure = 100 }";
        let files = "{ glob = \"**\" }";
        let first = Stage::script(1, FIRST).named("first").shards(files);
        let second = Stage::script(1, SECOND).named("second").shards(files);
        Job::new(&self.name)
            .workers(1, 2, 2)
            .storage(cloud.storage(true))
            .stage(first.args(&["{input}"]).with(budgets))
            .stage(
                second
                    .args(&["{output_root}/first/{key}"])
                    .with("needs = [\"first\"]")
                    .with(budgets),
            )
    }

    fn strike(&mut self, crew: &mut Crew<'_, '_>) -> &'static str {
        match self.random.u32(0..10) {
            0..3 => {
                let index = self.random.usize(0..crew.workers.len());
                let worker = crew.workers.swap_remove(index);
                kill(worker.process.pid());
                "worker"
            }
            3 => {
                for worker in crew.workers.drain(..) {
                    kill(worker.process.pid());
                }
                "workers"
            }
            4 | 5 => {
                crew.coordinator.kill();
                crew.coordinator.start_again();
                "coordinator"
            }
            6 | 7 => {
                self.azurite.kill();
                sleep(Duration::from_millis(self.random.u64(0..LATEST_MS)));
                self.azurite.start_again();
                "service"
            }
            _ => {
                crew.cloud.proxy().set_weather(Weather {
                    refused: self.random.u32(0..150),
                    lost: self.random.u32(0..100),
                    cut: self.random.u32(0..100),
                    slow: self.random.u32(0..100),
                });
                "weather"
            }
        }
    }

    /// The weather clears up, the job comes to its end, and is held to its promises.
    fn calm(&self, mut crew: Crew<'_, '_>, keys: &[String]) {
        crew.cloud.proxy().calm();
        crew.man();
        if let Some(run) = crew.run.take() {
            // One that a fault ended is followed by another one.
            let _ended = run.wait();
        }
        crew.coordinator.run(&crew.file).run().exits(0);
        let ask = crew.coordinator.ask();
        let blobs = crew.cloud.blobs();
        let events = ask.events(&self.name);
        for stage in ["first", "second"] {
            let commits = events
                .iter()
                .filter(|event| event.kind == "shard_committed" && event.text_of("stage") == stage);
            assert_eq!(commits.count(), keys.len(), "commits of {stage}");
            super::verify_stage(&events, &blobs, stage, keys);
        }
        for row in ask.report(&self.name) {
            for kind in ["failed", "timed_out"] {
                assert_eq!(
                    row["failures"][kind], 0,
                    "a fault is charged as what it is not: {row}"
                );
            }
            if row["stage"] == "second" {
                assert_eq!(row["numbers"]["size"], 200_000.0, "{row}");
            }
        }
        for worker in crew.workers {
            worker.terminate();
        }
        crew.coordinator.terminate();
    }
}

impl Crew<'_, '_> {
    /// Two workers and a run live.
    fn man(&mut self) {
        while self.workers.len() < 2 {
            self.joined += 1;
            let name = format!("w{}", self.joined);
            self.workers.push(self.coordinator.worker(&name, 2));
        }
        let runs = self.run.as_mut().is_some_and(Background::runs);
        if !runs {
            self.run = Some(self.coordinator.run(&self.file).spawn());
        }
    }
}

/// Past the capturing of the test runner: whoever sees a failure needs it.
fn say(text: &str) {
    let _said = writeln!(std::io::stderr(), "{text}");
}
