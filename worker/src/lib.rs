//! The worker: an agent that holds one stream to its coordinator and runs one command per shard.
//!
//! [`run`] is all of it; one worker is one process. Inside: [`agent`] speaks with the coordinator (a pure machine and
//! a loop around it), `slots` are threads that run one attempt each, `process` starts and watches a command as the
//! pure [`supervisor`] decides, and [`commit`] makes its outputs visible exactly once.
//! `serve` keeps the warm processes of stages that have them.
//! `group` runs this worker's part of a training group.

pub mod agent;
mod attempt;
mod command;
mod group;
mod job;
mod options;
mod outcome;
mod own;
mod places;
mod process;
mod remote;
mod serve;
mod slots;
pub mod supervisor;
mod validity;

use petctl_storage::commit::{self, report};

pub use agent::run;
pub use group::guard;
pub use options::{Ended, Execution, Options, Shutdown, Token, WorkerError};
pub use own::{News, OwnCommand, OwnProcess, OwnStream, StopSignal};
pub use process::strays::sweep;
