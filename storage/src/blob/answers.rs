//! What the service's answers say: versions, sizes, lost races, bodies that broke off.

use super::refusal::{Answer, Asked, answer, refusal};
use crate::error::{StorageError, StorageProblem};
use crate::store::{Condition, ETag, Properties, PutOutcome};
use azure_core::http::Etag;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::time::parse_rfc7231;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use std::time::SystemTime;

/// The element that a listing is.
const LISTING: &[u8] = b"<EnumerationResults";

/// Headers and listings write ETags with and without quotes; conditions want them.
pub(super) fn quoted(etag: &str) -> String {
    if etag.starts_with('"') || etag.starts_with("W/") {
        etag.to_owned()
    } else {
        format!("\"{etag}\"")
    }
}

pub(super) fn etag_of(headers: &Headers) -> Option<Etag> {
    headers
        .get_optional_str(&HeaderName::from_static("etag"))
        .map(Etag::from)
}

pub(super) fn conditions(condition: &Condition) -> (Option<Etag>, Option<Etag>) {
    match condition {
        Condition::None => (None, None),
        Condition::Absent => (None, Some(Etag::from("*"))),
        Condition::Match(etag) => (Some(Etag::from(etag.0.as_str())), None),
    }
}

pub(super) fn done_with(etag: Option<Etag>, asked: &Asked<'_>) -> Result<PutOutcome, StorageError> {
    match etag {
        Some(etag) => Ok(PutOutcome::Done(ETag(quoted(etag.as_ref())))),
        None => Err(StorageError::new(
            StorageProblem::Unexpected,
            format!("wrote {}, but the service named no ETag", asked.address),
        )),
    }
}

/// Somebody else won, or it failed.
pub(super) fn lost_or(
    error: &azure_core::Error,
    condition: &Condition,
    asked: &Asked<'_>,
) -> Result<PutOutcome, StorageError> {
    let lost = answer(error).is_some_and(|answer| match condition {
        Condition::None => false,
        Condition::Absent => answer.status == 412 || answer.code == "BlobAlreadyExists",
        Condition::Match(_) => answer.status == 412 || is_no_blob(&answer),
    });
    if lost {
        return Ok(PutOutcome::Lost);
    }
    Err(refusal(error, asked))
}

pub(super) fn is_no_blob(answer: &Answer) -> bool {
    answer.status == 404 && answer.code != "ContainerNotFound"
}

/// What has no such element at all would be read as a list of nothing.
pub(super) fn check_listing(body: &[u8], asked: &Asked<'_>) -> Result<(), StorageError> {
    if body.windows(LISTING.len()).any(|bytes| bytes == LISTING) {
        return Ok(());
    }
    let start: String = String::from_utf8_lossy(body).chars().take(60).collect();
    Err(StorageError::new(
        StorageProblem::Unexpected,
        format!(
            "can't list {}: the answer is no listing, it begins with {start:?}",
            asked.address
        ),
    ))
}

/// First byte, the byte after the last one, and the size of the whole.
pub(super) fn content_range(headers: &Headers) -> Option<(u64, u64, u64)> {
    let text = headers.get_optional_str(&HeaderName::from_static("content-range"))?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let last: u64 = last.parse().ok()?;
    Some((
        first.parse().ok()?,
        last.checked_add(1)?,
        size.parse().ok()?,
    ))
}

pub(super) fn properties(
    headers: &Headers,
    span: Option<(u64, u64, u64)>,
    asked: &Asked<'_>,
) -> Result<Properties, StorageError> {
    let header = |name: &'static str| headers.get_optional_str(&HeaderName::from_static(name));
    let length = header("content-length").and_then(|text| text.parse().ok());
    let size = span.map(|(_, _, size)| size).or(length);
    let whole = span.is_none_or(|(start, end, size)| start == 0 && end == size);
    let md5 = header("x-ms-blob-content-md5").or(header("content-md5").filter(|_| whole));
    let (Some(size), Some(etag)) = (size, header("etag")) else {
        return Err(StorageError::new(
            StorageProblem::Unexpected,
            format!(
                "can't {} {}: the service named no size or no ETag",
                asked.doing, asked.address
            ),
        ));
    };
    Ok(Properties {
        size,
        etag: ETag(quoted(etag)),
        modified: header("last-modified")
            .and_then(|text| parse_rfc7231(text).ok())
            .map_or(SystemTime::UNIX_EPOCH, SystemTime::from),
        md5: md5
            .and_then(|text| STANDARD.decode(text).ok())
            .and_then(|md5| md5.try_into().ok()),
    })
}

type Bodies = stream::BoxStream<'static, azure_core::Result<Bytes>>;

/// A body that ends with an error unless all of its bytes came.
pub(super) fn counted(
    bytes: Bodies,
    wanted: u64,
    asked: Asked<'static>,
) -> stream::BoxStream<'static, Result<Bytes, StorageError>> {
    let state = (Some(bytes), 0_u64, asked);
    stream::unfold(state, move |(bytes, came, asked)| async move {
        let mut bytes = bytes?;
        match bytes.next().await {
            Some(Ok(piece)) => {
                let came = came + piece.len() as u64;
                Some((Ok(piece), (Some(bytes), came, asked)))
            }
            Some(Err(error)) => Some((Err(refusal(&error, &asked)), (None, came, asked))),
            None if came == wanted => None,
            None => {
                let error = StorageError::new(
                    StorageProblem::Unavailable,
                    format!(
                        "can't read {}: only {came} of {wanted} bytes came",
                        asked.address
                    ),
                );
                Some((Err(error), (None, came, asked)))
            }
        }
    })
    .boxed()
}
