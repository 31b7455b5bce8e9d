//! What is asked for; and that it is something this service can do.

use crate::answer::BLOB_TYPE;
use crate::refusal::Refusal;
use crate::request::Asked;

/// Everything that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateContainer,
    ContainerProperties,
    DeleteContainer,
    ListBlobs,
    PutBlob,
    GetBlob,
    BlobProperties,
    DeleteBlob,
    PutBlock,
    PutBlockList,
    GetBlockList,
}

/// Parameters that are understood, and those of a SAS, which nobody looks at.
const PARAMETERS: [&str; 31] = [
    "comp",
    "restype",
    "prefix",
    "marker",
    "maxresults",
    "delimiter",
    "include",
    "blockid",
    "blocklisttype",
    "timeout",
    "sv",
    "ss",
    "srt",
    "sp",
    "st",
    "se",
    "sip",
    "spr",
    "sig",
    "sr",
    "si",
    "sdd",
    "ses",
    "skoid",
    "sktid",
    "skt",
    "ske",
    "sks",
    "skv",
    "saoid",
    "scid",
];

/// Headers that change what is done, and that are not understood.
const FOREIGN_HEADERS: [&str; 24] = [
    "if-modified-since",
    "if-unmodified-since",
    "content-encoding",
    "content-language",
    "x-ms-access-tier",
    "x-ms-blob-cache-control",
    "x-ms-blob-content-disposition",
    "x-ms-blob-content-encoding",
    "x-ms-blob-content-language",
    "x-ms-blob-public-access",
    "x-ms-content-crc64",
    "x-ms-copy-source",
    "x-ms-delete-snapshots",
    "x-ms-encryption-key",
    "x-ms-encryption-scope",
    "x-ms-if-tags",
    "x-ms-immutability-policy-mode",
    "x-ms-lease-id",
    "x-ms-legal-hold",
    "x-ms-range-get-content-crc64",
    "x-ms-range-get-content-md5",
    "x-ms-structured-body",
    "x-ms-tags",
    "x-http-method-override",
];

pub(crate) fn operation(asked: &Asked) -> Result<Operation, Refusal> {
    use Operation as O;
    let resource = match (asked.container.as_str(), asked.blob.as_str()) {
        ("", _) => "account",
        (_, "") => "container",
        (_, _) => "blob",
    };
    let (restype, comp) = (asked.parameter("restype"), asked.parameter("comp"));
    let found = match (asked.method.as_str(), resource, restype, comp) {
        ("PUT", "container", "container", "") => O::CreateContainer,
        ("GET" | "HEAD", "container", "container", "") => O::ContainerProperties,
        ("DELETE", "container", "container", "") => O::DeleteContainer,
        ("GET", "container", "container", "list") => O::ListBlobs,
        ("PUT", "blob", "", "") => O::PutBlob,
        ("GET", "blob", "", "") => O::GetBlob,
        ("HEAD", "blob", "", "") => O::BlobProperties,
        ("DELETE", "blob", "", "") => O::DeleteBlob,
        ("PUT", "blob", "", "block") => O::PutBlock,
        ("PUT", "blob", "", "blocklist") => O::PutBlockList,
        ("GET", "blob", "", "blocklist") => O::GetBlockList,
        (method, _, _, _) => {
            let asked = format!("{method} {resource} restype={restype} comp={comp}");
            return Err(Refusal::not_implemented(&asked));
        }
    };
    check_details(asked, found)?;
    Ok(found)
}

fn check_details(asked: &Asked, operation: Operation) -> Result<(), Refusal> {
    let foreign = asked
        .query
        .iter()
        .find(|(name, _)| !PARAMETERS.contains(&name.as_str()));
    if let Some((name, _)) = foreign {
        return Err(Refusal::not_implemented(&format!("parameter {name}")));
    }
    let foreign = FOREIGN_HEADERS
        .iter()
        .find(|name| asked.headers.contains_key(**name));
    if let Some(name) = foreign {
        return Err(Refusal::not_implemented(&format!("header {name}")));
    }
    let kind = asked.header(&BLOB_TYPE).unwrap_or_default();
    if operation == Operation::PutBlob && kind != "BlockBlob" {
        let asked = format!("header x-ms-blob-type: {kind}");
        return Err(Refusal::not_implemented(&asked));
    }
    Ok(())
}
