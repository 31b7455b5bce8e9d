//! A coordinator with obedient workers and a clock that the test turns.

use petctl_core::{
    Adopted, AttemptReport, ClientRequest, Config, ConnId, Core, Effect, EndState, Epoch,
    FromWorker, HeldLease, Hello, Input, JobId, JobView, LeaseGrant, LeaseId, Millis, Outcome,
    PlaceReport, Pool, Refusal, Reply, RequestId, Rerun, ShardFilter, ShardView, StageContents,
    State, Submission, Submitted, ToWorker, Verdict, WorkerId,
};
use petctl_spec::{JobSpec, ShardSource, StageContent, StageKind, StageSpec};
use std::collections::BTreeMap;

/// A coordinator with one job.
pub(crate) struct Harness {
    core: Core,
    now: Millis,
    heard: BTreeMap<ConnId, Vec<ToWorker>>,
    held: BTreeMap<ConnId, Vec<LeaseGrant>>,
    epochs: BTreeMap<ConnId, Epoch>,
    replies: Vec<Result<Reply, Refusal>>,
    /// The newest job.
    job: JobId,
}

/// What a launcher sends: a job whose stages have contents. Each stage's command counts for what it does.
pub(crate) fn submission(spec: JobSpec) -> Submission {
    let digest = |stage: &StageSpec| {
        let mut digest = [1; 16];
        for (place, byte) in stage.command.concat().bytes().take(15).enumerate() {
            digest[place] = byte;
        }
        digest
    };
    let contents = spec.stages.iter().map(|stage| StageContents {
        stage: StageContent {
            command: digest(stage),
            ..StageContent::default()
        },
        shards: Vec::new(),
    });
    Submission {
        contents: contents.collect(),
        spec,
        fingerprint: [0; 32],
        keys: Vec::new(),
        details: Vec::new(),
        outputs: Vec::new(),
        seen: petctl_core::Seen::default(),
        new_output: true,
        rerun: Rerun::Changed,
        plan_only: false,
    }
}

/// The same with listed keys and one input digest for each.
pub(crate) fn listed(mut spec: JobSpec, keys: &[(&str, u8)], version: u8) -> Submission {
    for stage in &mut spec.stages {
        stage.kind = StageKind::Shards(ShardSource::Glob("*".to_owned()));
    }
    let mut submission = submission(spec);
    submission.fingerprint = [version; 32];
    let names: Vec<String> = keys.iter().map(|(key, _)| (*key).to_owned()).collect();
    submission.keys = vec![names; submission.spec.stages.len()];
    submission.contents[0].shards = keys
        .iter()
        .map(|(_, input)| petctl_spec::ShardContent {
            input: [*input; 16],
            params: [0; 16],
        })
        .collect();
    submission
}

impl Harness {
    /// A coordinator with the job of this submission.
    pub(crate) fn with(submission: Submission) -> Self {
        let mut harness = Self::empty();
        harness.ask(submission).expect("it is accepted");
        harness
    }

    pub(crate) fn new(spec: JobSpec) -> Self {
        Self::with(submission(spec))
    }

    /// The same on another log.
    pub(crate) fn elsewhere(submission: Submission) -> (Self, Submitted) {
        let mut harness = Self::seeded(2);
        let submitted = harness.ask(submission).expect("it is accepted");
        (harness, submitted)
    }

    fn empty() -> Self {
        Self::seeded(1)
    }

    fn seeded(seed: u64) -> Self {
        Self {
            core: Core::new(Config::default(), State::default(), seed, Millis(0)),
            now: Millis(0),
            heard: BTreeMap::new(),
            held: BTreeMap::new(),
            epochs: BTreeMap::new(),
            replies: Vec::new(),
            job: JobId(1),
        }
    }

    /// Submits a job; the same work again is the same job.
    pub(crate) fn submit(&mut self, spec: JobSpec) {
        let submission = submission(spec);
        self.ask(submission).expect("it is accepted");
    }

