//! Connections, the record of requests, and what a test does to them on their way.

pub(crate) mod tls;

use crate::answer::Reply;
use crate::control::Control;
use crate::request::Asked;
use crate::{Hook, Seen};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// After a connection could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What a test wants to happen with a request.
pub(crate) type OnRequest = Arc<dyn Fn(&Seen, usize) -> Hook + Send + Sync>;

/// The service and its record.
pub(crate) struct Shared {
    pub(crate) control: Control,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    /// Requests with their numbers.
    seen: Vec<(usize, Seen)>,
    /// How many there were since the start.
    count: usize,
    hook: Option<OnRequest>,
}

impl Shared {
    pub(crate) fn new(control: Control) -> Self {
        Self {
            control,
            record: Mutex::default(),
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.record()
            .seen
            .iter()
            .map(|(_, seen)| seen.clone())
            .collect()
    }

    pub(crate) fn forget(&self) {
        self.record().seen.clear();
    }

    pub(crate) fn hook(&self, hook: OnRequest) {
        self.record().hook = Some(hook);
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, seen: &Seen) -> (usize, Option<OnRequest>) {
        let mut record = self.record();
        let number = record.count;
        record.count += 1;
        record.seen.push((number, seen.clone()));
        (number, record.hook.clone())
    }

    fn answered(&self, number: usize, status: u16) {
        let mut record = self.record();
        if let Some((_, seen)) = record.seen.iter_mut().rev().find(|(own, _)| *own == number) {
            seen.status = status;
        }
    }

    async fn serve(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let asked = Asked::new(&parts, bytes.to_vec());
        let seen = Seen {
            method: asked.method.clone(),
            path: asked.path.clone(),
            api_version: asked
                .parameter("api-version")
                .unwrap_or_default()
                .to_owned(),
            query: asked.raw_query.clone(),
            body: asked.shown(),
            status: 0,
        };
        let (number, hook) = self.arrived(&seen);
        let does = hook.map_or(Hook::Serve, |hook| hook(&seen, number));
        let drops = matches!(does, Hook::DropAfter);
        let reply = match does {
            Hook::DropBefore => return Err(lost()),
            Hook::Answer(status, headers, body) => Reply {
                headers,
                ..Reply::new(status, body)
            },
            Hook::Serve | Hook::DropAfter => self.control.answer(&asked),
        };
        self.answered(number, reply.status);
        if !reply.wait.is_zero() {
            tokio::time::sleep(reply.wait).await;
        }
        match drops {
            true => Err(lost()),
            false => written(reply),
        }
    }
}

fn lost() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}

fn written(reply: Reply) -> io::Result<Response<Full<Bytes>>> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let mut bytes = Bytes::new();
    if !reply.body.is_null() {
        response = response.header("content-type", "application/json; charset=utf-8");
        bytes = Bytes::from(reply.body.to_string());
    }
    response.body(Full::new(bytes)).map_err(io::Error::other)
}

/// Takes connections until it is dropped.
pub(crate) async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        tokio::spawn(connection(stream, tls.clone(), Arc::clone(&shared)));
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>) {
    let _delayed = stream.set_nodelay(true);
    // Whoever does not trust the certificate goes away.
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let answering = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { shared.serve(request).await }
    });
    let mut http = http1::Builder::new();
    // There is no timer: an idle connection stays.
    http.header_read_timeout(None);
    let _closed = http.serve_connection(TokioIo::new(stream), answering).await;
}
