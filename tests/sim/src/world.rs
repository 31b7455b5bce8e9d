//! Everything together, step by step.

use crate::coordinator::{Coordinator, Disk};
use crate::oracle::Oracle;
use crate::plan::{Broken, Options, Plan};
use crate::storage::Storage;
use crate::worker::{Surroundings, Worker};
use fastrand::Rng;
use petctl_core::{
    ConnId, Effect, Epoch, FromWorker, Input, LeaseId, Outcome, RequestId, ShardId, ToWorker,
    WorkerId,
};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;

/// What a run did, if nothing was wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Simulated time, in ms.
    pub ms: u64,
    /// Messages delivered.
    pub messages: u64,
    /// Starts of the coordinator.
    pub starts: u64,
    /// Workers killed, stopped or cut off.
    pub faults: u64,
    /// Shards committed.
    pub committed: u64,
}

/// What was wrong, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The run's seed.
    pub seed: u64,
    /// When, in simulated ms.
    pub at_ms: u64,
    /// Which promise was broken.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, at_ms, what } = self;
        writeln!(f, "seed {seed}, after {at_ms} ms: {what}")?;
        write!(
            f,
            "replay: cargo run -p petctl-test-sim -- --seed {seed} --trace"
        )
    }
}

/// Runs one seed to the end of its job.
///
/// # Errors
/// The first invariant that broke.
pub fn run(seed: u64, options: Options) -> Result<Stats, Failure> {
    let mut world = World::new(seed, options);
    let result = world.run();
    result.map_err(|what| Failure {
        seed,
        at_ms: world.now,
        what,
    })
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
    storage: Storage,
    oracle: Oracle,
    submitted: bool,
    cancel_asked: bool,
    /// Committed results on their way to an acknowledgement.
    reported: BTreeMap<LeaseId, ShardId>,
    stats: Stats,
}

