//! The parts of a job file, each read from its table.

pub(crate) mod command;
mod dispatch;
pub(crate) mod job;
pub(crate) mod needs;
pub(crate) mod stage;
pub(crate) mod storage;
mod train;
pub(crate) mod workers;

pub use needs::per_shard;
