//! The worker: an agent that holds one stream to its coordinator and runs one command per shard.
//!
//! [`run`] is all of it; one worker is one process. Inside: [`agent`] speaks with the coordinator (a pure machine and
//! a loop around it), `slots` are threads that run one attempt each, `process` starts and watches a command as the
//! pure [`supervisor`] decides, [`logs`] keeps what it prints, and [`commit`] makes its outputs visible exactly once.
//! `serve` keeps the warm processes of stages that have them.
//! `group` runs this worker's part of a training group.
//! [`layout`], [`manifest`] and [`logs`] serve whoever else reads a job's output folder.

pub mod agent;
mod attempt;
mod command;
pub mod commit;
mod group;
mod job;
mod options;
mod outcome;
mod own;
mod places;
mod process;
mod remote;
pub mod report;
mod serve;
mod slots;
pub mod supervisor;
mod validity;

pub use agent::run;
pub use group::guard;
pub use options::{Ended, Execution, Options, Shutdown, Token, WorkerError};
pub use own::{News, OwnCommand, OwnProcess, OwnStream, StopSignal};
pub use process::strays::sweep;
