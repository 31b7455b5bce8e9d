//! Shards: each attempt at one of them runs on the thread of a slot.
//!
//! [`slots`] are the threads, fed from one queue; [`attempt`] is what a slot does from a lease to a result. [`command`]
//! puts together what is started, [`serve`] keeps the warm processes of stages that have them, [`validity`] says until
//! when leases are certain to be this worker's, and [`outcome`] what came of an attempt. A [`job`] holds what can be
//! made ready once for all of its attempts.

mod attempt;
pub(crate) mod command;
pub(crate) mod job;
pub(crate) mod outcome;
mod serve;
mod slots;
pub(crate) mod validity;

pub(crate) use self::job::{Job, WorkerName};
pub(crate) use self::slots::{Slots, Task};
