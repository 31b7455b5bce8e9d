//! The state machine: inputs in, effects out.

use crate::random::Random;
use crate::training::{Part, Training};
use crate::volatile::{Volatile, VolatileJob};
use crate::{
    Code, Config, ConnId, DeadlineReason, Effect, Epoch, Event, Hello, Input, JobId, LeaseId,
    Lineage, Millis, Record, Refusal, State, ToWorker, WorkerId,
};
use petctl_spec::JobSpec;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A coordinator without its surroundings.
#[derive(Clone, Debug)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) state: State,
    /// What is not durable of the jobs that have not ended.
    pub(crate) open_jobs: BTreeMap<JobId, VolatileJob>,
    /// What is not durable, and all jobs share.
    pub(crate) volatile: Volatile,
    pub(crate) random: Random,
    pub(crate) now: Millis,
    /// Nobody coordinates: this is only looked at.
    pub(crate) offline: bool,
    pub(crate) effects: Vec<Effect>,
}

impl Core {
    /// Takes over a state. The first [`Core::drain`] holds the record of this start.
    #[must_use]
    pub fn new(config: Config, state: State, seed: u64, now: Millis) -> Self {
        let mut core = Self::at_rest(config, state, seed, now);
        let clock_s = u32::try_from(now.0 / 1_000).unwrap_or(u32::MAX);
        let next = core.state.incarnation.saturating_add(1);
        let lineage = match core.state.lineage {
            Lineage(0) => Lineage(core.random.next().max(1)),
            known => known,
        };
        core.record(Event::CoordinatorStarted {
            lineage,
            incarnation: next.max(clock_s),
            starts: core.state.starts.saturating_add(1),
        });
        core.recover();
        core
    }

    /// A state that nobody coordinates, to be looked at.
    #[must_use]
    pub fn offline(config: Config, state: State, now: Millis) -> Self {
        let mut core = Self::at_rest(config, state, 0, now);
        core.offline = true;
        let open = core.state.jobs.values().filter(|job| job.end.is_none());
        core.open_jobs = open
            .map(|job| (job.id, VolatileJob::new(&job.spec)))
            .collect();
        core
    }

    fn at_rest(config: Config, state: State, seed: u64, now: Millis) -> Self {
        Self {
            config,
            state,
            open_jobs: BTreeMap::new(),
            volatile: Volatile::default(),
            random: Random::new(seed),
            now,
            offline: false,
            effects: Vec::new(),
        }
    }

