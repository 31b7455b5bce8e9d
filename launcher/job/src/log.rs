//! Where the diagnostics of petctl's own parts go: they are for whoever looks after petctl, not for its users.

use crate::home::state_error;
use petctl_ui::error::Result;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;

/// Environment variable with the filter: `PETCTL_LOG=debug`, `PETCTL_LOG=petctl_worker=trace,petctl_data=trace`.
const FILTER: &str = "PETCTL_LOG";
/// What is said where nobody asks for more: each broken watch of a cluster is told by whoever watches.
const USUAL: &str = "info,kube_client=off";
/// A diagnostics file larger than this is put aside at the next start; one older file is kept.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// A service's diagnostics, to stderr.
pub fn to_stderr() {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(USUAL))
        .with_writer(io::stderr)
        .with_ansi(petctl_ui::terminal::stderr_has_colors())
        .with_target(false);
    // Only a second call fails, and then the first one stands.
    let _set = subscriber.try_init();
}

/// The embedded coordinator's diagnostics, to a file of the job.
pub fn to_file(path: &Path) -> Result<()> {
    rotate(path).map_err(|error| state_error(path, "put aside", &error))?;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| state_error(path, "open", &error))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(USUAL))
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .with_target(false);
    let _set = subscriber.try_init();
    Ok(())
}

/// Puts a file aside that has become large.
pub fn rotate(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            fs::rename(path, path.with_extension("log.1"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(default))
}
