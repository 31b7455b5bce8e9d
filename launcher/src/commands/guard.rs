//! `petctl worker-guard`: started by workers, for nobody to type.

use crate::backend::local::own_program;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use clap::Args;
use std::ffi::OsString;

/// Its name on the command line.
pub(crate) const NAME: &str = "worker-guard";

/// Waits for the end of the worker that started it, and kills what it left behind.
#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    /// The worker's id.
    worker_id: String,
}

/// Program and first arguments of a worker's guard.
pub(crate) fn command() -> Vec<OsString> {
    vec![own_program().into(), NAME.into()]
}

pub(crate) fn run(args: &GuardArgs) -> Result<Exit> {
    petctl_worker::guard(&args.worker_id).map_err(|error| {
        Error::new(Code::Bug, "can't hear of the end of a worker").because(&error)
    })?;
    Ok(Exit::Success)
}
