//! Sending one request: nothing hangs for ever, and no error names an address with its signature.

use crate::blob::Patience;
use crate::error::{StorageError, StorageProblem};
use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::response::PinnedStream;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use petctl_text::with_causes;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Once, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes handed to the connection at a time; each piece taken counts as progress.
const PIECE_BYTES: usize = 256 * 1024;
/// What the system may still hold of a body that was handed over whole, in bytes.
const UNSENT_BYTES: usize = 4 * 1024 * 1024;
/// The slowest line that is waited for, in bytes a second for one connection.
const SLOWEST_BYTES: usize = 64 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Connections kept for the next request, for one service.
const IDLE_CONNECTIONS: usize = 128;
/// Azurite closes idle connections after 5 s; a request sent just then is lost.
const IDLE_TIMEOUT_PLAIN: Duration = Duration::from_secs(4);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Headers of which every answer of Azure Storage has one at least, see its REST API, "Status and error codes".
const SERVICE_HEADERS: [&str; 2] = ["x-ms-request-id", "x-ms-version"];

/// The connections of one store.
#[derive(Debug)]
pub(crate) struct Wire {
    client: reqwest::Client,
    stall: Duration,
    /// Whether answers must have the headers of Azure Storage.
    of_storage: bool,
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoAnswer {
    pub(crate) kind: NoAnswerKind,
    pub(crate) why: String,
}

/// What kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswerKind {
    /// The name of the host is not known.
    NoSuchHost,
    /// Nobody listens there, or nobody can be reached.
    NoConnection,
    /// TLS can't be agreed on.
    Tls,
    /// Silence.
    Stalled,
    /// The connection broke.
    Broken,
    /// Somebody else answered in the service's place.
    Foreign,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for NoAnswer {}

impl Wire {
    /// Connections to a service, on plain http or https, on this machine or elsewhere.
    pub(crate) fn new(plain: bool, near: bool, patience: &Patience) -> Result<Self, StorageError> {
        let wire = Self::to_any(plain, near, patience.stall)?;
        Ok(Self {
            of_storage: true,
            ..wire
        })
    }

    /// Connections to services other than storage.
    pub(crate) fn to_any(plain: bool, near: bool, stall: Duration) -> Result<Self, StorageError> {
        install_crypto();
        let builder = || {
            let builder = reqwest::Client::builder()
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .tcp_keepalive(KEEPALIVE)
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .pool_idle_timeout(if plain {
                    IDLE_TIMEOUT_PLAIN
                } else {
                    IDLE_TIMEOUT
                });
            if near { builder.no_proxy() } else { builder }
        };
        // Small images have no certificates of their own; those that browsers trust do then.
        let client = builder().build().or_else(|error| {
            tracing::debug!(%error, "the system's certificates can't be used; Mozilla's are");
            builder().tls_certs_only(mozillas_roots()).build()
        });
        let client = client.map_err(|error| {
            StorageError::new(
                StorageProblem::Unexpected,
                format!("can't set up connections: {}", with_causes(&error)),
            )
        })?;
        Ok(Self {
            client,
            stall,
            of_storage: false,
        })
    }

    async fn send(&self, request: &Request) -> Result<reqwest::Response, NoAnswer> {
        let mut built = self
            .client
            .request(method(request.method()), request.url().clone());
        let has_body = request.body().is_empty() != Some(true);
        for (name, value) in request.headers().iter() {
            let counted_below = has_body && name.as_str().eq_ignore_ascii_case("content-length");
            if !counted_below {
                built = built.header(name.as_str(), value.as_str());
            }
        }
        let progress = Progress::start();
        let mut unsent = 0;
        built = match request.body().clone() {
            Body::Bytes(bytes) if bytes.is_empty() => built,
            Body::Bytes(bytes) => {
                unsent = bytes.len().min(UNSENT_BYTES);
                built
                    .header("content-length", bytes.len())
                    .body(reqwest::Body::wrap_stream(pieces(bytes, progress.clone())))
            }
            Body::SeekableStream(stream) => built.body(reqwest::Body::wrap_stream(stream)),
        };
        let limit = self.stall + Duration::from_secs((unsent / SLOWEST_BYTES) as u64);
        tokio::select! {
            answer = built.send() => answer.map_err(no_answer),
            () = progress.stalled(limit) => Err(silence(limit)),
        }
    }
}

#[async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let answer = self.send(request).await.map_err(error)?;
        let status = answer.status().as_u16().into();
        // Every answer of the service has these, whatever it says; a page of a proxy or of a login has none of them.
        let headers = answer.headers();
        if self.of_storage
            && answer.status().is_success()
            && !SERVICE_HEADERS
                .iter()
                .any(|name| headers.contains_key(*name))
        {
            return Err(error(foreign(&answer)));
        }
        let mut headers = Headers::new();
        for (name, value) in answer.headers() {
            if let Ok(value) = value.to_str() {
                headers.insert(
                    HeaderName::from(name.as_str().to_owned()),
                    HeaderValue::from(value.to_owned()),
                );
            }
        }
        let stall = self.stall;
        let bytes = answer.bytes_stream().boxed();
        let body: PinnedStream = Box::pin(stream::unfold(Some(bytes), move |bytes| async move {
            let mut bytes = bytes?;
            match tokio::time::timeout(stall, bytes.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(piece))) => Some((Ok(piece), Some(bytes))),
                Ok(Some(Err(broken))) => Some((Err(error(no_answer(broken))), None)),
                Err(_) => Some((Err(error(silence(stall))), None)),
            }
        }));
        Ok(AsyncRawResponse::new(status, headers, body))
    }
}

