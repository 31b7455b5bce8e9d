//! Shards: each attempt at one of them runs on the thread of a slot.
//!
//! `slots` are the threads, fed from one queue; `attempt` is what a slot does from a lease to a result. `command` puts
//! together what is started, and `serve` keeps the warm processes of stages that have them. A [`Job`] holds what can be
//! made ready once for all of its attempts.

mod attempt;
mod command;
mod job;
mod serve;
mod slots;

pub(crate) use self::job::{Job, WorkerName};
pub(crate) use self::slots::{Slots, Task};
