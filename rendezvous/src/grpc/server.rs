//! Puts the services on a socket.

use super::auth::Auth;
use super::jobs::Jobs;
use super::places::Places;
use super::relay::Relay;
use super::workers::Workers;
use super::{bounds, incoming};
use crate::driver::Client;
use crate::folder::CodeFolder;
use crate::metrics::Refusals;
use crate::options::{Options, PlaceKeeper};
use petctl_core::Config;
use petctl_proto::MAX_MESSAGE_BYTES;
use petctl_proto::v1::job_service_server::JobServiceServer;
use petctl_proto::v1::place_service_server::PlaceServiceServer;
use petctl_proto::v1::worker_service_server::WorkerServiceServer;
use petctl_text::Secret;
use petctl_tls::Server as Tls;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::service::interceptor::InterceptedService;
use tower::util::MapResponseLayer;

/// Bytes in flight on one stream, and on all streams of one connection.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// A peer that does not answer a ping for this long is gone.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Time for clients to end their connections when the coordinator stops.
const GOODBYE: Duration = Duration::from_millis(500);
/// Accepted connections that wait for the server.
const WAITING_CONNECTIONS: usize = 16;

/// What all of the services' tasks share.
#[derive(Clone)]
pub(crate) struct Server {
    pub(super) client: Client,
    pub(super) config: Config,
    pub(super) code: CodeFolder,
    pub(super) keeper: Option<Arc<dyn PlaceKeeper>>,
    pub(super) relay: Relay,
    refusals: Refusals,
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
}

impl Server {
    pub(crate) fn new(
        client: Client,
        options: &Options,
        refusals: Refusals,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            client,
            config: options.config,
            code: CodeFolder::of(&options.state_dir),
            keeper: options.keeper.clone(),
            relay: Relay::default(),
            refusals,
            tasks: TaskTracker::new(),
            stopping,
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

/// Serves until `stopping`, then lets what is open end, for a moment. On error the server ended by itself.
pub(crate) async fn serve(
    server: Server,
    listener: TcpListener,
    token: Secret,
    tls: Option<Tls>,
) -> Result<(), tonic::transport::Error> {
    let (accepted, connections) = mpsc::channel(WAITING_CONNECTIONS);
    let limit = server
        .config
        .max_workers
        .saturating_add(bounds::CLIENT_CONNECTIONS);
    let accepting = tokio::spawn(incoming::accept(listener, limit, tls.clone(), accepted));
    let renewing = tls.map(|tls| AbortOnDropHandle::new(tokio::spawn(tls.renew())));
    let auth = Auth::new(token);
    let jobs = JobServiceServer::new(Jobs::new(server.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let workers = WorkerServiceServer::new(Workers::new(server.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let places = PlaceServiceServer::new(Places::new(server.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let stopping = server.stopping.clone();
    let refusals = server.refusals.clone();
    let serving = tonic::transport::Server::builder()
        .layer(MapResponseLayer::new(move |answer| {
            refusals.counted(answer)
        }))
        .concurrency_limit_per_connection(bounds::CALLS_PER_CONNECTION)
        .max_concurrent_streams(u32::try_from(bounds::CALLS_PER_CONNECTION).ok())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .http2_max_header_list_size(bounds::MAX_HEADER_BYTES)
        .add_service(InterceptedService::new(jobs, auth.for_clients()))
        .add_service(InterceptedService::new(places, auth.clone()))
        .add_service(InterceptedService::new(workers, auth))
        .serve_with_incoming_shutdown(
            ReceiverStream::new(connections),
            stopping.clone().cancelled_owned(),
        );
    let ended = tokio::select! {
        ended = serving => ended,
        () = async { stopping.cancelled().await; tokio::time::sleep(GOODBYE).await } => Ok(()),
    };
    accepting.abort();
    drop(renewing);
    server.tasks.close();
    ended
}
