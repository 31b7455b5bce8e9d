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

/// Version of the worker stream; a coordinator refuses a worker of another one.
pub const PROTOCOL_VERSION: u32 = 4;

/// Largest message either side accepts, in bytes. Batches are cut to stay below.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Metadata key under which every call carries its token, as `Bearer TOKEN`.
pub const TOKEN_METADATA_KEY: &str = "authorization";
