//! A coordinator with obedient workers and a clock that the test turns.

use petctl_core::{
    AttemptReport, Config, ConnId, Core, Effect, EndState, Epoch, FromWorker, Hello, Input, JobId,
    LeaseGrant, LeaseId, Millis, Outcome, RequestId, ShardFilter, ShardView, State, Submission,
    ToWorker, WorkerId,
};
use petctl_spec::{
    Budgets, JobSpec, Need, ShardSource, StageKind, StageSpec, StorageSpec, WorkersSpec,
};
use std::collections::BTreeMap;

/// A coordinator with one job.
pub(crate) struct House {
    core: Core,
    now: Millis,
    heard: BTreeMap<ConnId, Vec<ToWorker>>,
    held: BTreeMap<ConnId, Vec<LeaseGrant>>,
    epochs: BTreeMap<ConnId, Epoch>,
}

/// A job with one stage of so many shards.
pub(crate) fn job(min: u32, max: u32, shards: u64) -> JobSpec {
    JobSpec {
        name: "job".to_owned(),
        folder: "/".to_owned(),
        image: None,
        code: Vec::new(),
        setup: None,
        workers: WorkersSpec {
            min,
            max,
            wanted: max,
            unit: 1,
            slots: 1,
            gpus: 0,
            spares: 0,
            settle_timeout_ms: 30_000,
            preflight: None,
        },
        storage: StorageSpec {
            input: None,
            output: "/out".to_owned(),
            ..StorageSpec::default()
        },
        stages: vec![stage("a", shards, Vec::new())],
    }
}

/// Two stages, shard by shard.
pub(crate) fn chain(shards: u64) -> JobSpec {
    let mut job = job(1, 1, shards);
    job.stages.push(stage(
        "b",
        shards,
        vec![Need {
            stage: 0,
            per_shard: true,
        }],
    ));
    job
}

fn stage(name: &str, shards: u64, needs: Vec<Need>) -> StageSpec {
    StageSpec {
        name: name.to_owned(),
        kind: StageKind::Shards(ShardSource::Range {
            start: 0,
            end: shards,
        }),
        needs,
        command: vec!["true".to_owned()],
        env: BTreeMap::new(),
        params: BTreeMap::new(),
        timeout_ms: 0,
        grace_ms: 1_000,
        budgets: Budgets {
            failed: 3,
            timed_out: 3,
            worker_lost: 3,
            infrastructure: 3,
            preempted: 3,
        },
        backoff_ms: 1_000,
        log_bytes: 1 << 20,
        cpu_milli: 0,
        memory_mib: 0,
        deadline_ms: 0,
        dispatch: petctl_spec::DispatchSpec::default(),
    }
}

impl House {
    pub(crate) fn new(spec: JobSpec) -> Self {
        let mut house = Self {
            core: Core::new(Config::default(), State::default(), 1, Millis(0)),
            now: Millis(0),
            heard: BTreeMap::new(),
            held: BTreeMap::new(),
            epochs: BTreeMap::new(),
        };
        house.submit(spec);
        house
    }

    /// Submits a job; the same work again is the same job.
    pub(crate) fn submit(&mut self, spec: JobSpec) {
        let submission = Submission {
            spec,
            fingerprint: [0; 32],
            keys: Vec::new(),
            details: Vec::new(),
            contents: Vec::new(),
            rerun: petctl_core::Rerun::Changed,
            plan_only: false,
        };
        self.tell(Input::Submit(RequestId(1), Box::new(submission)));
    }

    pub(crate) fn timeout_ms(&self) -> u64 {
        self.core.spec(JobId(1)).expect("there is one").stages[0].timeout_ms
    }

    pub(crate) fn running(&self) -> u64 {
        let view = self
            .core
            .job_view(self.now, JobId(1))
            .expect("there is one");
        view.stages.iter().map(|s| s.running).sum()
    }

    fn tell(&mut self, input: Input) {
        self.core.handle(self.now, input);
        for effect in self.core.drain() {
            if let Effect::Send {
                conn,
                epoch,
                message,
            } = effect
            {
                self.epochs.insert(conn, epoch);
                if let ToWorker::Leases(grants) = &message {
                    self.held
                        .entry(conn)
                        .or_default()
                        .extend(grants.iter().cloned());
                }
                self.heard.entry(conn).or_default().push(message);
            }
        }
    }

    pub(crate) fn join(&mut self, name: &str, slots: u32) -> ConnId {
        self.hello(Hello {
            name: name.to_owned(),
            slots,
            memory_mib: 100,
            ..Hello::default()
        })
    }

