//! What is asked and answered.

use super::health::Health;
use crate::metrics::{CONTENT_TYPE, Looked, Page, Refusals};
use crate::options::PlaceKeeper;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE as TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The core gives its numbers within this time; Prometheus waits for 10 s.
const PATIENCE: Duration = Duration::from_secs(8);
/// A page is shown again for this long: the core is asked no more often, however many scrape.
const FRESH: Duration = Duration::from_secs(1);

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Answers {
    health: Health,
    refusals: Refusals,
    keeper: Option<Arc<dyn PlaceKeeper>>,
    version: String,
    started: Instant,
    page: Mutex<Option<(Instant, Bytes)>>,
}

impl Answers {
    pub(crate) fn new(
        refusals: Refusals,
        keeper: Option<Arc<dyn PlaceKeeper>>,
        version: String,
    ) -> Self {
        Self {
            health: Health::new(),
            refusals,
            keeper,
            version,
            started: Instant::now(),
            page: Mutex::new(None),
        }
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(super) async fn to<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(ALLOW, allowed);
            return answer;
        }
        match request.uri().path() {
            "/healthz" => said(self.health.alive()),
            "/readyz" => said(self.health.ready()),
            "/metrics" => match self.metrics().await {
                Ok(page) => whole(StatusCode::OK, CONTENT_TYPE, page),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /healthz, /readyz and /metrics",
            ),
        }
    }

    /// Whoever comes while the page is made waits for it, and gets the same.
    async fn metrics(&self) -> Result<Bytes, &'static str> {
        let Some(client) = self.health.client() else {
            return Err("it reads its log");
        };
        let mut page = self.page.lock().await;
        if let Some((made, text)) = &*page
            && made.elapsed() < FRESH
        {
            return Ok(text.clone());
        }
        let look = client.query(|view| Looked {
            totals: view.core.totals(),
            counts: view.counts.clone(),
        });
        let looked = match tokio::time::timeout(PATIENCE, look).await {
            Ok(Ok(looked)) => looked,
            Ok(Err(_stopped)) => return Err("it has stopped"),
            Err(_late) => return Err("its core does not answer; /readyz says why"),
        };
        let keeper = self.keeper.as_ref().map(|keeper| keeper.numbers());
        let of_process = (self.version.as_str(), self.started.elapsed());
        let text = Bytes::from(Page::new(looked, &self.refusals, keeper, of_process).text());
        *page = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

fn said(answer: Result<(), String>) -> Response<Full<Bytes>> {
    match answer {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    let line = Bytes::from(format!("{line}\n"));
    whole(status, "text/plain; charset=utf-8", line)
}

fn whole(status: StatusCode, content: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(TYPE, HeaderValue::from_static(content));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
