//! Refusals: a stable code and a sentence on their way through a gRPC status.
//!
//! The code travels in the status' details, as `google.rpc.ErrorInfo`: its reason is the code, its domain [`DOMAIN`].
//! The message is the sentence alone.

use petctl_codes::Code;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of petctl's codes: a reason of another domain is not one of them.
pub const DOMAIN: &str = "petctl";

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
    /// The refusal that a status carries; `None` where it comes from something else than petctl.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        (info.domain == DOMAIN).then(|| Self {
            code: info.reason,
            sentence: status.message().to_owned(),
        })
    }

    /// The code, where this version knows it.
    #[must_use]
    pub fn known(&self) -> Option<Code> {
        Code::parse(&self.code)
    }
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
    fn a_code_of_a_later_version_is_kept() {
        let details = ErrorDetails::with_error_info("OF_A_LATER_VERSION", DOMAIN, []);
        let status = Status::with_error_details(tonic::Code::NotFound, "who knows", details);
        let refusal = Refusal::of(&status).unwrap();
        assert_eq!(refusal.code, "OF_A_LATER_VERSION");
        assert_eq!(refusal.known(), None);
    }

    #[test]
    fn what_others_say_is_no_refusal() {
        for message in ["transport error", "NO_SUCH_JOB: looks like one", ""] {
            assert_eq!(Refusal::of(&Status::unknown(message)), None, "{message}");
        }
        let details = ErrorDetails::with_error_info("QUOTA", "example.com", []);
        let foreign = Status::with_error_details(tonic::Code::Internal, "over", details);
        assert_eq!(Refusal::of(&foreign), None);
    }
}