    /// A worker that serves one job only.
    pub(crate) fn join_for(&mut self, name: &str, job: &str) -> ConnId {
        self.hello(Hello {
            name: name.to_owned(),
            job: job.to_owned(),
            slots: 1,
            ..Hello::default()
        })
    }

    fn hello(&mut self, mut hello: Hello) -> ConnId {
        let conn = ConnId(self.heard.len() as u64 + 1);
        self.heard.insert(conn, Vec::new());
        self.held.insert(conn, Vec::new());
        hello.worker = WorkerId(u128::from(conn.0));
        self.tell(Input::Hello(conn, Box::new(hello)));
        conn
    }

    pub(crate) fn heard(&self, worker: ConnId) -> &[ToWorker] {
        &self.heard[&worker]
    }

    pub(crate) fn leases(&self, worker: ConnId) -> Vec<LeaseId> {
        self.held[&worker].iter().map(|g| g.lease).collect()
    }

    pub(crate) fn stages_leased(&self, worker: ConnId) -> Vec<u32> {
        self.held[&worker].iter().map(|g| g.shard.stage).collect()
    }

    /// Ends everything the worker holds.
    pub(crate) fn finish(&mut self, worker: ConnId, outcome: Outcome, duration_ms: u64) {
        let all = self.leases(worker);
        self.report(worker, &all, outcome, duration_ms);
    }

    /// Ends the oldest lease the worker holds.
    pub(crate) fn finish_one(&mut self, worker: ConnId, outcome: Outcome, duration_ms: u64) {
        let first = self.leases(worker)[..1].to_vec();
        self.report(worker, &first, outcome, duration_ms);
    }

    pub(crate) fn report(
        &mut self,
        worker: ConnId,
        leases: &[LeaseId],
        outcome: Outcome,
        duration_ms: u64,
    ) -> Vec<ToWorker> {
        self.report_in(worker, self.epochs[&worker], leases, outcome, duration_ms)
    }

    pub(crate) fn report_in(
        &mut self,
        worker: ConnId,
        epoch: Epoch,
        leases: &[LeaseId],
        outcome: Outcome,
        duration_ms: u64,
    ) -> Vec<ToWorker> {
        let shard_of = |lease: &LeaseId| {
            let grant = self.held[&worker].iter().find(|g| g.lease == *lease);
            grant.map(|g| g.shard).unwrap_or_default()
        };
        let reports = leases
            .iter()
            .map(|lease| AttemptReport {
                lease: *lease,
                shard: shard_of(lease),
                outcome,
                duration_ms,
                ..AttemptReport::default()
            })
            .collect();
        self.held
            .get_mut(&worker)
            .expect("there is one")
            .retain(|g| !leases.contains(&g.lease));
        self.said(worker, epoch, FromWorker::Results(reports))
    }

    pub(crate) fn heartbeat(&mut self, worker: ConnId, queued: u32) -> Vec<ToWorker> {
        self.said(
            worker,
            self.epochs[&worker],
            FromWorker::Heartbeat {
                sequence: 1,
                queued,
            },
        )
    }

    fn said(&mut self, worker: ConnId, epoch: Epoch, message: FromWorker) -> Vec<ToWorker> {
        let before = self.heard[&worker].len();
        self.tell(Input::Worker(worker, epoch, message));
        self.heard[&worker][before..].to_vec()
    }

    /// Turns the clock, heartbeats included.
    pub(crate) fn wait(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(1_000) {
            self.now = self.now.plus(1_000);
            let workers: Vec<ConnId> = self.heard.keys().copied().collect();
            for worker in workers {
                self.heartbeat(worker, 0);
            }
            self.tell(Input::Tick);
        }
    }

    /// Shards that no worker holds, though they could run.
    pub(crate) fn unleased(&self) -> u64 {
        let view = self
            .core
            .job_view(self.now, JobId(1))
            .expect("there is one");
        let could_run: u64 = view.stages.iter().map(|s| s.ready + s.running).sum();
        could_run - self.held.values().map(Vec::len).sum::<usize>() as u64
    }

    pub(crate) fn shard(&self, index: usize) -> ShardView {
        self.core
            .shards(JobId(1), &ShardFilter::default(), index, 1)
            .0
            .remove(0)
    }

    pub(crate) fn end(&self) -> Option<EndState> {
        self.core.state().jobs[&JobId(1)].end.map(|(end, _)| end)
    }

    pub(crate) fn explain(&self, key: &str) -> String {
        format!("{:?}", self.core.explain(self.now, JobId(1), "b", key))
    }

    pub(crate) fn waiting(&self) -> String {
        format!(
            "{:?}",
            self.core
                .job_view(self.now, JobId(1))
                .expect("there is one")
                .waiting
        )
    }
}
