//! Probes and metrics over HTTP, on a port of their own: for a kubelet and for Prometheus, which have no token.
//!
//! What is said here is no secret: states in numbers, and codes. And nobody can hold anything: a connection answers one
//! request and ends after a while whatever it does, and where there are too many the oldest goes, so a probe always
//! gets in.

mod answer;
mod health;

pub(crate) use self::answer::Answers;

use crate::StartError;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// A request has arrived within this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection has ended within this time: longer than an answer is waited for, and than Prometheus waits.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// All headers of a request, and how many there may be.
const HEADER_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// After an accept that failed, as it does where no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens there.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            StartError::HttpPortInUse { address }
        } else {
            StartError::Listen { address, source }
        }
    })
}

/// Answers until `stopping`.
pub(crate) async fn serve(
    listener: TcpListener,
    answers: Arc<Answers>,
    stopping: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // Those that have ended are forgotten when the next one comes.
        while connections.try_join_next().is_some() {}
        oldest.retain(|connection| !connection.is_finished());
        match accepted {
            Ok((stream, _)) => {
                if oldest.len() >= CONNECTIONS
                    && let Some(connection) = oldest.pop_front()
                {
                    connection.abort();
                }
                oldest.push_back(connections.spawn(talk(stream, Arc::clone(&answers))));
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection for probes and metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, answers: Arc<Answers>) {
    let service = service_fn(move |request| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.to(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .keep_alive(false)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for probes and metrics broke"),
        Err(_late) => tracing::debug!("a connection for probes and metrics took too long"),
    }
}
