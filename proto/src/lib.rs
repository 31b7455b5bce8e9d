//! The wire protocol `petctl.v1`, generated from `proto/petctl/v1`.
//!
//! Clients talk to a coordinator through [`v1::job_service_client`], workers through [`v1::worker_service_client`].
//! [`refusal()`] and [`Refusal`] carry codes through statuses.

mod refusal;

pub use refusal::{DOMAIN, Refusal, refusal};

/// Messages and services of `petctl.v1`.
mod job_state;

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    reason = "generated code; the .proto files hold the documentation"
)]
pub mod v1 {
    tonic::include_proto!("petctl.v1");
}

/// Version of the worker stream: what both sides may say on it, and what it means. A field that may be left out makes no
/// new one; a message or an answer that the other side must understand does.
pub const PROTOCOL_VERSION: u32 = 4;

/// The oldest version that is still spoken: the newest of the release before, so that neighbouring releases have one in
/// common.
pub const OLDEST_PROTOCOL_VERSION: u32 = 4;

/// The version that two sides speak, each of which knows those from its oldest to its newest one; `None`: they have none
/// in common.
#[must_use]
pub fn common_protocol(own: (u32, u32), theirs: (u32, u32)) -> Option<u32> {
    let newest = own.1.min(theirs.1);
    (newest >= own.0.max(theirs.0)).then_some(newest)
}

/// Largest message either side accepts, in bytes. Batches are cut to stay below.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Metadata key under which every call carries its token, as `Bearer TOKEN`.
pub const TOKEN_METADATA_KEY: &str = "authorization";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_speak_the_newest_version_that_both_know_and_others_none() {
        let versions = [
            ((4, 4), (4, 4), Some(4)),
            ((4, 5), (4, 4), Some(4)),
            ((4, 4), (4, 5), Some(4)),
            ((4, 5), (5, 6), Some(5)),
            ((4, 6), (4, 6), Some(6)),
            ((5, 6), (4, 4), None),
            ((4, 4), (5, 6), None),
            // Turned round, it is none.
            ((4, 4), (5, 4), None),
        ];
        for (own, theirs, expected) in versions {
            assert_eq!(common_protocol(own, theirs), expected, "{own:?} {theirs:?}");
        }
    }
}
