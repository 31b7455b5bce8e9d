//! Everything together, step by step.

mod faults;
mod launcher;
mod network;
mod stats;
mod sweep;
mod town;
mod workers;

use crate::cluster::Cluster;
use crate::coordinator::{Coordinator, Disk};
use crate::oracle::Oracle;
use crate::oracle::outputs::OutputOracle;
use crate::output::Output;
use crate::plan::{Broken, Options, Plan};
use crate::versions;
use crate::worker::Worker;
use fastrand::Rng;
use launcher::Launcher;
use petctl_core::{
    ClientRequest, Code, ConnId, Effect, Epoch, Input, LeaseId, Refusal, Reply, RequestId, ShardId,
    Submission, ToWorker,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::Write as _;
use town::Town;

pub use stats::Stats;

/// What was wrong, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The run's seed.
    pub seed: u64,
    /// Of several homes.
    pub town: bool,
    /// When, in simulated ms.
    pub at_ms: u64,
    /// Which promise was broken.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            town,
            at_ms,
            what,
        } = self;
        let town = if *town { " --town" } else { "" };
        writeln!(f, "seed {seed}, after {at_ms} ms: {what}")?;
        write!(
            f,
            "replay: cargo run -p petctl-test-sim -- --seed {seed}{town} --trace"
        )
    }
}

/// Runs one seed to the end of its job.
///
/// # Errors
/// The first invariant that broke.
pub fn run(seed: u64, options: Options) -> Result<Stats, Failure> {
    let failure = |at_ms, what| Failure {
        seed,
        town: options.town,
        at_ms,
        what,
    };
    if options.town {
        let mut town = Town::new(seed, options);
        let result = town.run();
        return result.map_err(|what| failure(town.now, what));
    }
    let mut world = World::new(seed, options);
    let result = world.run();
    result.map_err(|what| failure(world.now, what))
}

enum Arrival {
    ToCoordinator(ConnId, u64, Input),
    ToWorker(usize, ConnId, Epoch, ToWorker),
    Closed(usize, ConnId),
    Opened(usize, ConnId),
}

struct World {
    options: Options,
    rng: Rng,
    plan: Plan,
    now: u64,
    queue: BTreeMap<(u64, u64), Arrival>,
    sequence: u64,
    disk: Disk,
    coordinator: Option<Coordinator>,
    /// Grows with each start: messages to an older one are lost.
    generation: u64,
    start_at: u64,
    workers: Vec<Option<Worker>>,
    respawn_at: Vec<u64>,
    conns: BTreeMap<ConnId, usize>,
    last_conn: u64,
    cut_until: Vec<u64>,
    /// What came while a worker stood still or was cut off.
    unheard: Vec<VecDeque<(ConnId, Epoch, ToWorker)>>,
    /// When what a worker said last arrives.
    ordered_until: Vec<u64>,
    output: Output,
    outputs: OutputOracle,
    /// Attempts so far.
    attempts: u64,
    cluster: Cluster,
    oracle: Oracle,
    submitted: bool,
    cancel_asked: bool,
    /// The job's next version, while nobody has taken it.
    next: Option<Submission>,
    versions_left: u32,
    /// Committed results on their way to an acknowledgement.
    reported: BTreeMap<LeaseId, ShardId>,
    stats: Stats,
    /// Which home this is, where there are several.
    keeper: usize,
    /// What runs the job, where that is not done without a look at the output.
    launcher: Option<Launcher>,
    /// Workers that nobody here knows of.
    strangers: Vec<bool>,
    /// An older copy of the log, and what had been read of it then.
    copy: Option<(Disk, Oracle)>,
}

