//! What petctl makes in a cluster, as JSON: computed, not applied.

mod coordinator;
mod pod;
mod probes;
pub(crate) mod workers;

pub(crate) use coordinator::{Install, access_needed, installed};
pub(crate) use workers::{Workers, record, workers};

#[cfg(test)]
mod tests;
