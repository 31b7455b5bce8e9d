//! `petctl worker-guard`: started by workers, for nobody to type.

use clap::Args;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;

/// Waits for the end of the worker that started it, and kills what it left behind.
#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    /// The worker's id.
    worker_id: String,
}

pub(crate) fn run(args: &GuardArgs) -> Result<Exit> {
    petctl_worker::guard(&args.worker_id).map_err(|error| {
        Error::new(Code::Bug, "can't hear of the end of a worker").because(&error)
    })?;
    Ok(Exit::Success)
}
