//! A coordinator with workers that train as they are told, and a clock that the test turns.

mod worker;

use petctl_core::{
    CheckpointReport, ClientRequest, Config, ConnId, Core, Effect, EndState, Epoch, Event,
    FromWorker, GroupPhase, GroupProgress, GroupStart, GroupView, Hello, Input, JobId, JobView,
    Millis, RankFailure, RankProgress, RequestId, State, Submission, ToWorker, WorkerId,
};
use petctl_spec::JobSpec;
use std::collections::BTreeMap;
use worker::FakeWorker;

pub(crate) const JOB: JobId = JobId(1);

/// A coordinator, and the workers it has.
pub(crate) struct Harness {
    pub(crate) core: Core,
    now: Millis,
    workers: BTreeMap<WorkerId, FakeWorker>,
    pub(crate) events: Vec<Event>,
    pub(crate) replies: Vec<String>,
    last_conn: u64,
    pub(crate) drained: bool,
    deafen: bool,
}

impl Harness {
    pub(crate) fn new(spec: JobSpec) -> Self {
        let mut harness = Self {
            core: Core::new(Config::default(), State::default(), 1, Millis(1_000_000)),
            now: Millis(1_000_000),
            workers: BTreeMap::new(),
            events: Vec::new(),
            replies: Vec::new(),
            last_conn: 0,
            drained: false,
            deafen: false,
        };
        harness.submit(spec);
        harness
    }

    /// With so many workers, `w0` the first.
    pub(crate) fn with(spec: JobSpec, workers: u128) -> Self {
        let mut harness = Self::new(spec);
        for n in 0..workers {
            harness.join(n);
        }
        harness
    }

    pub(crate) fn submit(&mut self, spec: JobSpec) {
        let submission = Submission {
            fingerprint: [u8::try_from(spec.name.len()).unwrap_or(0); 32],
            spec,
            keys: Vec::new(),
            details: Vec::new(),
            contents: Vec::new(),
            outputs: Vec::new(),
            seen: petctl_core::Seen::default(),
            new_output: false,
            rerun: petctl_core::Rerun::Changed,
            plan_only: false,
        };
        self.tell(Input::Request(
            RequestId(1),
            ClientRequest::Submit(Box::new(submission)),
        ));
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.deliver();
        crate::totals::hold(&self.core, self.now);
    }

    fn deliver(&mut self) {
        let mut said: Vec<(ConnId, FromWorker)> = Vec::new();
        for effect in self.core.drain() {
            match effect {
                Effect::Persist(record) => self.events.push(record.event.clone()),
                Effect::Send { conn, message, .. } => {
                    let worker = self.workers.values_mut().find(|p| p.conn == Some(conn));
                    if let Some(worker) = worker.filter(|p| !p.deaf) {
                        worker.heard.push(message.clone());
                        said.extend(worker.obey(message).into_iter().map(|m| (conn, m)));
                    }
                }
                Effect::Close { conn, .. } => {
                    let worker = self.workers.values_mut().find(|p| p.conn == Some(conn));
                    if let Some(worker) = worker {
                        worker.conn = None;
                    }
                }
                Effect::Reply(_, reply) => {
                    let text = match reply {
                        Ok(reply) => format!("{reply:?}"),
                        Err(refusal) => format!("{}: {}", refusal.code, refusal.message),
                    };
                    self.replies.push(text);
                }
                Effect::Drained => self.drained = true,
                Effect::Changed(_) | Effect::Ended(_) => {}
            }
        }
        for (conn, message) in said {
            self.tell(Input::Worker(conn, Epoch(0), message));
        }
    }

    pub(crate) fn join(&mut self, n: u128) {
        self.join_as(n, Hello::default());
    }

    pub(crate) fn join_as(&mut self, n: u128, hello: Hello) {
        let hello = Hello {
            worker: WorkerId(n),
            name: format!("w{n}"),
            host: format!("node-{n}"),
            // "any": whichever has work.
            job: match hello.job.as_str() {
                "any" => String::new(),
                _ => "job".to_owned(),
            },
            slots: 1,
            ..hello
        };
        let worker = FakeWorker {
            conn: None,
            hello,
            heard: Vec::new(),
            start: None,
            report: None,
            stubborn: false,
            deaf: self.deafen,
        };
        self.workers.insert(WorkerId(n), worker);
        self.connect(n);
    }

    /// It joins, and hears nothing until it connects again.
    pub(crate) fn join_deaf(&mut self, n: u128) {
        self.deafen = true;
        self.join(n);
        self.deafen = false;
    }

