//! The worker: an agent that holds one stream to its coordinator and runs one command per shard.
//!
//! [`run`] is all of it; one worker is one process. Inside: [`agent`] speaks with the coordinator (a pure machine and
//! a loop around it), `shard` runs attempts in slots, [`petctl_group`] this worker's part of a training group,
//! [`petctl_process`] starts and watches a command, and [`petctl_data`] brings inputs out of blob storage and outputs into
//! it.

pub mod agent;
mod options;
mod shard;

pub use agent::run;
pub use options::{Ended, Execution, Options, Shutdown, WorkerError};
pub use petctl_group::{ExternalCommand, ExternalProcess, ExternalStream, News, StopSignal, guard};
pub use petctl_process::strays::sweep;
