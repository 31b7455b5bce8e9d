//! Jobs whose data is in blob storage: the service, the way to it, and what must be in a container at the end.

mod azurite;
mod blobs;
mod cloud;
mod commits;
mod sas;

pub use azurite::Azurite;
pub use blobs::Blobs;
pub use cloud::Cloud;
pub use commits::{verify_blobs, verify_visible};
pub use petctl_test_faults::{Fault, Matching, Proxy, Weather};
pub use sas::{Sas, signature};