    /// Submits a job as a launcher would, and takes the answer.
    pub(crate) fn ask(&mut self, submission: Submission) -> Result<Submitted, Refusal> {
        self.tell(Input::Request(
            RequestId(1),
            ClientRequest::Submit(Box::new(submission)),
        ));
        match self.replies.pop().expect("a submission is answered") {
            Ok(Reply::Submitted(submitted)) => Ok(submitted),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal),
        }
    }

    /// A coordinator starts on what the last one made durable; its workers have to come back.
    pub(crate) fn restart(&mut self) {
        let state = self.core.state().clone();
        self.put_back(state);
    }

    /// A coordinator starts on an older copy of the log.
    pub(crate) fn put_back(&mut self, state: State) {
        self.core = Core::new(Config::default(), state, 1, self.now);
        drop(self.core.drain());
    }

    /// A worker comes back with all that it holds.
    pub(crate) fn come_back(&mut self, worker: ConnId, mut hello: Hello) -> ConnId {
        let held = self.held[&worker].iter();
        hello.held = held
            .map(|g| HeldLease {
                lineage: g.lineage,
                lease: g.lease,
                shard: g.shard,
                attempt: g.attempt,
                gpus: g.gpus.clone(),
            })
            .collect();
        hello.member_of = Some(self.job);
        let conn = ConnId(self.heard.len() as u64 + 1);
        self.heard.insert(conn, Vec::new());
        self.held.insert(conn, self.held[&worker].clone());
        hello.worker = WorkerId(u128::from(worker.0));
        self.tell(Input::Hello(conn, Box::new(hello)));
        conn
    }

    pub(crate) fn state(&self) -> &State {
        self.core.state()
    }

    pub(crate) fn view(&self) -> JobView {
        self.core
            .job_view(self.now, self.job)
            .expect("there is one")
    }

    pub(crate) fn grants(&self, worker: ConnId) -> &[LeaseGrant] {
        &self.held[&worker]
    }

    pub(crate) fn timeout_ms(&self) -> u64 {
        self.core.spec(self.job).expect("there is one").stages[0].timeout_ms
    }

    pub(crate) fn running(&self) -> u64 {
        let view = self
            .core
            .job_view(self.now, self.job)
            .expect("there is one");
        view.stages.iter().map(|s| s.running).sum()
    }

    fn tell(&mut self, input: Input) {
        self.core.handle(self.now, input);
        for effect in self.core.drain() {
            if let Effect::Reply(_, reply) = effect {
                self.replies.push(reply);
            } else if let Effect::Send {
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
        self.job = self.core.state().last_job;
        crate::totals::hold(&self.core, self.now);
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

    pub(crate) fn hello(&mut self, mut hello: Hello) -> ConnId {
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

    /// Ends everything the worker holds, and the acknowledgement is lost.
    pub(crate) fn finish_unheard(&mut self, worker: ConnId, outcome: Outcome) {
        let held = self.held[&worker].clone();
        self.finish(worker, outcome, 10);
        self.held.insert(worker, held);
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

    /// The oldest lease that the worker holds ends with an exit code.
    pub(crate) fn exit(&mut self, worker: ConnId, code: i32) {
        self.fail(worker, Some(code), "EXIT_NONZERO");
    }

    /// The oldest lease that the worker holds fails with this code.
    pub(crate) fn fail(&mut self, worker: ConnId, exit_code: Option<i32>, code: &str) {
        self.fail_as(worker, Outcome::default(), exit_code, code);
    }

    /// The same with an outcome of the worker's own.
    pub(crate) fn fail_as(
        &mut self,
        worker: ConnId,
        outcome: Outcome,
        exit_code: Option<i32>,
        code: &str,
    ) {
        let grant = self.held.get_mut(&worker).expect("there is one").remove(0);
        let report = AttemptReport {
            lease: grant.lease,
            shard: grant.shard,
            outcome,
            exit_code,
            code: code.to_owned(),
            ..AttemptReport::default()
        };
        let epoch = self.epochs[&worker];
        self.said(worker, epoch, FromWorker::Results(vec![report]));
    }

    /// The oldest lease that the worker holds is committed with this verdict.
    pub(crate) fn judge(&mut self, worker: ConnId, verdict: Verdict) {
        let grant = self.held.get_mut(&worker).expect("there is one").remove(0);
        let report = AttemptReport {
            lease: grant.lease,
            shard: grant.shard,
            outcome: Outcome::Committed,
            verdict,
            ..AttemptReport::default()
        };
        let epoch = self.epochs[&worker];
        self.said(worker, epoch, FromWorker::Results(vec![report]));
    }

    /// The oldest lease that the worker holds finds outputs of an earlier one, and takes them.
    pub(crate) fn adopt(&mut self, worker: ConnId, adopted: LeaseId) {
        let grant = self.held.get_mut(&worker).expect("there is one").remove(0);
        let report = AttemptReport {
            lease: grant.lease,
            shard: grant.shard,
            outcome: Outcome::Committed,
            adopted: Some(Adopted {
                lineage: grant.lineage,
                lease: adopted,
            }),
            ..AttemptReport::default()
        };
        let epoch = self.epochs[&worker];
        self.said(worker, epoch, FromWorker::Results(vec![report]));
    }

    /// The newest lease that the worker holds is forgotten, as if its grant had been lost.
    pub(crate) fn give_back_one(&mut self, worker: ConnId) {
        self.held.get_mut(&worker).expect("there is one").pop();
    }

    /// A worker's process dies.
    pub(crate) fn lose(&mut self, worker: ConnId) {
        self.held.get_mut(&worker).expect("there is one").clear();
        self.tell(Input::WorkerGone(WorkerId(u128::from(worker.0))));
    }

    /// So many workers are wanted.
    pub(crate) fn scale(&mut self, wanted: u32) {
        let request = ClientRequest::Scale {
            job: "job".to_owned(),
            min: None,
            max: None,
            wanted: Some(wanted),
        };
        self.tell(Input::Request(RequestId(2), request));
        self.replies.clear();
    }

    /// What the place of the job's workers is told.
    pub(crate) fn pool(&self) -> Pool {
        self.core.pools().remove(0)
    }

    /// What that place says.
    pub(crate) fn place_says(&mut self, report: PlaceReport) {
        self.tell(Input::Place(self.job, report));
    }

    pub(crate) fn suspend(&mut self) {
        self.tell(Input::Request(
            RequestId(2),
            ClientRequest::Suspend {
                job: "job".to_owned(),
                reason: String::new(),
            },
        ));
        self.replies.clear();
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
            .job_view(self.now, self.job)
            .expect("there is one");
        let could_run: u64 = view.stages.iter().map(|s| s.ready + s.running).sum();
        could_run - self.held.values().map(Vec::len).sum::<usize>() as u64
    }

    pub(crate) fn shard(&self, index: usize) -> ShardView {
        self.core
            .shards(self.job, &ShardFilter::default(), index, 1)
            .0
            .remove(0)
    }

    pub(crate) fn end(&self) -> Option<EndState> {
        self.core.state().jobs[&self.job].end.map(|(end, _)| end)
    }

    pub(crate) fn explain(&self, key: &str) -> String {
        format!("{:?}", self.core.explain(self.now, self.job, "b", key))
    }

    pub(crate) fn waiting(&self) -> String {
        format!(
            "{:?}",
            self.core
                .job_view(self.now, self.job)
                .expect("there is one")
                .waiting
        )
    }
}

/// A worker of one slot.
pub(crate) fn hello(name: &str) -> Hello {
    Hello {
        name: name.to_owned(),
        slots: 1,
        ..Hello::default()
    }
}
