//! What is tried again: transient refusals and broken connections, within bounds; and a SAS that has been renewed.
//!
//! azure_core has a retry policy too, but that one waits for as long as a `Retry-After` says, and it can't put another
//! SAS into the address between two tries.

use crate::blob::patience::Patience;
use crate::blob::wire::jitter;
use crate::sas::{SasSource, SasToken};
use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request, StatusCode, Url};
use azure_core::time::{OffsetDateTime, parse_rfc7231};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Answers that another try may better.
const TRANSIENT: [StatusCode; 6] = [
    StatusCode::RequestTimeout,
    StatusCode::TooManyRequests,
    StatusCode::InternalServerError,
    StatusCode::BadGateway,
    StatusCode::ServiceUnavailable,
    StatusCode::GatewayTimeout,
];

const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// MD5 of a body, which the crate's upload has no option for.
#[derive(Debug)]
pub(crate) struct ContentMd5(pub(crate) [u8; 16]);

/// How often a request was sent, for the message if it fails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tries(pub(crate) Arc<AtomicU32>);

/// Sends a request until it is answered for good.
#[derive(Debug)]
pub(crate) struct Retry {
    patience: Patience,
    sas: Option<Arc<SasSource>>,
    reached: AtomicBool,
}

impl Retry {
    pub(crate) fn new(patience: Patience, sas: Option<Arc<SasSource>>) -> Self {
        Self {
            patience,
            sas,
            reached: AtomicBool::new(false),
        }
    }

    /// Puts the SAS of this moment into the address.
    fn sign(
        &self,
        request: &mut Request,
        plain: &Url,
    ) -> azure_core::Result<Option<Arc<SasToken>>> {
        let Some(source) = &self.sas else {
            return Ok(None);
        };
        let token = source
            .current()
            .map_err(|error| azure_core::Error::new(ErrorKind::Credential, error))?;
        let query = match plain.query() {
            Some(query) if !query.is_empty() => format!("{query}&{}", token.query()),
            Some(_) | None => token.query().to_owned(),
        };
        request.url_mut().set_query(Some(&query));
        Ok(Some(token))
    }

    fn has_new_sas(&self, used: Option<&SasToken>) -> bool {
        let (Some(source), Some(used)) = (&self.sas, used) else {
            return false;
        };
        source.renewed(used)
    }

    /// The pause before another try after this result; `None`: the result stands.
    fn pause(&self, result: &PolicyResult, tries: u32) -> Option<Duration> {
        let backoff = self
            .patience
            .first_pause
            .saturating_mul(1 << tries.saturating_sub(1).min(16))
            .min(self.patience.longest_pause)
            .mul_f64(0.5 + jitter() / 2.0);
        match result {
            Ok(answer) => {
                self.reached.store(true, Ordering::Relaxed);
                let wanted = retry_after(answer.headers()).unwrap_or_default();
                let code = answer.headers().get_optional_str(&ERROR_CODE);
                // The body changed on its way; Azurite has no code of its own for that.
                let spoilt = answer.status() == StatusCode::BadRequest
                    && matches!(code, Some("Md5Mismatch" | "InvalidOperation"));
                let transient = spoilt || TRANSIENT.contains(&answer.status());
                transient.then(|| backoff.max(wanted))
            }
            Err(error) => {
                matches!(error.kind(), ErrorKind::Io | ErrorKind::Connection).then_some(backoff)
            }
        }
    }

    fn total(&self) -> Duration {
        if self.reached.load(Ordering::Relaxed) {
            self.patience.total
        } else {
            self.patience.first_contact
        }
    }
}

#[async_trait]
impl Policy for Retry {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let Some((first, rest)) = next.split_first() else {
            return Err(azure_core::Error::with_message(
                ErrorKind::Other,
                "nothing sends the request",
            ));
        };
        if let Some(ContentMd5(md5)) = ctx.value::<ContentMd5>() {
            request.insert_header("content-md5", STANDARD.encode(md5));
        }
        let plain = request.url().clone();
        let started = Instant::now();
        let mut tries = 0;
        let mut renewed = false;
        loop {
            if tries > 0 {
                request.body_mut().reset().await?;
            }
            tries += 1;
            if let Some(Tries(count)) = ctx.value::<Tries>() {
                count.store(tries, Ordering::Relaxed);
            }
            let token = self.sign(request, &plain)?;
            let result = first.send(ctx, request, rest).await;
            // Whoever sees the request from here on sees no signature.
            request.url_mut().set_query(plain.query());
            let refused = matches!(&result, Ok(answer) if answer.status() == StatusCode::Forbidden);
            if refused && !renewed && self.has_new_sas(token.as_deref()) {
                renewed = true;
                continue;
            }
            let Some(pause) = self.pause(&result, tries) else {
                return result;
            };
            if tries >= self.patience.tries || started.elapsed() + pause > self.total() {
                return result;
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// Seconds or a date; Azure's own headers count milliseconds.
fn retry_after(headers: &Headers) -> Option<Duration> {
    for name in ["x-ms-retry-after-ms", "retry-after-ms"] {
        let text = headers.get_optional_str(&HeaderName::from_static(name));
        if let Some(ms) = text.and_then(|text| text.parse().ok()) {
            return Some(Duration::from_millis(ms));
        }
    }
    let text = headers.get_optional_str(&HeaderName::from_static("retry-after"))?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = parse_rfc7231(text).ok()?;
    Duration::try_from(at - OffsetDateTime::now_utc()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> Headers {
        let mut headers = Headers::new();
        headers.insert(name, value);
        headers
    }

    #[test]
    fn a_service_may_say_when_to_come_again_in_seconds_ms_or_as_a_date() {
        let read = |name, value| retry_after(&headers(name, value));
        assert_eq!(read("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(
            read("x-ms-retry-after-ms", "70"),
            Some(Duration::from_millis(70))
        );
        assert_eq!(read("retry-after", "Fri, 01 Jan 2021 00:00:00 GMT"), None);
        assert_eq!(read("retry-after", "soon"), None);
        let late = read("retry-after", "Fri, 01 Jan 2999 00:00:00 GMT").unwrap();
        assert!(late > Duration::from_secs(3600));
    }
}
