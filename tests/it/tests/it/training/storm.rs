//! Faults at random moments, many times.

use super::Crew;
use petctl_test_it::{Event, Training, World, continue_, kill, processes_with, stop, wait_until};
use std::collections::BTreeSet;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

/// Faults in one run of the test.
const ROUNDS: u32 = 15;
/// A fault comes this long after the one before it, at most.
const LATEST_MS: u64 = 900;

/// Rank 0 counts its steps and saves every third.
const COUNT: &str = r#"step=${PETCTL_RESUME_STEP:-0}
while [ ! -e orders/end ]; do
    step=$((step + 1))
    if [ $RANK = 0 ] && [ $((step % 3)) = 0 ]; then save $step; fi
    sleep 0.05
done
note done"#;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// kill -9 of a worker; another one comes.
    Worker,
    /// kill -9 of a rank.
    Rank,
    /// kill -9 of the coordinator, which is started again.
    Coordinator,
    /// The coordinator and a worker at once.
    Both,
    /// A worker stands still for longer than it may.
    Freeze,
    /// A worker leaves, and another one comes.
    Leave,
    /// Another size is wanted.
    Scale,
}

const FAULTS: [Fault; 7] = [
    Fault::Worker,
    Fault::Rank,
    Fault::Coordinator,
    Fault::Both,
    Fault::Freeze,
    Fault::Leave,
    Fault::Scale,
];

#[test]
fn no_fault_at_any_moment_runs_two_epochs_at_a_time_or_loses_a_committed_step() {
    let seed = std::env::var("PETCTL_IT_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    // Past the capturing of the test runner: whoever sees a failure needs it.
    let _said = writeln!(
        std::io::stderr(),
        "training storm: PETCTL_IT_SEED={seed} draws the same faults again"
    );
    let world = World::new();
    for text in [
        "a worker is lost",
        "given up",
        "a rank failed",
        "a checkpoint is not committed",
        "can't remove an old checkpoint",
    ] {
        world.allow_warning(text);
    }
    let training = Training::new("storm", 1, 4)
        .pool("settle_timeout = \"1s\"")
        .with(
            "max_restarts = 1000\nbudgets = { worker_lost = 1000 }\nexclude_after = 0\ngrow = \"now\"",
        )
        .script(COUNT);
    let mut storm = Storm {
        random: fastrand::Rng::with_seed(seed),
        crew: Crew::start(&world, &training, &["w0", "w1", "w2"]),
        names: ["w0", "w1", "w2"].map(str::to_owned).to_vec(),
        hired: 3,
        woken: BTreeSet::new(),
        world: &world,
    };
    for _ in 0..ROUNDS {
        storm.round();
    }
    let crew = storm.crew;
    runs(&crew);
    // The faults may have come too fast for any.
    crew.training_when("a checkpoint after the storm", |training| {
        training["checkpoints"][0]["step"].is_u64()
    });
    let events = crew.ask().events("storm");
    assert_resumes_from_the_newest(&events);
    crew.end_with_woken(&storm.woken);
    world.finish();
}

/// Waits until a group runs, and nobody of before a restart is waited for.
fn runs(crew: &Crew<'_>) {
    crew.ask()
        .status_when("storm", "a group that runs again", |status| {
            let recovers = status["waiting"].to_string().contains("RECOVERING");
            status["training"][0]["phase"] == "running" && !recovers
        });
}

/// Every epoch goes on from the newest checkpoint that was committed before it.
fn assert_resumes_from_the_newest(events: &[Event]) {
    let mut newest: Option<(u64, u64)> = None;
    let mut started = 0;
    for event in events {
        match event.kind.as_str() {
            "checkpoint_committed" => {
                let this = (event.number_of("epoch"), event.number_of("step"));
                newest = newest.max(Some(this));
            }
            "group_started" => {
                started += 1;
                assert_eq!(
                    event.fields["resume_step"].as_u64(),
                    newest.map(|(_, step)| step),
                    "{event:?}"
                );
            }
            _ => {}
        }
    }
    assert!(started > 1, "no group was started after a fault");
    assert!(newest.is_some(), "no checkpoint in the whole storm");
}

struct Storm<'w> {
    random: fastrand::Rng,
    crew: Crew<'w>,
    names: Vec<String>,
    hired: u32,
    /// The ids of those who stood still for too long.
    woken: BTreeSet<String>,
    world: &'w World,
}

