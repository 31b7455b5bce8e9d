//! One run of a job, from its admission to its report.

mod admission;
mod aside;
mod changes;
pub mod checkpoints;
mod clearing;
mod detach;
mod flow;
mod gain;
mod holding;
pub mod local;
mod local_stages;
mod mounts;
mod place;
mod refused;
pub mod remote;
mod sweeping;
#[cfg(test)]
mod tests;
mod watch;

pub use admission::{Admission, Before};
pub use detach::detach;
pub use flow::{Settings, Watcher};
pub use place::{Fitted, fit};
pub use refused::NewFolder;
