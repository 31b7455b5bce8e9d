//! A client of the real protocol.

use anyhow::{Context, Result, bail};
use petctl_proto::v1::job_service_client::JobServiceClient;
use petctl_proto::v1::submit_job_request::Part;
use petctl_proto::v1::{
    JobState, JobStatus, ListEventsRequest, SubmitHeader, SubmitJobRequest, WatchJobRequest,
};
use petctl_proto::{MAX_MESSAGE_BYTES, TOKEN_METADATA_KEY};
use petctl_spec::JobSpec;
use petctl_tls::Trust;
use std::time::{Duration, Instant};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A job that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(600);

/// Shows the token with every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    pub(crate) fn new(token: &str) -> Result<Self> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().context("use the token")?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert(TOKEN_METADATA_KEY, self.0.clone());
        Ok(request)
    }
}

/// A connection of its own.
pub(crate) async fn connect(address: &str, trust: Option<&Trust>) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .context("read the address")?
        .tcp_nodelay(true);
    let connected = petctl_tls::channel(&endpoint, trust).await;
    connected.with_context(|| format!("connect to {address}"))
}

/// Submits jobs and waits for their ends.
pub(crate) struct Client {
    service: JobServiceClient<InterceptedService<Channel, Bearer>>,
}

impl Client {
    pub(crate) async fn connect(address: &str, token: &str, trust: Option<&Trust>) -> Result<Self> {
        let channel = connect(address, trust).await?;
        let service = JobServiceClient::with_interceptor(channel, Bearer::new(token)?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { service })
    }

    /// How long it takes from the submission until the job has succeeded with all of its shards.
    pub(crate) async fn run(&mut self, spec: &JobSpec, shards: u64) -> Result<Duration> {
        let start = Instant::now();
        self.submit(spec).await?;
        let status = tokio::time::timeout(PATIENCE, self.ended(&spec.name))
            .await
            .context("wait for the job's end")??;
        let took = start.elapsed();
        check(&status, shards)?;
        Ok(took)
    }

    /// Submits it, and waits for nothing.
    pub(crate) async fn submit(&mut self, spec: &JobSpec) -> Result<()> {
        let spec_json = serde_json::to_string(spec).context("write the job as JSON")?;
        // Any will do, as long as no two jobs have the same name.
        let header = SubmitHeader {
            spec_json,
            fingerprint: vec![7; 32],
            rerun_all: false,
            ..SubmitHeader::default()
        };
        let parts = [SubmitJobRequest {
            part: Some(Part::Header(header)),
        }];
        self.service
            .submit_job(tokio_stream::iter(parts))
            .await
            .context("submit the job")?;
        Ok(())
    }

    async fn ended(&mut self, job: &str) -> Result<JobStatus> {
        let request = WatchJobRequest {
            job: job.to_owned(),
        };
        let mut statuses = self
            .service
            .watch_job(request)
            .await
            .context("watch the job")?
            .into_inner();
        while let Some(answer) = statuses.message().await.context("watch the job")? {
            let status = answer.status.context("a status without a status")?;
            match state_of(&status) {
                JobState::Unspecified
                | JobState::Waiting
                | JobState::Running
                | JobState::Suspended
                | JobState::Cancelling => {}
                JobState::Succeeded
                | JobState::Failed
                | JobState::Cancelled
                | JobState::Interrupted => {
                    return Ok(status);
                }
            }
        }
        bail!("the coordinator ended the watch before the job had ended")
    }

    /// When each shard was committed, ms since 1970 on the coordinator's clock.
    pub(crate) async fn commit_times_ms(&mut self, job: &str) -> Result<Vec<u64>> {
        self.times_ms(job, "shard_committed").await
    }

    /// When events of this kind happened, ms since 1970 on the coordinator's clock.
    pub(crate) async fn times_ms(&mut self, job: &str, kind: &str) -> Result<Vec<u64>> {
        let request = ListEventsRequest {
            job: job.to_owned(),
            from_sequence: 0,
            follow: false,
        };
        let mut parts = self
            .service
            .list_events(request)
            .await
            .context("list the events")?
            .into_inner();
        let mut times = Vec::new();
        while let Some(part) = parts.message().await.context("list the events")? {
            let events = part.events.iter().filter(|event| event.kind == kind);
            times.extend(events.map(|event| event.at_ms));
        }
        Ok(times)
    }
}

fn state_of(status: &JobStatus) -> JobState {
    status
        .summary
        .as_ref()
        .map_or(JobState::Unspecified, |summary| summary.state())
}

/// A rate of the wrong work is no rate.
fn check(status: &JobStatus, shards: u64) -> Result<()> {
    let summary = status
        .summary
        .as_ref()
        .context("a status without a summary")?;
    let retries: u64 = status.stages.iter().map(|stage| stage.retries).sum();
    let whole =
        summary.shards == shards && summary.done == shards && summary.failed == 0 && retries == 0;
    if state_of(status) != JobState::Succeeded || !whole {
        bail!(
            "WRONG: job {} ended {:?} with {} of {} shards done (expected {shards}), {} failed, {retries} retried",
            summary.name,
            state_of(status),
            summary.done,
            summary.shards,
            summary.failed,
        );
    }
    Ok(())
}
