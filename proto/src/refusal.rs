//! Refusals: a stable code and a sentence on their way through a gRPC status.
//!
//! The code travels in the status' details, as `google.rpc.ErrorInfo`: its reason is the code, its domain [`DOMAIN`].
//! The message is the sentence alone.

use petctl_codes::Code;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of petctl's codes: a reason of another domain is not one of them.
pub const DOMAIN: &str = "petctl";
/// Shortest text that is taken for a code where it stands before a sentence.
const MIN_CODE_CHARS: usize = 4;

/// Why the other side refused something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code as it arrived: the other side may be of another version and know more codes than this one.
    pub code: String,
    /// What happened.
    pub sentence: String,
}

/// The status that carries a refusal.
#[must_use]
pub fn refusal(code: Code, grpc: tonic::Code, sentence: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(code.as_str(), DOMAIN, []);
    Status::with_error_details(grpc, sentence, details)
}

impl Refusal {
    /// The refusal that a status carries; `None` where it comes from something else than petctl. Versions before this
    /// one wrote `CODE: sentence` into the message, which is understood too.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let info = status
            .get_details_error_info()
            .filter(|info| info.domain == DOMAIN);
        let (code, sentence) = match info {
            Some(info) => (info.reason, status.message()),
            None => {
                let (code, sentence) = status.message().split_once(": ")?;
                (is_code(code).then(|| code.to_owned())?, sentence)
            }
        };
        Some(Self {
            code,
            sentence: sentence.to_owned(),
        })
    }

    /// The code, where this version knows it.
    #[must_use]
    pub fn known(&self) -> Option<Code> {
        Code::parse(&self.code)
    }
}

fn is_code(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    text.len() >= MIN_CODE_CHARS
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_arrives_as_it_was_sent() {
        let status = refusal(
            Code::NoSuchJob,
            tonic::Code::NotFound,
            "there is no job `a`: it was deleted",
        );
        assert_eq!(status.code(), tonic::Code::NotFound);
        assert_eq!(status.message(), "there is no job `a`: it was deleted");
        // Over the wire a status is headers.
        let headers = status.into_http::<()>().into_parts().0.headers;
        let arrived = Status::from_header_map(&headers).unwrap();
        let refusal = Refusal::of(&arrived).unwrap();
        assert_eq!(refusal.code, "NO_SUCH_JOB");
        assert_eq!(refusal.known(), Some(Code::NoSuchJob));
        assert_eq!(refusal.sentence, "there is no job `a`: it was deleted");
    }

    #[test]
    fn a_code_before_the_sentence_is_understood() {
        let status = Status::not_found("OUTPUT_NAME_NOT_UTF8: the name: it is odd");
        let refusal = Refusal::of(&status).unwrap();
        assert_eq!(refusal.code, "OUTPUT_NAME_NOT_UTF8");
        assert_eq!(refusal.sentence, "the name: it is odd");
        let later = Refusal::of(&Status::not_found("OF_A_LATER_VERSION: who knows")).unwrap();
        assert_eq!(later.known(), None);
    }

    #[test]
    fn what_others_say_is_no_refusal() {
        for message in [
            "transport error",
            "error: it broke",
            "TLS: bad certificate",
            "",
            "_AB_: x",
            "NO SUCH: x",
        ] {
            assert_eq!(Refusal::of(&Status::unknown(message)), None, "{message}");
        }
        let details = ErrorDetails::with_error_info("QUOTA", "example.com", []);
        let foreign = Status::with_error_details(tonic::Code::Internal, "over", details);
        assert_eq!(Refusal::of(&foreign), None);
    }
}