const STEP_MS: u64 = 20;
/// How long a calm world may take to its job's end.
const PATIENCE_MS: u64 = 1_500_000;

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let count = plan.workers as usize;
        let mut storage = Storage::default();
        storage.broken = options.broken == Some(Broken::Fence);
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
            storage,
            oracle: Oracle::default(),
            submitted: false,
            cancel_asked: false,
            reported: BTreeMap::new(),
            stats: Stats::default(),
        }
    }

    fn run(&mut self) -> Result<Stats, String> {
        loop {
            self.now += STEP_MS;
            if self.now.is_multiple_of(1_000) && !self.is_calm() {
                self.faults()?;
            }
            self.deliver()?;
            self.coordinate()?;
            self.workers_act();
            self.oracle.outputs(&self.storage)?;
            if self.oracle.end.is_some() {
                break;
            }
            if self.now > self.plan.calm_at_ms + PATIENCE_MS {
                return Err("the job does not end although nothing disturbs it".to_owned());
            }
        }
        self.oracle.at_the_end()?;
        self.stats.ms = self.now;
        self.stats.committed = self.oracle.committed.len() as u64;
        Ok(self.stats)
    }

    fn is_calm(&self) -> bool {
        self.now >= self.plan.calm_at_ms
    }

    fn happens(&mut self, permille: u32) -> bool {
        self.rng.u32(0..1_000) < permille
    }

    fn trace(&self, what: impl FnOnce() -> String) {
        if self.options.trace {
            let _ = writeln!(std::io::stderr(), "{:>8} {}", self.now, what());
        }
    }

    /// Draws the second's faults.
    fn faults(&mut self) -> Result<(), String> {
        if self.happens(self.plan.crash_permille) {
            self.crash()?;
        }
        if self.happens(50) {
            self.disk.compact()?;
        }
        if self.happens(self.plan.scale_permille) && self.submitted {
            let (min, max) = (self.rng.u32(1..=2), self.rng.u32(2..=8));
            let wanted = Some(self.rng.u32(min..=max));
            let (min, max) = (Some(min), Some(max));
            self.ask(Input::Scale {
                request: RequestId(2),
                job: "sim".to_owned(),
                min,
                max,
                wanted,
            });
        }
        for index in 0..self.workers.len() {
            self.worker_faults(index);
        }
        Ok(())
    }

    fn worker_faults(&mut self, index: usize) {
        if self.happens(self.plan.kill_permille) && self.workers[index].is_some() {
            self.trace(|| format!("kill -9 of worker {index}"));
            self.end_process(index);
        }
        if self.happens(self.plan.stop_permille) {
            let until = self.now + self.rng.u64(100..20_000);
            self.trace(|| format!("worker {index} is stopped until {until}"));
            if let Some(worker) = &mut self.workers[index] {
                worker.stopped_until = until;
                self.stats.faults += 1;
            }
        }
        if self.happens(self.plan.break_permille) {
            self.stats.faults += 1;
            if self.rng.bool() {
                let until = self.now + self.rng.u64(100..12_000);
                self.trace(|| format!("the network to worker {index} is cut until {until}"));
                self.cut_until[index] = until;
            } else {
                self.break_stream(index);
            }
        }
        if self.happens(self.plan.leave_permille) {
            self.trace(|| format!("worker {index} announces its leave"));
            if let Some(mut worker) = self.workers[index].take() {
                worker.leave(&mut self.surroundings());
                let said = FromWorker::Leaving("eviction".to_owned());
                self.say(index, &worker, said);
                self.workers[index] = Some(worker);
            }
        }
    }

    fn end_process(&mut self, index: usize) {
        self.break_stream(index);
        self.workers[index] = None;
        self.respawn_at[index] = self.now + self.rng.u64(100..5_000);
        self.stats.faults += 1;
    }

    /// Both ends learn of it, each in its own time; one of them perhaps much later.
    fn break_stream(&mut self, index: usize) {
        let Some((conn, _)) = self.workers[index].as_ref().and_then(|w| w.conn) else {
            return;
        };
        self.trace(|| format!("stream {conn} of worker {index} breaks"));
        let late = if self.rng.u32(0..4) == 0 {
            self.rng.u64(0..8_000)
        } else {
            0
        };
        self.post(self.plan.delay_ms + late, Arrival::Closed(index, conn));
        self.post(
            self.plan.delay_ms,
            Arrival::ToCoordinator(conn, self.generation, Input::Disconnected(conn)),
        );
    }

    fn crash(&mut self) -> Result<(), String> {
        let Some(coordinator) = self.coordinator.take() else {
            return Ok(());
        };
        self.trace(|| "kill -9 of the coordinator".to_owned());
        // The commit under way either made it to the disk or did not; what it allowed was not sent.
        if coordinator.commit_at.is_some() && self.rng.bool() {
            self.make_durable(&coordinator)?;
        }
        self.generation += 1;
        self.start_at = self.now + self.rng.u64(20..8_000);
        for (conn, index) in std::mem::take(&mut self.conns) {
            self.post(self.plan.delay_ms, Arrival::Closed(index, conn));
        }
        Ok(())
    }

    fn make_durable(&mut self, coordinator: &Coordinator) -> Result<(), String> {
        let records = coordinator.records();
        for record in &records {
            self.trace(|| format!("durable {} {:?}", record.sequence, record.event));
            self.oracle.durable(record, &self.storage)?;
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

    fn deliver(&mut self) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.now) {
            let arrival = entry.remove();
            self.stats.messages += 1;
            match arrival {
                Arrival::ToCoordinator(conn, generation, input) => {
                    let open =
                        matches!(input, Input::Disconnected(_)) || self.conns.contains_key(&conn);
                    if generation == self.generation && open {
                        if matches!(input, Input::Disconnected(_)) {
                            self.conns.remove(&conn);
                        }
                        self.ask(input);
                    }
                }
                Arrival::ToWorker(index, conn, epoch, message) => {
                    self.hear(index, conn, epoch, message)?
                }
                Arrival::Closed(index, conn) => {
                    if let Some(worker) = self.workers[index]
                        .as_mut()
                        .filter(|w| w.conn.is_some_and(|(c, _)| c == conn))
                    {
                        worker.conn = None;
                    }
                }
                Arrival::Opened(index, conn) => self.opened(index, conn),
            }
        }
        Ok(())
    }

    fn opened(&mut self, index: usize, conn: ConnId) {
        let Some(worker) = self.workers[index]
            .as_ref()
            .filter(|w| w.conn.is_some_and(|(c, _)| c == conn))
        else {
            return;
        };
        let hello = worker.hello();
        if self.coordinator.is_some() {
            self.conns.insert(conn, index);
            self.ask(Input::Hello(conn, Box::new(hello)));
        } else {
            self.post(self.plan.delay_ms, Arrival::Closed(index, conn));
        }
    }

    fn hear(
        &mut self,
        index: usize,
        conn: ConnId,
        epoch: Epoch,
        message: ToWorker,
    ) -> Result<(), String> {
        if let ToWorker::ResultAck(leases) = &message {
            for lease in leases {
                if let Some(shard) = self.reported.remove(lease) {
                    self.oracle.acknowledged(shard, *lease)?;
                }
            }
        }
        let Some(mut worker) = self.workers[index].take() else {
            return Ok(());
        };
        if worker.stopped_until > self.now || self.cut_until[index] > self.now {
            let later = worker.stopped_until.max(self.cut_until[index]) - self.now;
            self.workers[index] = Some(worker);
            self.post(later, Arrival::ToWorker(index, conn, epoch, message));
            return Ok(());
        }
        if worker.conn.is_some_and(|(c, _)| c == conn) {
            self.trace(|| format!("worker {index} hears {message:?}"));
            worker.hear(epoch, message, &mut self.surroundings());
        }
        self.workers[index] = Some(worker);
        Ok(())
    }

    fn surroundings(&mut self) -> Surroundings<'_> {
        let calm = self.is_calm();
        Surroundings {
            now: self.now,
            storage: &mut self.storage,
            rng: &mut self.rng,
            work_ms: self.plan.work_ms,
            fail_permille: if calm { 0 } else { self.plan.fail_permille },
            forgets: self.options.broken == Some(Broken::Resend),
        }
    }

    fn coordinate(&mut self) -> Result<(), String> {
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
            self.carry_out(effects);
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
                self.carry_out(sends);
            }
        }
        self.coordinator = Some(coordinator);
        Ok(())
    }

    fn clients(&mut self) {
        if !self.submitted && self.now.is_multiple_of(200) {
            let submission = Box::new(self.plan.submission.clone());
            self.ask(Input::Submit(RequestId(1), submission));
        }
        let cancels = self.plan.cancel_at_ms.is_some_and(|at| at <= self.now);
        if cancels && self.submitted && !self.cancel_asked && self.now.is_multiple_of(200) {
            let job = "sim".to_owned();
            self.ask(Input::Cancel {
                request: RequestId(3),
                job,
                reason: "the plan says so".to_owned(),
            });
        }
        if self.is_calm() && self.submitted && self.now.is_multiple_of(5_000) {
            // A calm world has room for whatever was scaled to.
            let job = "sim".to_owned();
            let (min, max, wanted) = (Some(1), Some(8), Some(self.plan.workers.min(8)));
            self.ask(Input::Scale {
                request: RequestId(2),
                job,
                min,
                max,
                wanted,
            });
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send {
                    conn,
                    epoch,
                    message,
                } => self.send(conn, epoch, message),
                Effect::Close { conn, .. } => {
                    if let Some(index) = self.conns.remove(&conn) {
                        let delay = self.plan.delay_ms;
                        self.post(delay, Arrival::Closed(index, conn));
                    }
                }
                Effect::Reply(RequestId(1), Ok(_)) => self.submitted = true,
                Effect::Reply(RequestId(3), Ok(_)) => self.cancel_asked = true,
                Effect::Reply(_, _)
                | Effect::Persist(_)
                | Effect::Changed(_)
                | Effect::Ended(_)
                | Effect::Drained => {}
            }
        }
    }

    /// Streams keep their order towards a worker; a message may come twice.
    fn send(&mut self, conn: ConnId, epoch: Epoch, message: ToWorker) {
        let Some(index) = self.conns.get(&conn).copied() else {
            return;
        };
        let delay = self.plan.delay_ms;
        if self.happens(self.plan.twice_permille) {
            self.post(
                delay,
                Arrival::ToWorker(index, conn, epoch, message.clone()),
            );
        }
        self.post(delay, Arrival::ToWorker(index, conn, epoch, message));
    }

    /// Towards the coordinator messages may overtake one another and come twice.
    fn say(&mut self, index: usize, worker: &Worker, said: FromWorker) {
        let Some((conn, _)) = worker.conn else { return };
        if let FromWorker::Results(reports) = &said {
            for report in reports.iter().filter(|r| r.outcome == Outcome::Committed) {
                self.reported.insert(report.lease, report.shard);
            }
        }
        self.trace(|| format!("worker {index} says {said:?}"));
        let times = if self.happens(self.plan.twice_permille) {
            2
        } else {
            1
        };
        for _ in 0..times {
            let mut delay = self.rng.u64(0..=self.plan.delay_ms);
            delay += self.cut_until[index].saturating_sub(self.now);
            let input = Input::Worker(conn, worker.epoch(), said.clone());
            self.post(delay, Arrival::ToCoordinator(conn, self.generation, input));
        }
    }

    fn workers_act(&mut self) {
        for index in 0..self.workers.len() {
            let Some(mut worker) = self.workers[index].take() else {
                if self.respawn_at[index] <= self.now {
                    let id =
                        WorkerId(u128::from(self.rng.u64(..)) << 64 | u128::from(self.rng.u64(..)));
                    self.workers[index] =
                        Some(Worker::new(id, format!("w{index}"), self.plan.slots));
                }
                continue;
            };
            if worker.stopped_until > self.now {
                self.workers[index] = Some(worker);
                continue;
            }
            let said = worker.step(&mut self.surroundings());
            for message in said {
                self.say(index, &worker, message);
            }
            let done = worker.is_done();
            if worker.conn.is_none()
                && self.cut_until[index] <= self.now
                && self.rng.u32(0..10) == 0
            {
                self.last_conn += 1;
                let conn = ConnId(self.last_conn);
                worker.conn = Some((conn, false));
                let delay = self.plan.delay_ms;
                self.post(delay, Arrival::Opened(index, conn));
            }
            self.workers[index] = Some(worker);
            if done {
                self.trace(|| format!("worker {index} exits"));
                self.end_process(index);
            }
        }
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
        total.ms += stats.ms;
        total.messages += stats.messages;
        total.starts += stats.starts;
        total.faults += stats.faults;
        total.committed += stats.committed;
    }
    Ok(total)
}
