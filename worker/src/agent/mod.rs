//! The worker's side of the stream to its coordinator.
//!
//! `machine` decides and is pure; `link` is the gRPC stream; `driver` is the one loop that feeds the machine and
//! carries out what it says, with the slots to run attempts and `groups` to run training.

mod backoff;
mod code;
mod driver;
mod groups;
mod ledger;
mod link;
mod machine;
mod route;
mod setup;
mod tenure;

pub use self::driver::run;
