//! A coordinator played by the test: it answers heartbeats, and leaves the rest to the test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use petctl_proto::v1::{
    Assignment, AttachRequest, AttachResponse, AttemptResult, HeartbeatAck, Hello, Lease,
    LeaseBatch, ResultAck, Welcome,
};
use petctl_spec::{Budgets, JobSpec, ShardSource, StageKind, StageSpec, StorageSpec, WorkersSpec};
use petctl_text::Secret;
use petctl_worker::{Ended, Options, Shutdown, WorkerError, run};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request as Call, Response as Answer, Status, Streaming};

/// Nothing in these tests takes this long unless it is broken, on a loaded machine either.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const TOKEN: &str = "right-token";

pub(crate) struct Fake {
    pub(crate) address: String,
    sessions: mpsc::Receiver<Session>,
    server: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) struct Session {
    pub(crate) hello: Hello,
    pub(crate) epoch_of_hello: u64,
    pub(crate) answers_heartbeats: bool,
    pub(crate) epoch: u64,
    /// `None` once cut.
    stream: Option<(Streaming<AttachRequest>, Out)>,
}

type Out = mpsc::Sender<Result<AttachResponse, Status>>;

struct Service {
    sessions: mpsc::Sender<Session>,
}

#[tonic::async_trait]
impl WorkerService for Service {
    type AttachStream = ReceiverStream<Result<AttachResponse, Status>>;

    async fn attach(
        &self,
        call: Call<Streaming<AttachRequest>>,
    ) -> Result<Answer<Self::AttachStream>, Status> {
        let token = call
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        if token != Some(&format!("Bearer {TOKEN}")) {
            return Err(petctl_proto::refusal(
                petctl_codes::Code::TokenWrong,
                Code::Unauthenticated,
                "the token is wrong",
            ));
        }
        let mut inbound = call.into_inner();
        let first = inbound
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("no message"))?;
        let Some(Request::Hello(hello)) = first.message else {
            return Err(Status::invalid_argument("no Hello"));
        };
        let (out, answers) = mpsc::channel(64);
        let session = Session {
            hello,
            epoch_of_hello: first.epoch,
            answers_heartbeats: true,
            epoch: 1,
            stream: Some((inbound, out)),
        };
        self.sessions
            .send(session)
            .await
            .map_err(|_| Status::unavailable("the test has ended"))?;
        Ok(Answer::new(ReceiverStream::new(answers)))
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, sessions) = mpsc::channel(8);
        let service = WorkerServiceServer::new(Service { sessions: sender })
            .max_decoding_message_size(1 << 24);
        let server = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move {
            server.await.unwrap();
        });
        Self {
            address,
            sessions,
            server,
        }
    }

    /// The next stream that a worker opens, before its Welcome.
    pub(crate) async fn session(&mut self) -> Session {
        within(self.sessions.recv()).await.unwrap()
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            token: Some(Secret::new(TOKEN)),
            slots: 2,
            ..Options::new(&self.address, "local-1")
        }
    }
}

impl Session {
    pub(crate) async fn send(&self, message: Response) {
        let response = AttachResponse {
            epoch: self.epoch,
            message: Some(message),
        };
        let (_, out) = self.stream.as_ref().expect("the stream was cut");
        within(out.send(Ok(response))).await.unwrap();
    }

    pub(crate) async fn welcome(&self, timeout_ms: u32, kept: &[u64]) {
        let welcome = Welcome {
            incarnation: 1,
            heartbeat_interval_ms: timeout_ms / 5,
            heartbeat_timeout_ms: timeout_ms,
            idle_heartbeat_interval_ms: 0,
            kept: kept.to_vec(),
            ..Welcome::default()
        };
        self.send(Response::Welcome(welcome)).await;
    }

    pub(crate) async fn assign(&self, spec: &JobSpec) {
        let spec_json = serde_json::to_string(spec).unwrap();
        let assignment = Assignment {
            job_id: 7,
            job: spec.name.clone(),
            spec_json,
            rank: 0,
            world_size: 1,
            lineage: 1,
        };
        self.send(Response::Assignment(assignment)).await;
    }

    pub(crate) async fn lease(&self, leases: impl IntoIterator<Item = Lease>) {
        self.send(Response::Leases(LeaseBatch {
            leases: leases.into_iter().collect(),
        }))
        .await;
    }

    pub(crate) async fn revoke(&self, lease_ids: impl IntoIterator<Item = u64>) {
        self.send(Response::Revocation(petctl_proto::v1::Revocation {
            lease_ids: lease_ids.into_iter().collect(),
            code: "REVOKED".to_owned(),
            message: "the test wants it back".to_owned(),
            only_if_queued: false,
        }))
        .await;
    }

    /// The next message that is not a heartbeat; `None` when the worker has ended the stream or broken it.
    pub(crate) async fn next(&mut self) -> Option<Request> {
        loop {
            let (inbound, _) = self.stream.as_mut().expect("the stream was cut");
            let request = within(inbound.message()).await.ok().flatten()?;
            match request.message.unwrap() {
                Request::Heartbeat(heartbeat) if self.answers_heartbeats => {
                    self.send(Response::HeartbeatAck(HeartbeatAck {
                        sequence: heartbeat.sequence,
                    }))
                    .await;
                }
                Request::Heartbeat(_) => {}
                other => return Some(other),
            }
        }
    }

