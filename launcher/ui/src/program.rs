//! The running program itself, to be started again.

use crate::{Code, Error, Result};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the hidden command that cleans up after a worker.
pub const GUARD: &str = "worker-guard";

/// The running program itself, even if its file has been replaced since.
#[must_use]
pub fn own_program() -> PathBuf {
    let own = Path::new("/proc/self/exe");
    if own.exists() {
        own.to_owned()
    } else {
        std::env::current_exe().unwrap_or_else(|_| "petctl".into())
    }
}

/// Program and first arguments of a worker's guard.
#[must_use]
pub fn guard() -> Vec<OsString> {
    vec![own_program().into(), GUARD.into()]
}

/// In the background: out of the terminal's session.
///
/// # Errors
/// [`Code::Bug`] where the system refuses.
pub fn leave_terminal() -> Result<()> {
    rustix::process::setsid()
        .map(|_session| ())
        .map_err(|error| {
            Error::new(Code::Bug, "can't leave the terminal's session")
                .because(&io::Error::from(error))
        })
}
