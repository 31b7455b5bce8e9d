//! What petctl makes in a cluster, as JSON: computed, not applied.

mod access;
mod coordinator;
mod pod;
pub(crate) mod workers;

pub(crate) use access::{Access, ca, secret};
pub(crate) use coordinator::{Install, access_needed, installed};
pub(crate) use workers::{Workers, record, workers};
