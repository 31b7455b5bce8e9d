//! `If-Match` and `If-None-Match`.

use crate::refusal::Refusal;
use crate::request::Asked;
use crate::store::Blob;
use hyper::header::{IF_MATCH, IF_NONE_MATCH};

/// Whether what is there may be replaced or deleted.
pub(crate) fn check_write(asked: &Asked, there: Option<&Blob>) -> Result<(), Refusal> {
    let (wanted, unwanted) = read(asked)?;
    let etag = there.map(|blob| &blob.stamp.etag);
    match (wanted, unwanted) {
        (Some("*"), _) => Ok(()),
        (Some(wanted), _) if etag.is_none_or(|etag| etag != wanted) => {
            Err(Refusal::condition_not_met())
        }
        (None, Some(unwanted)) if etag.is_some_and(|etag| etag == unwanted) => {
            Err(Refusal::condition_not_met())
        }
        (_, _) => Ok(()),
    }
}

/// As [`check_write`] for what makes a blob: `If-None-Match: *` wants that none is there.
pub(crate) fn check_make(asked: &Asked, there: Option<&Blob>) -> Result<(), Refusal> {
    check_write(asked, there)?;
    if there.is_some() && asked.header(&IF_NONE_MATCH) == Some("*") {
        return Err(Refusal::blob_already_exists());
    }
    Ok(())
}

/// Whether what is there may be read.
pub(crate) fn check_read(asked: &Asked, there: &Blob) -> Result<(), Refusal> {
    let (wanted, unwanted) = read(asked)?;
    let etag = &there.stamp.etag;
    if unwanted == Some("*") {
        return Err(Refusal::unsatisfiable_condition());
    }
    if wanted.is_some_and(|wanted| wanted != "*" && etag != wanted) {
        return Err(Refusal::condition_not_met());
    }
    if unwanted.is_some_and(|unwanted| etag == unwanted) {
        return Err(Refusal::not_modified());
    }
    Ok(())
}

/// The version that must be there, and the one that must not.
fn read(asked: &Asked) -> Result<(Option<&str>, Option<&str>), Refusal> {
    let (wanted, unwanted) = (asked.header(&IF_MATCH), asked.header(&IF_NONE_MATCH));
    let many = |text: Option<&str>| text.is_some_and(|text| text.contains(','));
    if many(wanted) || many(unwanted) || (wanted.is_some() && unwanted.is_some()) {
        return Err(Refusal::multiple_conditions());
    }
    Ok((wanted, unwanted))
}
