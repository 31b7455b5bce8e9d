//! What is not done, told as Azure tells it: a status, an error code, and a few lines of XML.

use crate::answer::{text, value};
use crate::pieces::Answer;
use hyper::StatusCode;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue};
use std::borrow::Cow;

pub(crate) const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    message: &'static str,
    /// The blob's size, where a range lies behind it.
    size: Option<u64>,
}

/// A code that never changes.
const fn plain(status: StatusCode, code: &'static str, message: &'static str) -> Refusal {
    Refusal {
        status,
        code: Cow::Borrowed(code),
        message,
        size: None,
    }
}

impl Refusal {
    pub(crate) fn answer(self) -> Answer {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>",
            quick_xml::escape::escape(self.code.as_ref()),
            self.message
        );
        let mut answer = text(self.status, body);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        headers.insert(ERROR_CODE, value(&self.code));
        if let Some(size) = self.size {
            headers.insert(CONTENT_RANGE, value(&format!("bytes */{size}")));
        }
        answer
    }

    /// This service does not know how; `asked` says what.
    pub(crate) fn not_implemented(asked: &str) -> Self {
        Self {
            code: Cow::Owned(format!("NotImplemented: {asked}")),
            ..plain(
                StatusCode::NOT_IMPLEMENTED,
                "",
                "This service knows only what petctl uses.",
            )
        }
    }

    pub(crate) fn invalid_range(size: u64) -> Self {
        Self {
            size: Some(size),
            ..plain(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "InvalidRange",
                "The range specified is invalid for the current size of the resource.",
            )
        }
    }

    pub(crate) fn unsigned() -> Self {
        plain(
            StatusCode::FORBIDDEN,
            "AuthorizationFailure",
            "Server failed to authenticate the request. Make sure the value of the Authorization header is formed \
             correctly including the signature.",
        )
    }

    pub(crate) fn unknown_account() -> Self {
        plain(
            StatusCode::NOT_FOUND,
            "ResourceNotFound",
            "The specified resource does not exist.",
        )
    }

    pub(crate) fn container_not_found() -> Self {
        plain(
            StatusCode::NOT_FOUND,
            "ContainerNotFound",
            "The specified container does not exist.",
        )
    }

    pub(crate) fn container_already_exists() -> Self {
        plain(
            StatusCode::CONFLICT,
            "ContainerAlreadyExists",
            "The specified container already exists.",
        )
    }

    pub(crate) fn blob_not_found() -> Self {
        plain(
            StatusCode::NOT_FOUND,
            "BlobNotFound",
            "The specified blob does not exist.",
        )
    }

    pub(crate) fn blob_already_exists() -> Self {
        plain(
            StatusCode::CONFLICT,
            "BlobAlreadyExists",
            "The specified blob already exists.",
        )
    }

    pub(crate) fn condition_not_met() -> Self {
        plain(
            StatusCode::PRECONDITION_FAILED,
            "ConditionNotMet",
            "The condition specified using HTTP conditional header(s) is not met.",
        )
    }

    pub(crate) fn not_modified() -> Self {
        Self {
            status: StatusCode::NOT_MODIFIED,
            ..Self::condition_not_met()
        }
    }

    pub(crate) fn unsatisfiable_condition() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "UnsatisfiableCondition",
            "The request includes an unsatisfiable condition for this operation.",
        )
    }

    pub(crate) fn multiple_conditions() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "MultipleConditionHeadersNotSupported",
            "Multiple condition headers are not supported.",
        )
    }

    pub(crate) fn invalid_block_list() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "InvalidBlockList",
            "The specified block list is invalid.",
        )
    }

    pub(crate) fn invalid_block() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "InvalidBlobOrBlock",
            "The specified blob or block content is invalid.",
        )
    }

    pub(crate) fn invalid_xml() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "InvalidXmlDocument",
            "XML specified is not syntactically valid.",
        )
    }

    pub(crate) fn invalid_metadata() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "InvalidMetadata",
            "The metadata specified is invalid. It has characters that are not permitted.",
        )
    }

    pub(crate) fn invalid_query_value() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "InvalidQueryParameterValue",
            "Value for one of the query parameters specified in the request URI is invalid.",
        )
    }

    pub(crate) fn out_of_range_query_value() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "OutOfRangeQueryParameterValue",
            "One of the query parameters specified in the request URI is outside the permissible range.",
        )
    }

    pub(crate) fn out_of_range_input() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "OutOfRangeInput",
            "One of the request inputs is out of range.",
        )
    }

    pub(crate) fn out_of_range_name() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "OutOfRangeInput",
            "The specified resource name length is not within the permissible limits.",
        )
    }

    pub(crate) fn invalid_resource_name() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "InvalidResourceName",
            "The specified resource name contains invalid characters.",
        )
    }

    pub(crate) fn invalid_uri() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "InvalidUri",
            "The requested URI does not represent any resource on the server.",
        )
    }

    pub(crate) fn md5_mismatch() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "Md5Mismatch",
            "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
        )
    }

    pub(crate) fn broken_body() -> Self {
        plain(
            StatusCode::BAD_REQUEST,
            "InvalidInput",
            "One of the request inputs is not valid.",
        )
    }
}
