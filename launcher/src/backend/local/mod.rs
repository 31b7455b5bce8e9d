//! A job on this machine: an embedded coordinator in this process, and worker processes.

mod admission;
mod companion;
mod detach;
mod fleet;
mod gpus;
mod pace;
mod session;
mod sweeping;
mod worker;

pub(crate) use companion::Companion;
pub(crate) use detach::{detach, leave_terminal, own_program};
pub(crate) use session::Settings;
pub(crate) use sweeping::{remember, sweep};

use super::start_error;
use crate::cli::VERSION;
use crate::client::Client;
use crate::commands::Context;
use crate::commands::rendezvous::set_heartbeat_timeout;
use crate::commands::status::has_ended;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::job::PreparedJob;
use crate::log;
use crate::marker;
use crate::state::{JobFolder, Lock};
use petctl_proto::v1::JobStatus;
use petctl_rendezvous::{Coordinator, Handle, Options};
use std::time::Duration;

/// How often a state folder is tried that somebody looks at.
const START_ATTEMPTS: u32 = 40;
const START_RETRY: Duration = Duration::from_millis(50);

/// Runs a job to its end, or to Ctrl-C.
pub(crate) async fn run(context: &Context, job: PreparedJob, settings: Settings) -> Result<Exit> {
    let folder = context.home()?.job(&job.spec.name);
    folder.make()?;
    let lock = lock(&folder)?;
    let admitted = admission::check(context, &folder, &job, &settings).await?;
    if admitted.same_output {
        // Before the marker: an output that is marked with neither fingerprint of the card is nobody's here.
        folder.write_card(&admitted.card)?;
    }
    if admitted.mark_first {
        marker::mark(&job.spec, &job.fingerprint_hex()).await?;
    }
    log::to_file(&folder.coordinator_log())?;
    let handle = start(&folder, settings.heartbeat_timeout_ms).await?;
    let ended = session::run(context, &folder, &handle, job, settings, admitted).await;
    handle.shutdown();
    handle.stopped().await;
    drop(lock);
    ended
}

/// Cancels a job on which nobody works: a coordinator is started for just that.
pub(crate) async fn cancel_interrupted(
    folder: &JobFolder,
    job: &str,
    reason: &str,
) -> Result<JobStatus> {
    let _lock = lock(folder)?;
    stop_orphans(folder).await?;
    let handle = start(folder, None).await?;
    worker::tell_dead(folder, &handle).await?;
    let cancelled = async {
        let mut client = connect(&handle).await?;
        client.cancel(job, reason).await?;
        let mut stream = client.watch(job).await?;
        loop {
            let message = stream
                .message()
                .await
                .map_err(|status| crate::client::refusal(client.address(), &status))?;
            let status = message
                .and_then(|message| message.status)
                .ok_or_else(stopped)?;
            if status
                .summary
                .as_ref()
                .is_some_and(|summary| has_ended(summary.state()))
            {
                return Ok(status);
            }
        }
    };
    let status = cancelled.await;
    handle.shutdown();
    handle.stopped().await;
    status
}

/// Ends workers that outlived their `petctl run`, and what they run.
pub(crate) async fn stop_orphans(folder: &JobFolder) -> Result<()> {
    worker::stop_orphans(folder).await
}

fn lock(folder: &JobFolder) -> Result<Lock> {
    if let Some(lock) = folder.lock()? {
        return Ok(lock);
    }
    let card = folder.card()?;
    let (name, process) = card.map_or_else(
        || {
            (
                folder
                    .root()
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                String::new(),
            )
        },
        |card| (card.name, format!(" (process {})", card.pid)),
    );
    Err(Error::new(
        Code::JobRunning,
        format!("job `{name}` runs already{process}"),
    )
    .fix(format!(
        "watch it: petctl status {name} --wait; or stop it: petctl cancel {name}"
    )))
}

async fn start(folder: &JobFolder, heartbeat_timeout_ms: Option<u64>) -> Result<Handle> {
    let mut options = Options::new(folder.coordinator());
    options.program_version = VERSION.to_owned();
    if let Some(timeout_ms) = heartbeat_timeout_ms {
        set_heartbeat_timeout(&mut options, timeout_ms)?;
    }
    let mut attempts = 0;
    loop {
        match Coordinator::start(options.clone()).await {
            Ok(handle) => return Ok(handle),
            // The run's lock is ours, so this is a `petctl status` that looks for a moment.
            Err(error) if error.code().as_str() == "STATE_IN_USE" && attempts < START_ATTEMPTS => {
                attempts += 1;
                tokio::time::sleep(START_RETRY).await;
            }
            Err(error) => return Err(start_error(&error)),
        }
    }
}

async fn connect(handle: &Handle) -> Result<Client> {
    Client::connect(&format!("http://{}", handle.address()), handle.token()).await
}

fn stopped() -> Error {
    Error::new(Code::CoordinatorStopped, "the coordinator stopped")
        .fix("run the same command again to go on")
}