    /// Says Hello, with how its processes stand.
    pub(crate) fn connect(&mut self, n: u128) {
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let worker = self.worker(n);
        worker.conn = Some(conn);
        let mut hello = worker.hello.clone();
        hello.group.clone_from(&worker.report);
        hello.member_of = worker.report.as_ref().map(|r| r.job);
        self.tell(Input::Hello(conn, Box::new(hello)));
    }

    pub(crate) fn worker(&mut self, n: u128) -> &mut FakeWorker {
        self.workers.get_mut(&WorkerId(n)).expect("it has joined")
    }

    /// Its stream breaks; its processes run on.
    pub(crate) fn cut(&mut self, n: u128) {
        if let Some(conn) = self.worker(n).conn.take() {
            self.tell(Input::Disconnected(conn));
        }
        self.worker(n).deaf = false;
    }

    /// It dies with its processes.
    pub(crate) fn kill(&mut self, n: u128) {
        self.cut(n);
        self.workers.remove(&WorkerId(n));
        self.tell(Input::WorkerGone(WorkerId(n)));
    }

    pub(crate) fn stubborn(&mut self, n: u128, is: bool) {
        self.worker(n).stubborn = is;
    }

    /// A stubborn worker does at last what it was told.
    pub(crate) fn stop_now(&mut self, n: u128) {
        self.report(n, GroupPhase::Stopped, Vec::new());
    }

    pub(crate) fn said(&mut self, n: u128, message: FromWorker) {
        if let Some(conn) = self.worker(n).conn {
            self.tell(Input::Worker(conn, Epoch(0), message));
        }
    }

    /// Says it as a member of the newest epoch.
    pub(crate) fn said_in_epoch(&mut self, n: u128, message: FromWorker) {
        let epoch = self.core.state().jobs[&JOB].epoch;
        if let Some(conn) = self.worker(n).conn {
            self.tell(Input::Worker(conn, epoch, message));
        }
    }

    pub(crate) fn report(&mut self, n: u128, phase: GroupPhase, failures: Vec<RankFailure>) {
        let worker = self.worker(n);
        let report = worker.report.as_mut().expect("it has trained");
        report.phase = phase;
        report.failures.extend(failures);
        let report = report.clone();
        self.said(n, FromWorker::Group(Box::new(report)));
    }

    /// Its processes are so, and it has told nobody.
    pub(crate) fn worker_is(&mut self, n: u128, phase: GroupPhase) {
        self.worker(n)
            .report
            .as_mut()
            .expect("it has trained")
            .phase = phase;
    }

    /// One of its processes failed, and it has told nobody.
    pub(crate) fn worker_failed(&mut self, n: u128) {
        let rank = self.start(n).first_rank;
        let failure = RankFailure {
            rank,
            code: "RANK_FAILED".to_owned(),
            ..RankFailure::default()
        };
        let report = self.worker(n).report.as_mut().expect("it has trained");
        report.phase = GroupPhase::Stopped;
        report.failures.push(failure);
    }

    /// It never heard what it was told to start.
    pub(crate) fn forget(&mut self, n: u128) {
        let worker = self.worker(n);
        worker.start = None;
        worker.report = None;
    }

    /// One of its processes raises, so long ago.
    pub(crate) fn fail(&mut self, n: u128, age_ms: u64) {
        let rank = self.start(n).first_rank;
        let failure = RankFailure {
            rank,
            exit_code: Some(1),
            code: "RANK_FAILED".to_owned(),
            message: format!("RuntimeError: boom {n}"),
            age_ms,
            log_tail: "last words".to_owned(),
            ..RankFailure::default()
        };
        self.report(n, GroupPhase::Failing, vec![failure]);
    }

    pub(crate) fn succeed(&mut self, n: u128) {
        self.report(n, GroupPhase::Succeeded, Vec::new());
    }

    pub(crate) fn checkpoint(
        &mut self,
        n: u128,
        step: u64,
        path: &str,
    ) -> Result<Vec<String>, String> {
        let epoch = self.start(n).epoch;
        self.checkpoint_of(n, epoch, step, path)
    }

    pub(crate) fn checkpoint_of(
        &mut self,
        n: u128,
        epoch: Epoch,
        step: u64,
        path: &str,
    ) -> Result<Vec<String>, String> {
        self.said(
            n,
            FromWorker::Checkpoint(CheckpointReport {
                request: 7,
                job: JOB,
                stage: 0,
                epoch,
                step,
                path: path.to_owned(),
            }),
        );
        let answers = self.worker(n).heard.iter().rev();
        let answer = answers.filter_map(|m| {
            let ToWorker::CheckpointAnswer { refusal, drop, .. } = m else {
                return None;
            };
            Some((refusal.clone(), drop.clone()))
        });
        let (refusal, drop) = answer.into_iter().next().expect("an answer");
        refusal.map_or(Ok(drop), |r| Err(r.code.to_string()))
    }

