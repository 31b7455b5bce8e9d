//! Where a job runs: on this machine, or with a coordinator that is there.

pub(crate) mod local;
pub(crate) mod remote;
pub(crate) mod signals;

use crate::error::Error;
use crate::exit::Exit;
use petctl_rendezvous::StartError;

/// Why a coordinator could not start. Its own text says what to do.
pub(crate) fn start_error(error: &StartError) -> Error {
    let exit = match error.code().as_str() {
        "STATE_IN_USE" => Exit::TryAgain,
        _ => Exit::BadConfiguration,
    };
    let made = Error::foreign(error.code().as_str(), exit, error.to_string());
    match std::error::Error::source(error) {
        Some(source) => made.because(source),
        None => made,
    }
}