const STEP_MS: u64 = 20;
/// How long a calm world may take to its job's end.
const PATIENCE_MS: u64 = 1_500_000;

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        Self::with(rng.u64(..), options, plan)
    }

    fn with(seed: u64, options: Options, mut plan: Plan) -> Self {
        let mut rng = Rng::with_seed(seed);
        // The local-stage worker is the last one.
        let count = plan.workers as usize + usize::from(plan.has_local_stages());
        let output = Output::draw(&mut rng, options.broken);
        plan.habits.lies_about_stops = options.broken == Some(Broken::Stops);
        plan.habits.lies_about_checkpoints = options.broken == Some(Broken::Checkpoints);
        let mut cluster = Cluster::default();
        cluster.steps = plan.steps;
        cluster.step_ms = plan.step_ms;
        let versions_left = plan.versions;
        Self {
            options,
            rng,
            plan,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            disk: Disk::default(),
            coordinator: None,
            generation: 0,
            start_at: 0,
            workers: vec![None; count],
            respawn_at: vec![0; count],
            conns: BTreeMap::new(),
            last_conn: 0,
            cut_until: vec![0; count],
            unheard: vec![VecDeque::new(); count],
            ordered_until: vec![0; count],
            output,
            outputs: OutputOracle::default(),
            attempts: 0,
            cluster,
            oracle: Oracle::of_all(),
            submitted: false,
            cancel_asked: false,
            next: None,
            versions_left,
            reported: BTreeMap::new(),
            stats: Stats::default(),
            keeper: 0,
            launcher: None,
            strangers: vec![false; count],
            copy: None,
        }
    }

    fn run(&mut self) -> Result<Stats, String> {
        loop {
            self.now += STEP_MS;
            self.turn()?;
            if self.oracle.end.is_some() && self.versions_left == 0 {
                break;
            }
            if self.now > self.plan.calm_at_ms + PATIENCE_MS {
                return Err("the job does not end although nothing disturbs it".to_owned());
            }
        }
        self.oracle.at_the_end()?;
        self.stats.ms = self.now;
        self.stats.committed = self.oracle.committed.len() as u64;
        let (epochs, causes, checkpoints) = self.oracle.trained();
        self.stats.epochs = epochs;
        self.stats.causes = causes;
        self.stats.checkpoints = checkpoints;
        self.stats.reused = self.oracle.reused;
        self.stats.second = self.oracle.second;
        self.stats.of_the_output(&self.output, &self.outputs);
        Ok(self.stats)
    }

    /// Everything that is due now.
    fn turn(&mut self) -> Result<(), String> {
        if self.now.is_multiple_of(1_000) && !self.is_calm() {
            self.faults()?;
        }
        self.hear_late()?;
        self.deliver()?;
        self.launch()?;
        self.coordinate()?;
        self.workers_act()?;
        self.look_at_outputs()
    }

    fn look_at_outputs(&mut self) -> Result<(), String> {
        self.outputs.look(&mut self.output)?;
        if !self.options.town {
            self.oracle.excused.append(&mut self.outputs.strayed);
        } else {
            let strayed = self.outputs.strayed.iter().cloned();
            self.oracle.excused.extend(strayed);
            self.oracle.has_output &= self.has_the_output();
        }
        self.oracle.outputs(&self.output)
    }

    fn is_calm(&self) -> bool {
        self.now >= self.plan.calm_at_ms
    }

    fn happens(&mut self, permille: u32) -> bool {
        self.rng.u32(0..1_000) < permille
    }

    fn trace(&self, what: impl FnOnce() -> String) {
        if self.options.trace {
            let home = self.keeper;
            let _ = writeln!(std::io::stderr(), "{:>8} {home}: {}", self.now, what());
        }
    }

    fn make_durable(&mut self, coordinator: &Coordinator) -> Result<(), String> {
        let records = coordinator.records();
        for record in &records {
            self.trace(|| format!("durable {} {:?}", record.sequence, record.event));
            let at = (&self.output, &self.outputs.truths);
            self.oracle.durable(record, at, &self.cluster, self.now)?;
        }
        self.disk.append(&records);
        Ok(())
    }

    fn post(&mut self, delay_ms: u64, arrival: Arrival) {
        self.sequence += 1;
        self.queue
            .insert((self.now + delay_ms, self.sequence), arrival);
    }

    fn ask(&mut self, input: Input) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.waiting.push(input);
        }
    }

    fn coordinate(&mut self) -> Result<(), String> {
        let stands_still = |launcher: &Launcher| launcher.paused_until > self.now;
        if self.launcher.as_ref().is_some_and(stands_still) {
            return Ok(());
        }
        if self.coordinator.is_none() && self.start_at <= self.now {
            let state = self.disk.replay()?;
            self.trace(|| "the coordinator starts".to_owned());
            self.coordinator = Some(Coordinator::start(state, self.rng.u64(..), self.now));
            self.stats.starts += 1;
        }
        self.clients();
        let commit_ms = self.rng.u64(0..60);
        let Some(mut coordinator) = self.coordinator.take() else {
            return Ok(());
        };
        if coordinator.commit_at.is_some_and(|at| at <= self.now) {
            coordinator.commit_at = None;
            self.make_durable(&coordinator)?;
            let effects = std::mem::take(&mut coordinator.held);
            self.carry_out(effects)?;
        }
        if coordinator.commit_at.is_none() {
            coordinator.take_batch(self.now, commit_ms);
            if self.options.broken == Some(Broken::PersistFirst) {
                let sends = coordinator
                    .held
                    .iter()
                    .filter(|e| !matches!(e, Effect::Persist(_)))
                    .cloned()
                    .collect();
                coordinator.held.retain(|e| matches!(e, Effect::Persist(_)));
                self.carry_out(sends)?;
            }
        }
        self.coordinator = Some(coordinator);
        Ok(())
    }

    fn clients(&mut self) {
        if self.options.town {
            return;
        }
        if !self.submitted && self.now.is_multiple_of(200) {
            let submission = Box::new(self.plan.submission.clone());
            self.ask(Input::Request(
                RequestId(1),
                ClientRequest::Submit(submission),
            ));
        }
        let cancels = self.plan.cancel_at_ms.is_some_and(|at| at <= self.now);
        if cancels && self.submitted && !self.cancel_asked && self.now.is_multiple_of(200) {
            let job = "sim".to_owned();
            self.ask(Input::Request(
                RequestId(3),
                ClientRequest::Cancel {
                    job,
                    reason: "the plan says so".to_owned(),
                },
            ));
        }
        self.next_version();
        if self.is_calm() && self.submitted && self.now.is_multiple_of(5_000) {
            self.ask(Input::Request(
                RequestId(5),
                ClientRequest::Resume {
                    job: "sim".to_owned(),
                },
            ));
            // A calm world has room for whatever was scaled to.
            let job = "sim".to_owned();
            let (min, max, wanted) = (Some(1), Some(8), Some(self.plan.workers.min(8)));
            self.ask(Input::Request(
                RequestId(2),
                ClientRequest::Scale {
                    job,
                    min,
                    max,
                    wanted,
                },
            ));
        }
    }

    /// Submits the next version of the job when this one has ended, and sometimes before.
    fn next_version(&mut self) {
        let early = !self.is_calm() && self.rng.u32(0..20) == 0;
        let due = self.oracle.end.is_some() || early;
        if !self.submitted || self.versions_left == 0 || !due || !self.now.is_multiple_of(200) {
            return;
        }
        let rng = &mut self.rng;
        let next = self.next.get_or_insert_with(|| {
            let last = &self.plan.submission;
            versions::next(last, rng)
        });
        let submission = Box::new(next.clone());
        self.ask(Input::Request(
            RequestId(7),
            ClientRequest::Submit(submission),
        ));
    }

    fn version_answered(&mut self, answer: Result<Reply, Refusal>) -> Result<(), String> {
        match answer {
            // Its answer may come twice, as it may have been asked for twice.
            Ok(_) => {
                if let Some(taken) = self.next.take() {
                    self.plan.submission = taken;
                    self.versions_left -= 1;
                    self.stats.versions += 1;
                }
                Ok(())
            }
            Err(refusal) if refusal.code == Code::JobRunning => Ok(()),
            Err(refusal) => Err(format!("a version was refused: {refusal:?}")),
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Send {
                    conn,
                    epoch,
                    message,
                } => self.send(conn, epoch, message)?,
                Effect::Close { conn, .. } => {
                    if let Some(index) = self.conns.remove(&conn) {
                        let delay = self.plan.delay_ms;
                        self.post(delay, Arrival::Closed(index, conn));
                    }
                }
                Effect::Reply(RequestId(1), Ok(_)) => self.submitted = true,
                Effect::Reply(RequestId(3), Ok(_)) => self.cancel_asked = true,
                Effect::Reply(RequestId(7), answer) => self.version_answered(answer)?,
                Effect::Reply(request, answer) => self.answered(request, answer)?,
                Effect::Persist(_) | Effect::Changed(_) | Effect::Ended(_) | Effect::Drained => {}
            }
        }
        Ok(())
    }
}

/// Runs many seeds and stops at the first that fails.
///
/// # Errors
/// That failure.
pub fn run_many(first: u64, count: u64, options: Options) -> Result<Stats, Failure> {
    let mut total = Stats::default();
    for seed in first..first + count {
        let stats = run(seed, options)?;
        total.add(&stats);
    }
    Ok(total)
}