impl Storm<'_> {
    fn round(&mut self) {
        let fault = FAULTS[self.random.usize(..FAULTS.len())];
        let after = Duration::from_millis(self.random.u64(..LATEST_MS));
        // The moment of the fault, drawn from the seed; nothing is waited for.
        sleep(after);
        match fault {
            Fault::Worker => self.lose_a_worker(),
            Fault::Rank => self.kill_a_rank(),
            Fault::Coordinator => self.crew.coordinator.kill(),
            Fault::Both => {
                self.crew.coordinator.kill();
                self.lose_a_worker();
            }
            Fault::Freeze => self.freeze_a_worker(),
            Fault::Leave => {
                let name = self.any();
                self.crew.dismiss(&name);
                self.hire();
            }
            Fault::Scale => {
                let wanted = self.random.u32(1..5).to_string();
                let scaled = self.crew.ask().petctl("scale");
                scaled.args(["storm", "--workers", &wanted]).run().exits(0);
            }
        }
        self.replace_those_who_left();
        if !self.crew.coordinator.runs() {
            self.crew.coordinator.start_again();
            // One that dies again and again before it has waited for its workers forms no group.
            if self.random.bool() {
                runs(&self.crew);
            }
        }
    }

    fn any(&mut self) -> String {
        let index = self.random.usize(..self.names.len());
        self.names.remove(index)
    }

    fn hire(&mut self) {
        let name = format!("w{}", self.hired);
        self.hired += 1;
        self.crew.hire(&name);
        self.names.push(name);
    }

    /// Workers that a smaller size sent away.
    fn replace_those_who_left(&mut self) {
        let names = std::mem::take(&mut self.names);
        for name in names {
            if self.crew.worker(&name).runs() {
                self.names.push(name);
            }
        }
        while self.names.len() < 3 {
            self.hire();
        }
    }

    fn lose_a_worker(&mut self) {
        let name = self.any();
        self.crew.kill(&name);
        self.hire();
    }

    fn kill_a_rank(&mut self) {
        let living: Vec<_> = self
            .world
            .ranks()
            .into_iter()
            .filter(petctl_test_it::Rank::is_alive)
            .collect();
        if !living.is_empty() {
            kill(living[self.random.usize(..living.len())].pid);
        }
    }

    fn freeze_a_worker(&mut self) {
        let name = self.names[self.random.usize(..self.names.len())].clone();
        // One that has just come is no member yet, and can't be missed; one that was sent away never will be.
        wait_until("a worker that is a member, or ends", || {
            self.is_member(&name) || !self.crew.worker(&name).runs()
        });
        if !self.crew.worker(&name).runs() {
            return;
        }
        let id = self.crew.id(&name);
        let children = || processes_with("PETCTL_WORKER_ID", &id);
        let frozen: Vec<_> = children().iter().map(|child| child.pid).collect();
        let mut pids = vec![self.crew.worker(&name).pid()];
        pids.extend(&frozen);
        for pid in &pids {
            stop(*pid);
        }
        wait_until("the coordinator to give a frozen worker up", || {
            !self.is_member(&name)
        });
        self.woken.insert(id.clone());
        for pid in pids {
            continue_(pid);
        }
        wait_until("a worker that wakes to kill what it ran", || {
            children().iter().all(|child| !frozen.contains(&child.pid))
        });
    }

    fn is_member(&self, name: &str) -> bool {
        let members = self.crew.ask().members("storm");
        members.iter().any(|(member, ..)| member == name)
    }
}
