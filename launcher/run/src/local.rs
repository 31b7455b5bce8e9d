//! A job on this machine: an embedded coordinator in this process, and worker processes.

use crate::admission::{Admission, Before};
use crate::flow::{Host, Run, Settings, grace};
use crate::gain::Gain;
use crate::holding::{Holding, Keeper, while_held};
use crate::local_stages::is_local;
use crate::sweeping;
use crate::watch::useful_workers;
use petctl_client::{Client, Heard};
use petctl_core::Rerun;
use petctl_job::Context;
use petctl_job::PreparedJob;
use petctl_job::home::{JobFolder, Lock};
use petctl_job::log;
use petctl_job::owner;
use petctl_local::{Coordinator, Fleet, Launch};
use petctl_places::{Place, Wanted};
use petctl_proto::v1::JobStatus;
use petctl_rendezvous::Handle;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::signals::Signals;
use std::collections::BTreeSet;

/// Runs a job to its end, or to Ctrl-C.
///
/// # Errors
/// Why it can't be run, or can't go on.
pub async fn run(context: &Context, job: PreparedJob, settings: Settings) -> Result<Exit> {
    let folder = context.home()?.job(&job.spec.name);
    folder.make()?;
    let lock = lock(&folder)?;
    let before = Before::Here(folder.card()?.map(Box::new));
    let admission = Admission::look(&job, before, &settings.rerun).await?;
    let keeper = Keeper {
        name: format!("{}:{}", owner::host(), folder.root().display()),
        lineage: 0,
    };
    let spec = job.spec.clone();
    let place = &folder;
    let work = async |holding: Holding| {
        let folder = place;
        let stopped = admission.carry_out(context, Some(folder), &job, settings.yes);
        if let Some(exit) = stopped.await? {
            return Ok(exit);
        }
        log::to_file(&folder.coordinator_log())?;
        let handle =
            petctl_local::start(folder, context.version, settings.heartbeat_timeout_ms).await?;
        let ended = run_with(
            context,
            (folder, holding),
            &handle,
            job,
            settings,
            admission,
        )
        .await;
        handle.shutdown();
        handle.stopped().await;
        ended
    };
    let ended = while_held(context, &spec, keeper, |_| true, work).await;
    if matches!(&ended, Err(error) if error.is(Code::OutputBusy)) {
        // Nothing of this run may write there any more.
        petctl_local::stop_orphans(&folder).await?;
    }
    drop(lock);
    ended
}

async fn run_with(
    context: &Context,
    (folder, holding): (&JobFolder, Holding),
    handle: &Handle,
    job: PreparedJob,
    settings: Settings,
    admission: Admission,
) -> Result<Exit> {
    let signals = Signals::listen()?;
    let launch = Launch::new(folder, Coordinator::here(folder, handle), &job.spec);
    let sizes = &job.spec.workers;
    if let Some(shortage) = launch.shortage(sizes.wanted.saturating_add(sizes.spares)) {
        context.out.warn(&shortage);
    }
    let mut fleet = Fleet::new(launch, Some(handle.clone()));
    let adopted = fleet.adopt().await?;
    sweeping::before(context, folder, &job, adopted, handle.lineage().0).await?;
    let client = connect(handle).await?;
    if admission.first && settings.rerun != Rerun::All {
        // Nothing can say otherwise, so they start while the job is submitted.
        fleet.ensure(Wanted {
            workers: useful_workers(&job, job.spec.workers.wanted),
            local_stages: job.spec.stages.iter().any(is_local),
        })?;
    }
    let run = Run {
        context,
        grace: grace(&job),
        job,
        settings,
        admission,
        host: Host::ThisRun(handle.clone()),
        client,
        folder: Some(folder),
        holding: Some(holding),
        place: Some(fleet),
        adopted,
        put_aside: 0,
        went_early: BTreeSet::new(),
        signals,
        progress: context.out.progress(),
        gain: Gain::default(),
        ended: false,
    };
    run.run().await
}

/// Cancels a job on which nobody works: a coordinator is started for just that.
pub async fn cancel_interrupted(
    folder: &JobFolder,
    version: &str,
    job: &str,
    reason: &str,
) -> Result<JobStatus> {
    let _lock = lock(folder)?;
    petctl_local::stop_orphans(folder).await?;
    let handle = petctl_local::start(folder, version, None).await?;
    petctl_local::tell_dead(folder, &handle).await?;
    let cancelled = async {
        let mut client = connect(&handle).await?;
        client.cancel(job, reason).await?;
        match client.watch(job).await?.end(|_| ()).await? {
            Heard::Status(status) => Ok(*status),
            Heard::Lost(error) => Err(error),
        }
    };
    let status = cancelled.await;
    handle.shutdown();
    handle.stopped().await;
    status
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

pub(crate) async fn connect(handle: &Handle) -> Result<Client> {
    Client::connect(&format!("http://{}", handle.address()), handle.token()).await
}