    /// Takes one input. `now` must not go backwards.
    pub fn handle(&mut self, now: Millis, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => self.tick(),
            Input::Request(id, request) => {
                let answer = self.answer(request);
                self.effects.push(Effect::Reply(id, answer));
            }
            Input::Hello(conn, hello) => self.hello(conn, *hello),
            Input::Worker(conn, epoch, message) => self.worker_said(conn, epoch, message),
            Input::Disconnected(conn) => self.disconnected(conn),
            Input::WorkerGone(worker) => self.worker_gone(worker),
            Input::Place(job, report) => self.place_said(job, report),
        }
        self.say_drained();
    }

    /// Everything decided since the last call, in order.
    #[must_use]
    pub fn drain(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`Input::Tick`] is due, and why.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<(Millis, DeadlineReason)> {
        let worker = self.volatile.worker_deadlines.first();
        let worker = worker.map(|at| (at, DeadlineReason::Worker));
        let backoff = self
            .volatile
            .backoffs
            .first()
            .map(|(at, _, _)| (*at, DeadlineReason::Backoff));
        let recovery = self
            .volatile
            .recovery_ends
            .map(|at| (at, DeadlineReason::Recovery));
        let group = self.volatile.group_deadlines.first();
        let group = group.map(|at| (at, DeadlineReason::Group));
        let stage = self.volatile.stage_deadlines.first();
        let stage = stage.map(|at| (at, DeadlineReason::Stage));
        [worker, backoff, recovery, group, stage]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// The durable half.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// This start of the coordinator.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.state.incarnation
    }

    /// The event log that this coordinator goes on with.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        self.state.lineage
    }

    /// Times and bounds.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The number of a job, by name or number.
    ///
    /// # Errors
    /// [`Code::NoSuchJob`], with the jobs that there are.
    pub fn resolve(&self, job: &str) -> Result<JobId, Refusal> {
        self.state.find(job).ok_or_else(|| {
            let names: Vec<&str> = self
                .state
                .jobs
                .values()
                .rev()
                .take(5)
                .map(|j| j.spec.name.as_str())
                .collect();
            let there = if names.is_empty() {
                "there are no jobs here yet".to_owned()
            } else {
                format!("there are: {}", names.join(", "))
            };
            Refusal::new(
                Code::NoSuchJob,
                format!("no job is called `{job}`; {there}"),
            )
        })
    }

    /// A job's file.
    #[must_use]
    pub fn spec(&self, job: JobId) -> Option<&JobSpec> {
        self.state.jobs.get(&job).map(|j| &j.spec)
    }

    /// The stream of the worker that holds a lease.
    #[must_use]
    pub fn conn_of_lease(&self, lease: LeaseId) -> Option<ConnId> {
        let worker = self.volatile.leases.get(lease)?.worker;
        self.volatile.workers.get(&worker)?.conn
    }

    /// The stream of the worker whose processes of this epoch have this rank among them, while they may run.
    #[must_use]
    pub fn conn_of_rank(&self, job: JobId, stage: u32, epoch: Epoch, rank: u32) -> Option<ConnId> {
        let training = self.training(job)?;
        if training.stage != stage || training.epoch() != Some(epoch) {
            return None;
        }
        let has = |part: &&Part| {
            part.state.is_alive()
                && (part.first_rank..part.first_rank + part.processes).contains(&rank)
        };
        let mut parts = training.parts.iter();
        let (worker, _) = parts.find(|(_, part)| has(part))?;
        self.volatile.workers.get(worker)?.conn
    }

    /// Leases that are out.
    #[must_use]
    pub fn running(&self) -> usize {
        self.volatile.leases.len()
    }

    /// Decides something durable: applied here at once, sent nowhere before the driver has it on disk.
    pub(crate) fn record(&mut self, event: Event) {
        let record = Record {
            sequence: self.state.sequence + 1,
            at: self.now,
            event,
        };
        self.state.apply(&record);
        self.effects.push(Effect::Persist(Box::new(record)));
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Says something to a worker, if it is connected.
    pub(crate) fn send(&mut self, worker: WorkerId, message: ToWorker) {
        let Some(worker) = self.volatile.workers.get(&worker) else {
            return;
        };
        let Some(conn) = worker.conn else { return };
        let epoch = worker
            .job()
            .and_then(|j| self.state.jobs.get(&j))
            .map_or(Epoch(0), |j| j.epoch);
        self.effects.push(Effect::Send {
            conn,
            epoch,
            message,
        });
    }

    pub(crate) fn close(&mut self, conn: ConnId, code: Code, message: impl Into<String>) {
        self.volatile.conns.remove(&conn);
        self.effects.push(Effect::Close {
            conn,
            refusal: Refusal::new(code, message),
        });
    }

    /// The training group that has a job's workers.
    pub(crate) fn training(&self, job: JobId) -> Option<&Training> {
        self.open_jobs.get(&job)?.training.as_ref()
    }

    /// Starts where the last coordinator on this log stopped: members may come back and claim what they run.
    fn recover(&mut self) {
        let now = self.now;
        let open = self.state.jobs.values().filter(|job| job.end.is_none());
        self.open_jobs = open
            .map(|job| (job.id, VolatileJob::recovering(job, now)))
            .collect();
        let jobs: Vec<(JobId, bool)> = self
            .open_jobs
            .iter()
            .map(|(id, own)| (*id, own.expected.is_empty()))
            .collect();
        for (id, _) in &jobs {
            self.with_job(*id, |at| {
                at.set_deadlines();
                at.with_training(|training, at| {
                    training.set_deadline(at);
                    ControlFlow::Continue(())
                });
            });
        }
        if jobs.iter().any(|(_, all_are_back)| !all_are_back) {
            self.volatile.recovery_ends = Some(self.now.plus(self.config.recovery_window_ms));
            self.volatile.recovery_limit = self.now.plus(self.config.recovery_limit_ms);
        }
        for (id, _) in jobs.into_iter().filter(|(_, all_are_back)| *all_are_back) {
            self.open(id);
        }
    }

    fn tick(&mut self) {
        if self.volatile.recovery_ends.is_some_and(|at| at <= self.now) {
            self.end_recovery();
        }
        self.end_worker_deadlines();
        self.end_backoffs();
        self.end_stage_deadlines();
        self.end_group_deadlines();
    }

    fn say_drained(&mut self) {
        if self.volatile.draining.is_none() {
            return;
        }
        let trains = self.open_jobs.values().any(VolatileJob::trains);
        let idle = self.volatile.leases.len() == 0 && !trains;
        if let Some(draining) = &mut self.volatile.draining
            && idle
            && !draining.said
        {
            draining.said = true;
            self.effects.push(Effect::Drained);
        }
    }

    pub(crate) fn name_of(hello: &Hello) -> String {
        format!("{} on {}", hello.name, hello.host)
    }
}