    pub(crate) fn progress(&mut self, n: u128, quiet_ms: u64, steps: &[(u32, u64, f64)]) {
        let epoch = self.start(n).epoch;
        let ranks = steps.iter().map(|(rank, step, step_time_ms)| RankProgress {
            rank: *rank,
            step: *step,
            step_time_ms: *step_time_ms,
        });
        let progress = GroupProgress {
            job: JOB,
            epoch,
            quiet_ms,
            ranks: ranks.collect(),
        };
        self.said(n, FromWorker::Progress(progress));
    }

    /// The last order it had to start.
    pub(crate) fn start(&mut self, n: u128) -> GroupStart {
        self.worker(n).start.clone().expect("it was told to start")
    }

    /// Whether its processes run.
    pub(crate) fn runs(&mut self, n: u128) -> bool {
        self.worker(n)
            .report
            .as_ref()
            .is_some_and(|r| r.phase == GroupPhase::Running)
    }

    /// Turns the clock, heartbeats included.
    pub(crate) fn wait(&mut self, ms: u64) {
        let end = self.now.plus(ms);
        while self.now < end {
            self.now = self.now.plus(500).min(end);
            let conns: Vec<ConnId> = self.workers.values().filter_map(|p| p.conn).collect();
            for conn in conns {
                let beat = FromWorker::Heartbeat {
                    sequence: 1,
                    queued: 0,
                };
                self.tell(Input::Worker(conn, Epoch(0), beat));
            }
            self.tell(Input::Tick);
        }
    }

    /// The coordinator dies and another takes over; all streams break.
    pub(crate) fn crash(&mut self) {
        let state = self.core.state().clone();
        self.core = Core::new(Config::default(), state, 2, self.now);
        for worker in self.workers.values_mut() {
            worker.conn = None;
        }
        self.deliver();
    }

    pub(crate) fn scale(&mut self, min: u32, wanted: u32, max: u32) {
        self.tell(Input::Request(
            RequestId(2),
            ClientRequest::Scale {
                job: "job".to_owned(),
                min: Some(min),
                max: Some(max),
                wanted: Some(wanted),
            },
        ));
    }

    pub(crate) fn drain_worker(&mut self, worker: &str) {
        self.tell(Input::Request(
            RequestId(3),
            ClientRequest::DrainWorker {
                job: "job".to_owned(),
                worker: worker.to_owned(),
                reason: String::new(),
            },
        ));
    }

    pub(crate) fn suspend(&mut self) {
        self.tell(Input::Request(
            RequestId(4),
            ClientRequest::Suspend {
                job: "job".to_owned(),
                reason: "maintenance".to_owned(),
            },
        ));
    }

    pub(crate) fn resume(&mut self) {
        self.tell(Input::Request(
            RequestId(5),
            ClientRequest::Resume {
                job: "job".to_owned(),
            },
        ));
    }

    pub(crate) fn cancel(&mut self) {
        self.tell(Input::Request(
            RequestId(6),
            ClientRequest::Cancel {
                job: "job".to_owned(),
                reason: "enough".to_owned(),
            },
        ));
    }

    pub(crate) fn view(&self) -> JobView {
        self.core.job_view(self.now, JOB).expect("there is one")
    }

    pub(crate) fn group(&self) -> GroupView {
        self.view().groups.remove(0)
    }

    pub(crate) fn waiting(&self) -> String {
        let waiting = self.view().waiting;
        let lines: Vec<String> = waiting
            .iter()
            .map(|r| format!("{}: {}", r.code, r.message))
            .collect();
        lines.join("; ")
    }

    pub(crate) fn verdict(&self) -> String {
        self.view().summary.verdict
    }

    pub(crate) fn end(&self) -> Option<EndState> {
        self.core.state().jobs[&JOB].end.map(|(end, _)| end)
    }

    /// Names of the members in rank order.
    pub(crate) fn members(&self) -> Vec<String> {
        let members = &self.core.state().jobs[&JOB].members;
        members.iter().map(|m| m.member.name.clone()).collect()
    }

    pub(crate) fn epochs(&self) -> usize {
        let formed = |e: &&Event| matches!(e, Event::EpochFormed { .. });
        self.events.iter().filter(formed).count()
    }

    pub(crate) fn starts(&self) -> usize {
        let started = |e: &&Event| matches!(e, Event::GroupStarted { .. });
        self.events.iter().filter(started).count()
    }

    pub(crate) fn explain(&self, stage: &str, shard: &str) -> String {
        format!("{:?}", self.core.explain(self.now, JOB, stage, shard))
    }
}
