//! Starts coordinators, and stands in for clients and workers.

use petctl_proto::v1::attach_request::Message as Say;
use petctl_proto::v1::attach_response::Message as Told;
use petctl_proto::v1::job_service_client::JobServiceClient;
use petctl_proto::v1::worker_service_client::WorkerServiceClient;
use petctl_proto::{Refusal, v1};
use petctl_rendezvous::{Coordinator, Handle, Options};
use petctl_tls::Trust;
use std::future::Future;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// Longer than any test takes; what hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it takes too long")
}

pub(crate) async fn start(dir: &Path) -> Handle {
    soon(Coordinator::start(Options::new(dir))).await.unwrap()
}

pub(crate) async fn stop(handle: &Handle) {
    handle.shutdown();
    assert_eq!(soon(handle.stopped()).await.code(), None);
}

/// A client with whatever token.
pub(crate) struct Client {
    pub(crate) jobs: JobServiceClient<Channel>,
    token: Option<String>,
}

impl Client {
    pub(crate) async fn of(handle: &Handle) -> Self {
        Self::with_token(handle, Some(handle.token().expose())).await
    }

    pub(crate) async fn with_token(handle: &Handle, token: Option<&str>) -> Self {
        Self::over(channel(handle).await, token)
    }

    pub(crate) fn over(channel: Channel, token: Option<&str>) -> Self {
        Self {
            jobs: JobServiceClient::new(channel),
            token: token.map(str::to_owned),
        }
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        with_token(message, self.token.as_deref())
    }

    pub(crate) async fn submit(
        &mut self,
        spec: serde_json::Value,
    ) -> Result<v1::SubmitJobResponse, Status> {
        self.submit_parts(vec![header(spec)]).await
    }

    pub(crate) async fn submit_parts(
        &mut self,
        parts: Vec<v1::SubmitJobRequest>,
    ) -> Result<v1::SubmitJobResponse, Status> {
        let request = self.request(tokio_stream::iter(parts));
        soon(self.jobs.submit_job(request))
            .await
            .map(tonic::Response::into_inner)
    }

    pub(crate) async fn status(&mut self, job: &str) -> Result<v1::JobStatus, Status> {
        let request = self.request(v1::GetJobRequest {
            job: job.to_owned(),
        });
        soon(self.jobs.get_job(request))
            .await
            .map(|response| response.into_inner().status.unwrap())
    }

    pub(crate) async fn watch(&mut self, job: &str) -> Streaming<v1::WatchJobResponse> {
        let request = self.request(v1::WatchJobRequest {
            job: job.to_owned(),
        });
        soon(self.jobs.watch_job(request))
            .await
            .unwrap()
            .into_inner()
    }

    /// Watches until the stream ends; the last status.
    pub(crate) async fn watch_to_end(&mut self, job: &str) -> v1::JobStatus {
        let mut watched = self.watch(job).await;
        let mut last = None;
        while let Some(response) = soon(watched.message()).await.unwrap() {
            last = response.status;
        }
        last.unwrap()
    }

    /// Waits until the status is as it should be.
    pub(crate) async fn until(
        &mut self,
        job: &str,
        holds: impl Fn(&v1::JobStatus) -> bool,
    ) -> v1::JobStatus {
        let mut watched = self.watch(job).await;
        loop {
            let response = soon(watched.message())
                .await
                .unwrap()
                .expect("the job ended before");
            if let Some(status) = response.status.filter(|status| holds(status)) {
                return status;
            }
        }
    }

    pub(crate) async fn shards(&mut self, job: &str) -> Vec<v1::ShardRow> {
        let request = self.request(v1::ListShardsRequest {
            job: job.to_owned(),
            ..Default::default()
        });
        let mut parts = soon(self.jobs.list_shards(request))
            .await
            .unwrap()
            .into_inner();
        let mut rows = Vec::new();
        while let Some(part) = soon(parts.message()).await.unwrap() {
            rows.extend(part.rows);
        }
        rows
    }

