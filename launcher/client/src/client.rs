//! Speaks to a coordinator.

use crate::connect::untrusted;
use crate::{Statuses, refusal};
use hyper_util::rt::TokioIo;
use petctl_kube::Tunnel;
use petctl_proto::v1::job_service_client::JobServiceClient;
use petctl_proto::v1::place_service_client::PlaceServiceClient;
use petctl_proto::v1::{
    CancelJobRequest, DeleteJobRequest, EventRow, ExplainJobRequest, ExplainJobResponse,
    GetJobRequest, JobStatus, JobSummary, ListEventsRequest, ListEventsResponse, ListJobsRequest,
    ListShardsRequest, ReadLogRequest, ReadLogResponse, ResumeJobRequest, ScaleJobRequest,
    ScaleJobResponse, ShardRow, WatchJobRequest,
};
use petctl_proto::{MAX_MESSAGE_BYTES, TOKEN_METADATA_KEY};
use petctl_text::Secret;
use petctl_tls::{NotConnected, Trust};
use petctl_ui::error::{Code, Error, Result};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// How long one attempt to reach a coordinator may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a tunnel is used at least.
const TUNNEL_KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Most rows of shards or events that are held at once: all a job can have.
const MAX_ROWS: usize = 2_000_000;

/// Which shards to list.
#[derive(Clone, Debug, Default)]
pub struct ShardQuery {
    /// Empty: all stages.
    pub stage: String,
    /// Only those that failed.
    pub failed_only: bool,
    /// What it is called, see [`petctl_text::called`]; of several that fit, the best. Empty: all.
    pub shard: String,
}

/// A coordinator's calls, each with the token on it.
pub type Service = JobServiceClient<InterceptedService<Channel, Bearer>>;

/// Its calls about places, the same.
pub(crate) type PlaceCalls = PlaceServiceClient<InterceptedService<Channel, Bearer>>;

fn service(channel: Channel, token: &Secret) -> Result<Service> {
    Ok(
        JobServiceClient::with_interceptor(channel, Bearer::new(token)?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES),
    )
}

fn places(channel: Channel, token: &Secret) -> Result<PlaceCalls> {
    Ok(
        PlaceServiceClient::with_interceptor(channel, Bearer::new(token)?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES),
    )
}

/// A connection to a coordinator. Cheap to clone; finds its way back when the coordinator comes back.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) service: Service,
    pub(crate) places: PlaceCalls,
    pub(crate) address: String,
}

impl Client {
    /// Connects, once, without TLS: on this machine.
    pub async fn connect(address: &str, token: &Secret) -> Result<Self> {
        Self::connect_to(address, token, None).await
    }

    /// Connects, once; with TLS where there is somebody to trust.
    pub async fn connect_to(address: &str, token: &Secret, trust: Option<&Trust>) -> Result<Self> {
        let endpoint = endpoint(address)?;
        let connected = petctl_tls::channel(&endpoint, trust).await;
        let channel = connected.map_err(|error| match error {
            NotConnected::Tls(error) => untrusted(address, &error),
            NotConnected::Away(error) => unreachable(address).because(&error),
        })?;
        Ok(Self {
            service: service(channel.clone(), token)?,
            places: places(channel, token)?,
            address: address.to_owned(),
        })
    }

    /// Connects through a cluster's API server. Each connection is a tunnel of its own, to the pod that is ready then.
    pub(crate) async fn through(tunnel: &Tunnel) -> Result<Self> {
        let token = tunnel.token().await?;
        // What stands in the way is said in its own words, not as a broken connection.
        drop(tunnel.dial().await?);
        let shown = tunnel.shown();
        let dialled = tunnel.clone();
        let connector = tower::service_fn(move |_address| {
            let tunnel = dialled.clone();
            async move {
                let stream = tunnel.dial().await;
                stream.map(TokioIo::new).map_err(std::io::Error::other)
            }
        });
        // Nothing but the connector looks at the address. Proxies on the way forget what says nothing.
        let endpoint = tuned(Endpoint::from_static("http://coordinator:7370"))
            .http2_keep_alive_interval(TUNNEL_KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| unreachable(&shown).because(&error))?;
        Ok(Self {
            service: service(channel.clone(), &token)?,
            places: places(channel, &token)?,
            address: shown,
        })
    }

