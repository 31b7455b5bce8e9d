//! What can happen to a request.

use std::time::Duration;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// It is answered with this status, and the service hears nothing of it.
    Refuse {
        /// 429, 500, 503, …
        status: u16,
        /// Seconds that the answer asks to wait.
        retry_after_s: Option<u64>,
    },
    /// It is refused with this status and error code of the service, which hears nothing of it: what is wrong is with
    /// this one name.
    RefuseName {
        /// 409, …
        status: u16,
        /// `BlobBeingRehydrated`, …
        code: &'static str,
    },
    /// It is answered with a web page of a proxy, and the service hears nothing of it.
    Page {
        /// The page has the headers of the service's answers.
        disguised: bool,
    },
    /// It waits before it is passed on.
    Delay(Duration),
    /// The connection is closed, and the service hears nothing of it.
    Cut,
    /// The connection breaks in the middle of what is sent.
    CutRequest,
    /// A bit of its body is another one when it arrives.
    Spoil,
    /// It takes effect, and the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks in the middle of the answer's body.
    CutAnswer,
    /// The answer's body stops in its middle for so long, then goes on.
    StallAnswer(Duration),
    /// Bytes pass at so many KiB per second.
    Slow(u32),
    /// It waits until it is let go, and has no effect before.
    Hold,
    /// It takes effect, and its answer waits until it is let go.
    HoldAnswer,
}

impl Fault {
    /// A refusal as the service words it: where it is only busy, it asks to wait for a second.
    #[must_use]
    pub fn refuse(status: u16) -> Self {
        let retry_after_s = matches!(status, 429 | 503).then_some(1);
        Self::Refuse {
            status,
            retry_after_s,
        }
    }

    /// Whether it waits to be let go.
    pub(crate) fn holds(self) -> bool {
        matches!(self, Self::Hold | Self::HoldAnswer)
    }
}

/// A page's answer, whole.
pub(crate) fn page(disguised: bool, method: &str) -> String {
    let body = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Your network wants you</body></html>";
    let headers = if disguised {
        "x-ms-request-id: 1\r\nx-ms-version: 2021-12-02\r\n"
    } else {
        ""
    };
    format!(
        "HTTP/1.1 200 OK\r\nServer: squid\r\n{headers}ETag: \"0x1\"\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        if method == "HEAD" { "" } else { body }
    )
}

/// A refusal's answer, whole.
pub(crate) fn refusal(status: u16, retry_after_s: Option<u64>, method: &str) -> String {
    let (reason, code) = match status {
        403 => ("Forbidden", "AuthorizationPermissionMismatch"),
        408 => ("Request Timeout", "OperationTimedOut"),
        429 => ("Too Many Requests", "TooManyRequests"),
        503 => ("Service Unavailable", "ServerBusy"),
        507 => ("Insufficient Storage", "AccountQuotaExceeded"),
        _ => ("Internal Server Error", "InternalError"),
    };
    refusal_with(status, (reason, code), retry_after_s, method)
}

/// The same with other words. What follows a `HEAD` has no body.
pub(crate) fn refusal_with(
    status: u16,
    (reason, code): (&str, &str),
    retry_after_s: Option<u64>,
    method: &str,
) -> String {
    let after = retry_after_s.map_or_else(String::new, |s| format!("Retry-After: {s}\r\n"));
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{reason}</Message></Error>"
    );
    let body = if method == "HEAD" { "" } else { body.as_str() };
    format!(
        "HTTP/1.1 {status} {reason}\r\nx-ms-error-code: {code}\r\n{after}Content-Type: application/xml\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
