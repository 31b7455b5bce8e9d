//! One run of a job, from its admission to its report.

mod admission;
mod changes;
mod companion;
mod detach;
mod gain;
pub mod local;
mod local_stages;
pub mod remote;
mod session;
mod sweeping;

pub use admission::{Admission, Before};
pub use detach::detach;
