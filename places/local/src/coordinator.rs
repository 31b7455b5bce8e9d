//! A coordinator in this process, on a job's own state folder.

use petctl_job::home::JobFolder;
use petctl_rendezvous::{Coordinator, Handle, Options, StartError};
use petctl_ui::{Code, Error, Exit, Result};
use std::time::Duration;

/// How often a state folder is tried that somebody looks at.
const START_ATTEMPTS: u32 = 40;
const START_RETRY: Duration = Duration::from_millis(50);

/// Starts the job's coordinator. The run's lock is the caller's.
///
/// # Errors
/// Why it could not start.
pub async fn start(
    folder: &JobFolder,
    version: &str,
    heartbeat_timeout_ms: Option<u64>,
) -> Result<Handle> {
    let mut options = Options::new(folder.coordinator());
    options.program_version = version.to_owned();
    if let Some(timeout_ms) = heartbeat_timeout_ms {
        set_heartbeat_timeout(&mut options, timeout_ms)?;
    }
    let mut attempts = 0;
    loop {
        match Coordinator::start(options.clone()).await {
            Ok(handle) => return Ok(handle),
            // The run's lock is ours, so this is a `petctl status` that looks for a moment.
            Err(error) if error.code() == Code::StateInUse && attempts < START_ATTEMPTS => {
                attempts += 1;
                tokio::time::sleep(START_RETRY).await;
            }
            Err(error) => return Err(start_error(&error)),
        }
    }
}

/// Three heartbeats of a worker at work fit into the timeout.
///
/// # Errors
/// Where the timeout is out of its bounds.
pub fn set_heartbeat_timeout(options: &mut Options, timeout_ms: u64) -> Result<()> {
    if !(100..=3_600_000).contains(&timeout_ms) {
        return Err(Error::new(
            Code::Usage,
            "--heartbeat-timeout must be between 100ms and 1h",
        )
        .fix("5s is usual"));
    }
    options.config.heartbeat_timeout_ms = timeout_ms;
    options.config.heartbeat_interval_ms = timeout_ms / 3;
    options.config.idle_heartbeat_interval_ms = timeout_ms / 5 * 3;
    Ok(())
}

/// Why a coordinator could not start. Its own text says what to do.
#[must_use]
pub fn start_error(error: &StartError) -> Error {
    let exit = if error.code() == Code::StateInUse {
        Exit::TryAgain
    } else {
        Exit::BadConfiguration
    };
    let made = Error::foreign(error.code().as_str(), exit, error.to_string());
    match std::error::Error::source(error) {
        Some(source) => made.because(source),
        None => made,
    }
}
