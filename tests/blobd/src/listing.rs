//! Names of a container, page by page.

use crate::answer::xml;
use crate::pieces::Answer;
use crate::refusal::Refusal;
use crate::request::{Asked, metadata_key};
use crate::store::{Blob, Container, Service};
use hyper::header::HeaderValue;
use quick_xml::escape::escape;
use std::borrow::Cow;
use std::ops::Bound;

/// Most names of one page.
const MAX_PAGE: usize = 5_000;
/// About what one blob takes in a listing.
const ENTRY_BYTES: usize = 640;

pub(crate) fn list(service: &Service, asked: &Asked) -> Result<Answer, Refusal> {
    let page = page_size(asked)?;
    let with_metadata = includes_metadata(asked)?;
    service.within(&asked.container, |container| {
        Ok(xml(write(container, asked, page, with_metadata)))
    })
}

fn page_size(asked: &Asked) -> Result<usize, Refusal> {
    match asked.parameter("maxresults") {
        "" => Ok(MAX_PAGE),
        text => match text.parse::<usize>() {
            Ok(0) => Err(Refusal::out_of_range_query_value()),
            Ok(wanted) => Ok(wanted.min(MAX_PAGE)),
            Err(_) => Err(Refusal::invalid_query_value()),
        },
    }
}

fn includes_metadata(asked: &Asked) -> Result<bool, Refusal> {
    let included = asked.parameter("include").split(',');
    let mut metadata = false;
    for item in included.filter(|item| !item.is_empty()) {
        if !item.eq_ignore_ascii_case("metadata") {
            return Err(Refusal::not_implemented(&format!("include={item}")));
        }
        metadata = true;
    }
    Ok(metadata)
}

fn write(container: &Container, asked: &Asked, page: usize, with_metadata: bool) -> String {
    let parameter = |name| escape(asked.parameter(name));
    let (prefix, delimiter) = (asked.parameter("prefix"), asked.parameter("delimiter"));
    let mut blobs = String::with_capacity(page.min(container.blobs.len()) * ENTRY_BYTES);
    let mut folders = String::new();
    let (mut names, mut mark) = (0, "");
    let mut folder: Option<&str> = None;
    let mut more = false;
    for (name, blob) in behind(container, prefix, asked.parameter("marker")) {
        let found = folder_of(name, prefix, delimiter);
        if found.is_none() || found != folder {
            more = names == page;
            if more {
                break;
            }
            names += 1;
            match found {
                Some(found) => folders.push_str(&format!(
                    "<BlobPrefix><Name>{}</Name></BlobPrefix>",
                    escape(found)
                )),
                None => push_blob(&mut blobs, name, blob, with_metadata),
            }
            folder = found;
        }
        mark = name;
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<EnumerationResults ContainerName=\"{}\">\
         <Prefix>{}</Prefix><Marker>{}</Marker><MaxResults>{page}</MaxResults><Delimiter>{}</Delimiter>\
         <Blobs>{folders}{blobs}</Blobs><NextMarker>{}</NextMarker></EnumerationResults>",
        escape(asked.container.as_str()),
        parameter("prefix"),
        parameter("marker"),
        parameter("delimiter"),
        escape(if more { mark } else { "" }),
    )
}

/// Blobs with that prefix, behind that name.
fn behind<'a>(
    container: &'a Container,
    prefix: &'a str,
    mark: &str,
) -> impl Iterator<Item = (&'a str, &'a Blob)> {
    let start = if mark < prefix {
        Bound::Included(prefix)
    } else if mark.is_empty() {
        Bound::Unbounded
    } else {
        Bound::Excluded(mark)
    };
    container
        .blobs
        .range::<str, _>((start, Bound::Unbounded))
        .map(|(name, blob)| (name.as_str(), blob.as_ref()))
        .take_while(move |(name, _)| name.starts_with(prefix))
}

/// The name up to the first delimiter behind the prefix.
fn folder_of<'a>(name: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    if delimiter.is_empty() {
        return None;
    }
    let at = prefix.len() + name.get(prefix.len()..)?.find(delimiter)?;
    name.get(..at + delimiter.len())
}

fn push_blob(text: &mut String, name: &str, blob: &Blob, with_metadata: bool) {
    let show = |value: &HeaderValue| escape(string(value)).into_owned();
    text.push_str(&format!(
        "<Blob><Name>{}</Name><Properties><Creation-Time>{}</Creation-Time><Last-Modified>{}</Last-Modified>\
         <Etag>{}</Etag><Content-Length>{}</Content-Length><Content-Type>{}</Content-Type>",
        escape(name),
        show(&blob.created),
        show(&blob.stamp.modified),
        string(&blob.stamp.etag).trim_matches('"'),
        blob.size,
        show(&blob.content_type),
    ));
    if let Some(md5) = &blob.md5 {
        text.push_str(&format!("<Content-MD5>{}</Content-MD5>", show(md5)));
    }
    text.push_str(
        "<BlobType>BlockBlob</BlobType><LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>\
         <ServerEncrypted>true</ServerEncrypted><AccessTier>Hot</AccessTier>\
         <AccessTierInferred>true</AccessTierInferred></Properties>",
    );
    if with_metadata && !blob.metadata.is_empty() {
        text.push_str("<Metadata>");
        for (name, value) in &blob.metadata {
            let key = metadata_key(name);
            text.push_str(&format!("<{key}>{}</{key}>", show(value)));
        }
        text.push_str("</Metadata>");
    }
    text.push_str("</Blob>");
}

/// What is no ASCII in a value is replaced.
fn string(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}
