//! This machine as the place of a job: as many worker processes as are wanted, its GPUs divided among them, and a
//! coordinator in the launcher's own process.

mod coordinator;
mod fleet;
mod gpus;
mod restart;
mod worker;
mod worker_error;

pub use coordinator::{set_heartbeat_timeout, start, start_error};
pub use fleet::Fleet;
pub use worker::{Coordinator, Launch, stop_orphans, tell_dead};
pub use worker_error::worker_error;
