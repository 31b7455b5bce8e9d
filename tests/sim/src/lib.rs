//! Deterministic simulation of a coordinator and its workers.
//!
//! The real [`petctl_core::Core`] runs against simulated workers, network, disk and clients, all driven from one
//! seed. Everything that can go wrong does: streams break, messages come twice or out of order, networks part,
//! workers die, stop and come back, the coordinator crashes before and after its commits. After every step the
//! invariants of the design are checked ([`oracle`]), and at the end that the job ends.

pub mod cluster;
pub mod coordinator;
pub mod oracle;
pub mod output;
pub mod plan;
pub mod trainer;
pub mod versions;
pub mod worker;
pub mod world;

pub use plan::{Broken, Options};
pub use world::{Failure, Stats, run, run_many};
