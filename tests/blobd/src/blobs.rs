//! Blobs written whole, read, described and deleted.

use crate::answer::{BLOB_MD5, blob_headers, empty, stamped, value};
use crate::conditions::{check_make, check_read, check_write};
use crate::pieces::{Answer, Pieces, Received};
use crate::refusal::Refusal;
use crate::request::Asked;
use crate::store::{Blob, Block, Service};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RANGE};
use md5::{Digest as _, Md5};
use std::ops::Range;
use std::sync::Arc;

pub(crate) const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const BLOB_CONTENT_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-content-type");
const AZURE_RANGE: HeaderName = HeaderName::from_static("x-ms-range");

pub(crate) fn put(service: &Service, asked: &Asked, received: Received) -> Result<Answer, Refusal> {
    check_md5(service, asked, &received)?;
    let sent = [&BLOB_MD5, &CONTENT_MD5]
        .into_iter()
        .find_map(|name| asked.headers.get(name));
    let md5 = match sent {
        Some(md5) => md5.clone(),
        None => md5_of(&received),
    };
    let fallback = asked.headers.get(CONTENT_TYPE).cloned();
    let mut blob = Blob {
        stamp: service.stamp(),
        created: HeaderValue::from_static(""),
        content_type: content_type(asked, fallback),
        md5: Some(md5.clone()),
        metadata: asked.metadata()?,
        size: received.size,
        blocks: vec![Block {
            id: String::new(),
            content: Arc::new(received),
        }],
    };
    let mut answer = stamped(StatusCode::CREATED, &blob.stamp);
    answer.headers_mut().insert(CONTENT_MD5, md5);
    service.within(&asked.container, |container| {
        let there = container.blobs.get(&asked.blob);
        check_make(asked, there.map(AsRef::as_ref))?;
        blob.created = blob.stamp.modified.clone();
        container.staged.remove(&asked.blob);
        container.blobs.insert(asked.blob.clone(), Arc::new(blob));
        Ok(answer)
    })
}

pub(crate) fn get(service: &Service, asked: &Asked) -> Result<Answer, Refusal> {
    let blob = find(service, asked)?;
    let range = range(asked, blob.size)?;
    let cut = range.clone().unwrap_or(0..blob.size);
    let mut answer = Answer::new(Pieces::cut(blob.pieces(), cut));
    let headers = answer.headers_mut();
    blob_headers(headers, &blob);
    if let Some(md5) = &blob.md5 {
        headers.insert(BLOB_MD5, md5.clone());
    }
    match (range, &blob.md5) {
        (Some(range), _) => {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, blob.size);
            headers.insert(CONTENT_RANGE, value(&text));
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        (None, Some(md5)) => {
            headers.insert(CONTENT_MD5, md5.clone());
        }
        (None, None) => {}
    }
    Ok(answer)
}

pub(crate) fn properties(service: &Service, asked: &Asked) -> Result<Answer, Refusal> {
    let blob = find(service, asked)?;
    let mut answer = empty(StatusCode::OK);
    let headers = answer.headers_mut();
    blob_headers(headers, &blob);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(blob.size));
    if let Some(md5) = &blob.md5 {
        headers.insert(CONTENT_MD5, md5.clone());
    }
    Ok(answer)
}

pub(crate) fn delete(service: &Service, asked: &Asked) -> Result<Answer, Refusal> {
    service.within(&asked.container, |container| {
        let there = container.blobs.get(&asked.blob);
        check_write(asked, there.map(AsRef::as_ref))?;
        let deleted = container.blobs.remove(&asked.blob);
        deleted.ok_or_else(Refusal::blob_not_found)?;
        container.staged.remove(&asked.blob);
        Ok(empty(StatusCode::ACCEPTED))
    })
}

/// The blob, if it may be read.
fn find(service: &Service, asked: &Asked) -> Result<Arc<Blob>, Refusal> {
    service.within(&asked.container, |container| {
        let blob = container.blobs.get(&asked.blob);
        let blob = blob.ok_or_else(Refusal::blob_not_found)?;
        check_read(asked, blob)?;
        Ok(Arc::clone(blob))
    })
}

/// The bytes asked for; `None`: the whole, also where the range can't be read.
fn range(asked: &Asked, size: u64) -> Result<Option<Range<u64>>, Refusal> {
    let text = asked.header(&AZURE_RANGE).or(asked.header(&RANGE));
    let Some((first, last)) = text
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let (Ok(first), Ok(last)) = (
        first.parse::<u64>(),
        match last {
            "" => Ok(u64::MAX),
            last => last.parse(),
        },
    ) else {
        return Ok(None);
    };
    if first > last {
        return Ok(None);
    }
    if first >= size {
        return Err(Refusal::invalid_range(size));
    }
    Ok(Some(first..last.saturating_add(1).min(size)))
}

/// Compares the body with the MD5 that came with it, where that is wanted.
pub(crate) fn check_md5(
    service: &Service,
    asked: &Asked,
    received: &Received,
) -> Result<(), Refusal> {
    let sent = asked.headers.get(CONTENT_MD5);
    match sent.filter(|_| service.checks_md5) {
        Some(sent) if *sent != md5_of(received) => Err(Refusal::md5_mismatch()),
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn content_type(asked: &Asked, fallback: Option<HeaderValue>) -> HeaderValue {
    let asked = asked.headers.get(BLOB_CONTENT_TYPE).cloned();
    let given = asked.or(fallback);
    given.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"))
}

pub(crate) fn md5_of(received: &Received) -> HeaderValue {
    let mut md5 = Md5::new();
    for piece in &received.pieces {
        md5.update(piece);
    }
    value(&STANDARD.encode(md5.finalize()))
}
