//! Training groups: how they form, grow, lose workers and go on. Ranks are shell scripts that obey orders.

mod checkpoints;
mod forming;
mod liars;
mod losses;
mod pauses;
mod scripts;
mod sizes;
mod storm;
mod verdicts;

use petctl_test_it::{
    Ask, Background, Coordinator, RankGroup, Training, WorkerProcess, World, wait_until,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A coordinator with a training job, and workers that a test kills by name.
pub(crate) struct Crew<'w> {
    pub(crate) world: &'w World,
    pub(crate) coordinator: Coordinator<'w>,
    pub(crate) job: String,
    pub(crate) run: Background,
    workers: BTreeMap<String, Hired>,
}

struct Hired {
    id: String,
    worker: WorkerProcess,
}

impl<'w> Crew<'w> {
    /// Submits the job to a coordinator that gives a worker up after 1 s, then starts workers.
    pub(crate) fn start(world: &'w World, training: &Training, workers: &[&str]) -> Self {
        let coordinator = Coordinator::start(world, Some("1s"));
        let file = training.write(world);
        let run = coordinator.run(&file).spawn();
        let mut crew = Self {
            world,
            coordinator,
            job: training.name().to_owned(),
            run,
            workers: BTreeMap::new(),
        };
        crew.hire_all(workers);
        crew
    }

    /// Starts one more worker.
    pub(crate) fn hire(&mut self, name: &str) {
        self.hire_with(name, &[]);
    }

    /// Starts workers.
    pub(crate) fn hire_all(&mut self, names: &[&str]) {
        for name in names {
            self.hire(name);
        }
    }

    /// Starts one more worker, with more arguments.
    pub(crate) fn hire_with(&mut self, name: &str, arguments: &[&str]) {
        // What is left of a killed worker is killed by its id: no two on this machine may have the same.
        let id = format!("{:032x}", fastrand::u128(1..));
        let command = self.world.petctl().arg("worker");
        let process = command
            .args(self.coordinator.connect())
            .args(["--name", name, "--id", &id, "--job", &self.job])
            .args(arguments)
            .spawn();
        let worker = WorkerProcess { process };
        self.workers.insert(name.to_owned(), Hired { id, worker });
    }

    pub(crate) fn ask(&self) -> Ask<'w> {
        self.coordinator.ask()
    }

    /// The id of a worker.
    pub(crate) fn id(&self, name: &str) -> String {
        self.workers[name].id.clone()
    }

    /// The name of the worker that holds a rank.
    pub(crate) fn name_of(&self, group: &RankGroup, rank: usize) -> String {
        let id = &group.ranks[rank].worker;
        let found = self.workers.iter().find(|(_, hired)| hired.id == *id);
        found
            .map(|(name, _)| name.clone())
            .unwrap_or_else(|| panic!("no worker has the id {id}"))
    }

    /// A worker's process.
    pub(crate) fn worker(&mut self, name: &str) -> &mut Background {
        &mut self
            .workers
            .get_mut(name)
            .expect("it was hired")
            .worker
            .process
    }

    /// kill -9 of a worker.
    pub(crate) fn kill(&mut self, name: &str) {
        self.worker(name).kill();
    }

    /// SIGTERM to a worker, which must then leave by itself.
    pub(crate) fn dismiss(&mut self, name: &str) {
        let hired = self.workers.remove(name).expect("it was hired");
        hired.worker.terminate();
    }

    /// How the training stands; null where it can't be told now.
    pub(crate) fn training(&self) -> Value {
        self.ask().try_status(&self.job).unwrap_or_default()["training"][0].clone()
    }

    /// Polls how the training stands until it is as wanted.
    pub(crate) fn training_when(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.ask()
            .status_when(&self.job, what, |status| wanted(&status["training"][0]))["training"][0]
            .clone()
    }

    /// Waits until a checkpoint of this step is the newest committed one.
    pub(crate) fn committed(&self, step: u64) {
        self.training_when(&format!("a checkpoint of step {step}"), |training| {
            training["checkpoints"][0]["step"] == step
        });
    }

    /// Lets rank 0 write a checkpoint, and waits until it is committed.
    pub(crate) fn save(&self, group: &RankGroup, step: u64) {
        self.world
            .order_once(group.epoch, 0, &format!("save {step}"));
        self.committed(step);
    }

    /// Lets all ranks end well, and everything after them.
    pub(crate) fn end(self) {
        self.end_with_woken(&BTreeSet::new());
    }

    /// As [`Self::end`], where these workers, by their ids, stood still for too long and woke.
    pub(crate) fn end_with_woken(self, woken: &BTreeSet<String>) {
        self.world.verify_epochs_but_of(woken);
        self.end_after_overlap();
    }

    /// As [`Self::end`], where a host that was cut off or stood still ran an older epoch for a while.
    pub(crate) fn end_after_overlap(self) {
        self.world.order("end", "");
        let Self {
            world,
            coordinator,
            run,
            workers,
            ..
        } = self;
        run.wait().exits(0);
        dismiss_all(workers, coordinator);
        world.verify_ranks();
    }

    /// Holds the run to an exit code, after the job has ended in another way.
    pub(crate) fn ends_with(self, code: i32) -> petctl_test_it::Ran {
        self.world.verify_epochs();
        let Self {
            coordinator,
            run,
            workers,
            ..
        } = self;
        let ran = run.wait().exits(code);
        dismiss_all(workers, coordinator);
        ran
    }
}

fn dismiss_all(workers: BTreeMap<String, Hired>, coordinator: Coordinator<'_>) {
    for hired in workers.into_values() {
        hired.worker.terminate();
    }
    coordinator.terminate();
}

/// Waits until none of these ranks lives.
pub(crate) fn gone(group: &RankGroup) {
    wait_until(
        &format!("end of all ranks of epoch {}", group.epoch),
        || group.ranks.iter().all(|rank| !rank.is_alive()),
    );
}

/// Whether all of these ranks live.
pub(crate) fn all_alive(group: &RankGroup) -> bool {
    group.ranks.iter().all(petctl_test_it::Rank::is_alive)
}

/// A number of a JSON object; 0 where there is none.
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// What a rank printed in an epoch.
pub(crate) fn logs_of(crew: &Crew<'_>, epoch: u64, rank: u32) -> String {
    let (epoch, rank) = (epoch.to_string(), rank.to_string());
    let logs = crew.ask().petctl("logs").arg(&crew.job);
    logs.args(["--epoch", &epoch, "--rank", &rank]).run().stdout
}