    pub(crate) async fn events(&mut self, job: &str, follow: bool) -> Vec<v1::EventRow> {
        let request = self.request(v1::ListEventsRequest {
            job: job.to_owned(),
            from_sequence: 0,
            follow,
        });
        let mut parts = soon(self.jobs.list_events(request))
            .await
            .unwrap()
            .into_inner();
        let mut rows = Vec::new();
        while let Some(part) = soon(parts.message()).await.unwrap() {
            rows.extend(part.events);
        }
        rows
    }
}

/// A worker that does nothing of itself.
pub(crate) struct FakeWorker {
    pub(crate) say: mpsc::Sender<v1::AttachRequest>,
    pub(crate) inbound: Streaming<v1::AttachResponse>,
    pub(crate) epoch: u64,
}

impl FakeWorker {
    /// Says Hello; the answer is still to be read.
    pub(crate) async fn attach(handle: &Handle, hello: v1::Hello) -> Self {
        let mut worker = Self::silent(handle).await;
        worker.say(Say::Hello(hello)).await;
        worker
    }

    /// Opens a stream without a word.
    pub(crate) async fn silent(handle: &Handle) -> Self {
        Self::over(handle, channel(handle).await).await
    }

    /// Like [`FakeWorker::silent`]; takes in so many bytes that it has not read.
    pub(crate) async fn within(handle: &Handle, window: u32) -> Self {
        let endpoint = endpoint(handle).initial_stream_window_size(window);
        Self::over(handle, soon(endpoint.connect()).await.unwrap()).await
    }

    async fn over(handle: &Handle, channel: Channel) -> Self {
        Self::with_token(channel, handle.token().expose()).await
    }

    /// Opens a stream with this token.
    pub(crate) async fn with_token(channel: Channel, token: &str) -> Self {
        let mut client = WorkerServiceClient::new(channel);
        let (say, said) = mpsc::channel(64);
        let request = with_token(ReceiverStream::new(said), Some(token));
        let inbound = soon(client.attach(request)).await.unwrap().into_inner();
        Self {
            say,
            inbound,
            epoch: 0,
        }
    }

    pub(crate) async fn say(&mut self, message: Say) {
        let request = v1::AttachRequest {
            epoch: self.epoch,
            message: Some(message),
        };
        soon(self.say.send(request)).await.unwrap();
    }

    /// The next message; an error where the stream ends.
    pub(crate) async fn hear(&mut self) -> Result<Told, Status> {
        let response = soon(self.inbound.message())
            .await?
            .ok_or_else(|| Status::ok("the stream ended"))?;
        if let Some(Told::Assignment(_)) = response.message {
            self.epoch = response.epoch;
        }
        Ok(response.message.expect("a message without contents"))
    }

    /// The leases of the next batch.
    pub(crate) async fn leases(&mut self) -> Vec<v1::Lease> {
        loop {
            if let Told::Leases(batch) = self.hear().await.unwrap() {
                return batch.leases;
            }
        }
    }

    /// The status with which the stream ends.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.hear().await {
                return status;
            }
        }
    }

    pub(crate) async fn commit(&mut self, leases: &[v1::Lease]) {
        let results = leases.iter().map(committed).collect();
        self.say(Say::Results(v1::ResultBatch { results })).await;
    }

    /// Commits whatever it gets until it is released or its stream ends. Returns the leases it got.
    pub(crate) async fn work(mut self) -> Vec<v1::Lease> {
        let mut got = Vec::new();
        loop {
            match self.hear().await {
                Ok(Told::Leases(batch)) => {
                    self.commit(&batch.leases).await;
                    got.extend(batch.leases);
                }
                Ok(Told::Release(_)) | Err(_) => return got,
                Ok(_) => {}
            }
        }
    }
}

pub(crate) fn hello(number: u32, slots: u32) -> v1::Hello {
    v1::Hello {
        protocol_version: petctl_proto::PROTOCOL_VERSION,
        program_version: "test".to_owned(),
        worker_id: format!("{:032x}", u128::from(number) + 1),
        name: format!("fake-{number}"),
        host: "here".to_owned(),
        pid: number,
        slots,
        ..v1::Hello::default()
    }
}