    /// One call, for what one command asks; the methods below are what several do.
    pub async fn call<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut Service) -> std::result::Result<tonic::Response<T>, Status>,
    ) -> Result<T> {
        let answer = ask(&mut self.service).await;
        self.refused(answer)
    }

    /// How a job stands.
    pub async fn status(&mut self, job: &str) -> Result<JobStatus> {
        let answer = self
            .service
            .get_job(GetJobRequest {
                job: job.to_owned(),
            })
            .await;
        let status = self.refused(answer)?.status;
        status.ok_or_else(|| self.nonsense("a status without a status"))
    }

    /// How a job stands; `None`: the coordinator does not know it.
    pub async fn known(&mut self, job: &str) -> Result<Option<JobStatus>> {
        match self.status(job).await {
            Err(error) if error.code() == Code::NoSuchJob.as_str() => Ok(None),
            status => status.map(Some),
        }
    }

    /// The status now, and again whenever it changed.
    pub async fn watch(&mut self, job: &str) -> Result<Statuses> {
        let answer = self
            .service
            .watch_job(WatchJobRequest {
                job: job.to_owned(),
            })
            .await;
        Ok(Statuses::new(self.refused(answer)?, &self.address))
    }

    /// All jobs of the coordinator.
    pub async fn jobs(&mut self) -> Result<Vec<JobSummary>> {
        let answer = self.service.list_jobs(ListJobsRequest {}).await;
        Ok(self.refused(answer)?.jobs)
    }

    /// Shards of a job that fit the query.
    pub async fn shards(&mut self, job: &str, query: &ShardQuery) -> Result<Vec<ShardRow>> {
        let request = ListShardsRequest {
            job: job.to_owned(),
            stage: query.stage.clone(),
            failed_only: query.failed_only,
            shard: query.shard.clone(),
        };
        let answer = self.service.list_shards(request).await;
        let mut stream = self.refused(answer)?;
        let mut rows = Vec::new();
        while let Some(part) = stream
            .message()
            .await
            .map_err(|status| refusal(&self.address, &status))?
        {
            rows.extend(part.rows);
            if rows.len() > MAX_ROWS {
                return Err(self.nonsense("more shards than a job can have"));
            }
        }
        Ok(rows)
    }

    /// Events from a sequence number on; goes on for ever if `follow`.
    pub async fn events(
        &mut self,
        job: &str,
        from_sequence: u64,
        follow: bool,
    ) -> Result<Streaming<ListEventsResponse>> {
        let request = ListEventsRequest {
            job: job.to_owned(),
            from_sequence,
            follow,
        };
        let answer = self.service.list_events(request).await;
        self.refused(answer)
    }

    /// Everything that has happened to a job, oldest first.
    pub async fn all_events(&mut self, job: &str) -> Result<Vec<EventRow>> {
        let mut stream = self.events(job, 0, false).await?;
        let mut rows = Vec::new();
        while let Some(part) = stream
            .message()
            .await
            .map_err(|status| refusal(&self.address, &status))?
        {
            rows.extend(part.events);
            if rows.len() > MAX_ROWS {
                break;
            }
        }
        Ok(rows)
    }

    /// Why shards stand where they stand.
    pub async fn explain(
        &mut self,
        job: &str,
        stage: &str,
        shard: &str,
    ) -> Result<ExplainJobResponse> {
        let request = ExplainJobRequest {
            job: job.to_owned(),
            shard: shard.to_owned(),
            stage: stage.to_owned(),
        };
        let answer = self.service.explain_job(request).await;
        self.refused(answer)
    }

    /// Changes how many workers a job wants.
    pub async fn scale(&mut self, request: ScaleJobRequest) -> Result<ScaleJobResponse> {
        let answer = self.service.scale_job(request).await;
        self.refused(answer)
    }

    /// Whether it was not suspended.
    pub async fn resume(&mut self, job: &str) -> Result<bool> {
        let answer = self
            .service
            .resume_job(ResumeJobRequest {
                job: job.to_owned(),
            })
            .await;
        Ok(self.refused(answer)?.already_running)
    }

    /// Whether it had ended before.
    pub async fn cancel(&mut self, job: &str, reason: &str) -> Result<bool> {
        let request = CancelJobRequest {
            job: job.to_owned(),
            reason: reason.to_owned(),
        };
        let answer = self.service.cancel_job(request).await;
        Ok(self.refused(answer)?.already_ended)
    }

    /// Forgets a job that has ended.
    pub async fn delete(&mut self, job: &str) -> Result<()> {
        let answer = self
            .service
            .delete_job(DeleteJobRequest {
                job: job.to_owned(),
            })
            .await;
        self.refused(answer).map(|_deleted| ())
    }

    /// The log of an attempt, in pieces.
    pub async fn read_log(
        &mut self,
        request: ReadLogRequest,
    ) -> Result<Streaming<ReadLogResponse>> {
        let answer = self.service.read_log(request).await;
        self.refused(answer)
    }

    /// Where the coordinator is.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn refused<T>(&self, answer: std::result::Result<tonic::Response<T>, Status>) -> Result<T> {
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| refusal(&self.address, &status))
    }

    fn nonsense(&self, what: &str) -> Error {
        Error::new(
            Code::NotACoordinator,
            format!("{} sent {what}", self.address),
        )
        .fix("check the address: it must be that of a petctl coordinator")
    }
}

/// Puts the token on every call.
#[derive(Clone)]
pub struct Bearer {
    value: MetadataValue<Ascii>,
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer([redacted])")
    }
}

impl Bearer {
    fn new(token: &Secret) -> Result<Self> {
        let value = MetadataValue::try_from(format!("Bearer {}", token.expose()));
        // The error would hold the token.
        let mut value = value.map_err(|_| {
            Error::new(
                Code::TokenUnreadable,
                "the token has characters that no token has",
            )
            .fix("use the token that `petctl rendezvous` wrote, as it is")
        })?;
        value.set_sensitive(true);
        Ok(Self { value })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert(TOKEN_METADATA_KEY, self.value.clone());
        Ok(request)
    }
}

/// Refuses what can't be the address of a coordinator.
pub(crate) fn check_address(address: &str) -> Result<()> {
    endpoint(address).map(|_endpoint| ())
}

fn endpoint(address: &str) -> Result<Endpoint> {
    let bad = |why: &str| {
        Error::new(
            Code::BadAddress,
            format!("`{address}` is no address of a coordinator: {why}"),
        )
        .fix("write it like https://host:7370")
    };
    if !["https://", "http://"]
        .iter()
        .any(|scheme| address.starts_with(scheme))
    {
        return Err(bad("it does not start with https:// or http://"));
    }
    let endpoint =
        Endpoint::from_shared(address.to_owned()).map_err(|error| bad(&error.to_string()))?;
    if endpoint.uri().port().is_none() {
        return Err(bad("it has no port"));
    }
    Ok(tuned(endpoint))
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(10))
}

pub(crate) fn unreachable(address: &str) -> Error {
    Error::new(
        Code::CoordinatorUnreachable,
        format!("no coordinator answers at {address}"),
    )
    .fix("check that it runs (`petctl rendezvous`), and that this machine may connect to it")
}
