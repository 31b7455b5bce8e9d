//! Promises of the core that the simulation does not single out.

mod jobs;
mod shards;
mod totals;
mod training;