pub(crate) fn committed(lease: &v1::Lease) -> v1::AttemptResult {
    v1::AttemptResult {
        lease_id: lease.lease_id,
        stage: lease.stage,
        shard: lease.shard,
        outcome: v1::Outcome::Committed.into(),
        duration_ms: 5,
        exit_code: Some(0),
        verdict: v1::Verdict::Pass.into(),
        output_files: 1,
        output_bytes: 10,
        manifest_sha256: vec![3; 32],
        ..v1::AttemptResult::default()
    }
}

pub(crate) fn header(spec: serde_json::Value) -> v1::SubmitJobRequest {
    let header = v1::SubmitHeader {
        spec_json: spec.to_string(),
        fingerprint: vec![1; 32],
        rerun_all: false,
        ..v1::SubmitHeader::default()
    };
    v1::SubmitJobRequest {
        part: Some(v1::submit_job_request::Part::Header(header)),
    }
}

pub(crate) fn keys(stage: u32, keys: &[&str]) -> v1::SubmitJobRequest {
    let keys = v1::ShardKeys {
        stage,
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..v1::ShardKeys::default()
    };
    v1::SubmitJobRequest {
        part: Some(v1::submit_job_request::Part::Keys(keys)),
    }
}

/// A job of so many shards with numbers for keys, for so many workers.
pub(crate) fn job(shards: u64, workers: u32) -> serde_json::Value {
    job_of(
        serde_json::json!({ "range": { "start": 0, "end": shards } }),
        workers,
        "/nowhere/petctl-test-outputs",
    )
}

pub(crate) fn job_of(shards: serde_json::Value, workers: u32, output: &str) -> serde_json::Value {
    serde_json::json!({
        "name": "us101",
        "folder": "/",
        "workers": { "min": 1, "max": 8, "wanted": workers, "unit": 1, "slots": 1, "gpus": 0,
            "spares": 0, "settle_timeout_ms": 30_000, "preflight": null },
        "storage": { "input": "/", "output": output },
        "stages": [{
            "name": "resim",
            "kind": { "shards": shards },
            "needs": [],
            "command": ["true"],
            "env": {},
            "params": {},
            "timeout_ms": 0,
            "grace_ms": 1_000,
            "budgets": { "failed": 1, "timed_out": 1, "worker_lost": 3, "infrastructure": 3, "preempted": 100 },
            "backoff_ms": 100,
            "log_bytes": 1_000_000,
            "cpu_milli": 0,
            "memory_mib": 0,
            "deadline_ms": 0,
        }],
    })
}

pub(crate) fn state(status: &v1::JobStatus) -> v1::JobState {
    status.summary.as_ref().unwrap().state()
}

pub(crate) fn done(status: &v1::JobStatus) -> u64 {
    status.summary.as_ref().unwrap().done
}

#[track_caller]
pub(crate) fn assert_refused(status: &Status, grpc: tonic::Code, code: &str) {
    assert_eq!(status.code(), grpc, "{status:?}");
    let refusal = Refusal::of(status).expect("a code and a sentence");
    assert_eq!(refusal.code, code, "{status:?}");
    assert!(refusal.sentence.len() > 10, "{status:?}");
}

pub(crate) async fn channel(handle: &Handle) -> Channel {
    channel_to(&handle.url(), trust(handle).as_ref()).await
}

pub(crate) async fn channel_to(url: &str, trust: Option<&Trust>) -> Channel {
    let endpoint = Channel::from_shared(url.to_owned()).unwrap();
    let endpoint = endpoint.tcp_nodelay(true);
    soon(petctl_tls::channel(&endpoint, trust)).await.unwrap()
}

/// Whom those who call this coordinator trust.
pub(crate) fn trust(handle: &Handle) -> Option<Trust> {
    handle.ca().map(|ca| Trust::pem(ca).unwrap())
}

fn endpoint(handle: &Handle) -> Endpoint {
    let endpoint = Channel::from_shared(format!("http://{}", handle.address())).unwrap();
    endpoint.tcp_nodelay(true)
}

pub(crate) fn with_token<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}
