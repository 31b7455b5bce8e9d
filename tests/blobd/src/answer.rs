//! Answers, and the headers that all of them have.

use crate::pieces::{Answer, Pieces};
use crate::store::{Blob, Service, Stamp};
use hyper::header::{
    ACCEPT_RANGES, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED,
};
use hyper::{Response, StatusCode};

/// The version of the API that Azurite speaks too.
const API_VERSION: HeaderValue = HeaderValue::from_static("2025-11-05");

const VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
pub(crate) const BLOB_MD5: HeaderName = HeaderName::from_static("x-ms-blob-content-md5");
pub(crate) const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");
const CREATION_TIME: HeaderName = HeaderName::from_static("x-ms-creation-time");

pub(crate) fn empty(status: StatusCode) -> Answer {
    text(status, String::new())
}

pub(crate) fn text(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Pieces::from(text));
    *answer.status_mut() = status;
    answer
}

pub(crate) fn xml(text: String) -> Answer {
    let mut answer = self::text(StatusCode::OK, text);
    let kind = HeaderValue::from_static("application/xml");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// Something was written, or a container is described.
pub(crate) fn stamped(status: StatusCode, stamp: &Stamp) -> Answer {
    let mut answer = empty(status);
    stamp_headers(answer.headers_mut(), stamp);
    answer
}

/// What is known of a blob.
pub(crate) fn blob_headers(headers: &mut HeaderMap, blob: &Blob) {
    stamp_headers(headers, &blob.stamp);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(BLOB_TYPE, HeaderValue::from_static("BlockBlob"));
    headers.insert(CREATION_TIME, blob.created.clone());
    headers.insert(CONTENT_TYPE, blob.content_type.clone());
    for (name, value) in &blob.metadata {
        headers.insert(name, value.clone());
    }
}

pub(crate) fn stamp_headers(headers: &mut HeaderMap, stamp: &Stamp) {
    headers.insert(ETAG, stamp.etag.clone());
    headers.insert(LAST_MODIFIED, stamp.modified.clone());
}

/// The headers without which petctl takes an answer for somebody else's.
pub(crate) fn with_service_headers(mut answer: Answer, service: &Service) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(VERSION, API_VERSION);
    headers.insert(REQUEST_ID, service.next_request_id());
    answer
}

/// A value that may be sent; what may not is left out.
pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
