//! What petctl makes in a cluster, as JSON: computed, not applied.

mod access;
pub(crate) mod blobs;
mod coordinator;
pub(crate) mod gpu;
mod pod;
mod probes;
pub(crate) mod workers;

pub(crate) use access::{Access, ca, secret};
pub(crate) use coordinator::{Install, access_needed, installed};
pub(crate) use workers::{TOKEN_VOLUME, Workers, record, workers};

#[cfg(test)]
mod tests;