/// When something was last sent.
#[derive(Clone)]
struct Progress {
    started: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Progress {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            last_ms: Arc::new(AtomicU64::new(0)),
        }
    }

    fn note(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// Ends when nothing was noted for `limit`.
    async fn stalled(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let until = self.started + last + limit;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

fn pieces(
    bytes: Bytes,
    progress: Progress,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static {
    stream::unfold(bytes, move |mut rest| {
        let progress = progress.clone();
        async move {
            if rest.is_empty() {
                return None;
            }
            progress.note();
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            Some((Ok(piece), rest))
        }
    })
}

fn silence(limit: Duration) -> NoAnswer {
    NoAnswer {
        kind: NoAnswerKind::Stalled,
        why: format!("nothing came for {} s", limit.as_secs()),
    }
}

fn no_answer(error: reqwest::Error) -> NoAnswer {
    let connecting = error.is_connect();
    let error = error.without_url();
    let why = with_causes(&error);
    let kind = if !connecting {
        NoAnswerKind::Broken
    } else if why.contains("dns error") || why.contains("lookup address") {
        NoAnswerKind::NoSuchHost
    } else if why.contains("certificate") || why.contains("tls") || why.contains("HandshakeFailure")
    {
        NoAnswerKind::Tls
    } else {
        NoAnswerKind::NoConnection
    };
    NoAnswer { kind, why }
}

fn foreign(answer: &reqwest::Response) -> NoAnswer {
    let header = |name| {
        let value = answer.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or("nothing said of it")
    };
    NoAnswer {
        kind: NoAnswerKind::Foreign,
        why: format!(
            "HTTP {} with content-type: {}; server: {}",
            answer.status().as_u16(),
            header("content-type"),
            header("server")
        ),
    }
}

fn error(no_answer: NoAnswer) -> azure_core::Error {
    let kind = match no_answer.kind {
        NoAnswerKind::NoSuchHost | NoAnswerKind::NoConnection | NoAnswerKind::Tls => {
            ErrorKind::Connection
        }
        NoAnswerKind::Stalled | NoAnswerKind::Broken | NoAnswerKind::Foreign => ErrorKind::Io,
    };
    azure_core::Error::new(kind, no_answer)
}

fn method(method: Method) -> reqwest::Method {
    // The enum may grow; a method's name is its name.
    reqwest::Method::from_bytes(method.as_ref().as_bytes()).unwrap_or(reqwest::Method::GET)
}

/// The authorities that browsers trust, as of the release of the crate that lists them.
fn mozillas_roots() -> impl Iterator<Item = reqwest::Certificate> {
    let all = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    all.filter_map(|der| reqwest::Certificate::from_der(der).ok())
}

/// TLS needs one provider for the whole process; whoever installed another one before keeps it.
pub(crate) fn install_crypto() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// A number from 0 to 1 that differs between processes, so that many of them do not retry at the same moment.
pub(crate) fn jitter() -> f64 {
    static STATE: OnceLock<AtomicU64> = OnceLock::new();
    let seed = || {
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |age| u64::from(age.subsec_nanos()));
        AtomicU64::new(nanos ^ (u64::from(std::process::id()) << 32) | 1)
    };
    let state = STATE.get_or_init(seed);
    let next = state
        .load(Ordering::Relaxed)
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    state.store(next, Ordering::Relaxed);
    f64::from(u32::try_from(next >> 33).unwrap_or(0)) / f64::from(u32::MAX >> 1)
}