    /// The next results, without an acknowledgement.
    pub(crate) async fn unacknowledged(&mut self) -> Vec<AttemptResult> {
        match self.next().await {
            Some(Request::Results(batch)) => batch.results,
            other => panic!("expected results, got {other:?}"),
        }
    }

    /// The results of that many leases, acknowledged, by lease.
    pub(crate) async fn results(&mut self, count: usize) -> BTreeMap<u64, AttemptResult> {
        let mut results = BTreeMap::new();
        while results.len() < count {
            let batch = self.unacknowledged().await;
            self.acknowledge(batch.iter().map(|result| result.lease_id))
                .await;
            results.extend(batch.into_iter().map(|result| (result.lease_id, result)));
        }
        results
    }

    pub(crate) async fn acknowledge(&self, lease_ids: impl IntoIterator<Item = u64>) {
        self.send(Response::ResultAck(ResultAck {
            lease_ids: lease_ids.into_iter().collect(),
        }))
        .await;
    }

    /// Breaks the stream.
    pub(crate) fn cut(&mut self) {
        self.stream = None;
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("nothing happened for 2 minutes")
}

/// Comes back when the condition holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn lease(lease_id: u64, shard: u32) -> Lease {
    Lease {
        lineage: 7,
        lease_id,
        stage: 0,
        shard,
        key: format!("k{shard}"),
        attempt: 1,
        fence: false,
        ..Lease::default()
    }
}

/// A job of one stage `work` that runs a shell script.
pub(crate) fn job(root: &Path, script: &str) -> JobSpec {
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    JobSpec {
        name: "test".to_owned(),
        folder: text(root.to_owned()),
        image: None,
        code: Vec::new(),
        setup: None,
        workers: WorkersSpec {
            min: 1,
            max: 1,
            wanted: 1,
            unit: 1,
            slots: 2,
            gpus: 0,
            spares: 0,
            settle_timeout_ms: 1_000,
            preflight: None,
        },
        storage: StorageSpec {
            input: None,
            output: text(root.join("out")),
            ..StorageSpec::default()
        },
        stages: vec![StageSpec {
            name: "work".to_owned(),
            kind: StageKind::Shards(ShardSource::Range {
                start: 0,
                end: 100_000,
            }),
            needs: Vec::new(),
            command: vec![
                "/bin/sh".to_owned(),
                "-c".to_owned(),
                script.replace('{', "{{").replace('}', "}}"),
            ],
            env: BTreeMap::new(),
            params: BTreeMap::new(),
            timeout_ms: 0,
            grace_ms: 5_000,
            budgets: Budgets {
                failed: 0,
                timed_out: 0,
                worker_lost: 0,
                infrastructure: 0,
                preempted: 0,
            },
            backoff_ms: 1_000,
            log_bytes: 1024 * 1024,
            cpu_milli: 0,
            memory_mib: 0,
            deadline_ms: 0,
            dispatch: petctl_spec::DispatchSpec::default(),
        }],
    }
}

/// A worker that is a member of a job, with the coordinator's end of its stream.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) spec: JobSpec,
    pub(crate) fake: Fake,
    pub(crate) session: Session,
    pub(crate) worker: JoinHandle<Result<Ended, WorkerError>>,
    pub(crate) shutdown: Shutdown,
}

impl Bench {
    pub(crate) async fn start(script: &str) -> Self {
        Self::with(script, |_| {}).await
    }

    pub(crate) async fn with(script: &str, change: impl FnOnce(&mut JobSpec)) -> Self {
        Self::with_timeout(script, 60_000, change).await
    }

    /// With a heartbeat timeout of that many ms.
    pub(crate) async fn with_timeout(
        script: &str,
        timeout_ms: u32,
        change: impl FnOnce(&mut JobSpec),
    ) -> Self {
        Self::with_slots(2, script, timeout_ms, change).await
    }

    /// With that many slots.
    pub(crate) async fn with_slots(
        slots: u32,
        script: &str,
        timeout_ms: u32,
        change: impl FnOnce(&mut JobSpec),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = job(folder.path(), script);
        spec.workers.slots = slots;
        change(&mut spec);
        let mut fake = Fake::start().await;
        let shutdown = Shutdown::default();
        let options = Options {
            slots,
            ..fake.options()
        };
        let worker = tokio::spawn(run(options, shutdown.clone()));
        let session = fake.session().await;
        session.welcome(timeout_ms, &[]).await;
        session.assign(&spec).await;
        Self {
            folder,
            spec,
            fake,
            session,
            worker,
            shutdown,
        }
    }

    /// Runs shard 0 under lease 1.
    pub(crate) async fn run_one(&mut self) -> AttemptResult {
        self.session.lease([lease(1, 0)]).await;
        self.session.results(1).await.remove(&1).unwrap()
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn output(&self) -> PathBuf {
        PathBuf::from(&self.spec.storage.output)
    }

    pub(crate) fn committed(&self, shard: u32) -> PathBuf {
        self.output().join(format!("work/k{shard}"))
    }

    /// Names of what is left of attempts.
    pub(crate) fn attempt_folders(&self) -> Vec<String> {
        names(&self.output().join(".petctl/attempts/work"))
    }

    pub(crate) async fn end(self) {
        self.shutdown.now.cancel();
        assert_eq!(within(self.worker).await.unwrap().unwrap(), Ended::Stopped);
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
