//! A job on a coordinator that was started by `petctl rendezvous`: submitted from here, watched from here.

use crate::admission::{Admission, Before};
use crate::flow::{Host, Run, Settings, Watcher, grace};
use crate::gain::Gain;
use crate::holding::{Holding, Keeper, while_held};
use crate::local_stages::is_local;
use crate::place::Fitted;
use petctl_client::{Client, Target};
use petctl_job::home::JobFolder;
use petctl_job::{Context, PreparedJob};
use petctl_local::{Coordinator, Fleet, Launch};
use petctl_spec::JobSpec;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::signals::Signals;
use std::collections::BTreeSet;
use std::path::Path;
use tokio_util::task::AbortOnDropHandle;

/// Refuses to leave alone a job that needs this process.
pub fn check_detached(spec: &JobSpec) -> Result<()> {
    let mut stages = spec.stages.iter();
    let Some(stage) = stages.find(|stage| is_local(stage)) else {
        return Ok(());
    };
    let what = format!(
        "stage `{}` has run_mode = \"local\": it runs in the process tree of `petctl run`, which would be gone",
        stage.name
    );
    Err(Error::new(Code::Usage, what)
        .fix("leave --detach out, or let that stage run on the workers: run_mode = \"workers\""))
}

/// Submits the job and watches it to its end, or to Ctrl-C.
///
/// # Errors
/// Why it can't be run, or can't be watched any more.
pub async fn run(
    context: &Context,
    target: Target,
    job: PreparedJob,
    settings: Settings,
    (folder, fitted): (Option<&JobFolder>, Option<Fitted>),
) -> Result<Exit> {
    let signals = Signals::listen()?;
    let mut client = target.connect().await?;
    let check = async {
        if let (Target::Place(tunnel), Some(fitted)) = (&target, &fitted) {
            fitted.check(tunnel).await?;
        }
        Ok(())
    };
    let (earlier, ()) = tokio::try_join!(client.known(&job.spec.name), check)?;
    let keeper = Keeper {
        name: format!("the coordinator {}", client.address()),
        lineage: earlier.as_ref().map_or(0, |status| status.lineage),
    };
    let runs = earlier.as_ref().is_some_and(|status| !status.has_ended());
    let before = Before::There(earlier.map(|status| status.output_root));
    let admission = Admission::look(&job, before, &settings.rerun).await?;
    if runs && !admission.cleared_stages().is_empty() {
        // Before its checkpoints are taken away.
        let what = format!("job `{}` is running", job.spec.name);
        return Err(Error::new(Code::JobRunning, what).fix(format!(
            "wait for its end, or stop it: petctl cancel {}",
            job.spec.name
        )));
    }
    let spec = job.spec.clone();
    let stays = settings.watcher != Watcher::Nobody;
    let work = async |holding: Holding| {
        if let Some(exit) = admission
            .carry_out(context, None, &job, settings.yes)
            .await?
        {
            return Ok(exit);
        }
        let mut client = client;
        if let Some(fitted) = fitted {
            fitted.bring(context, &mut client, &job).await?;
        }
        watched(
            context,
            target,
            job,
            settings,
            (folder, holding),
            (client, signals, admission),
        )
        .await
    };
    // Where this process only leaves, the job goes on, and its workers renew the record.
    let is_over = |exit: &Exit| stays && matches!(exit, Exit::Success | Exit::JobFailed);
    while_held(context, &spec, keeper, is_over, work).await
}

async fn watched(
    context: &Context,
    target: Target,
    job: PreparedJob,
    settings: Settings,
    (folder, holding): (Option<&JobFolder>, Holding),
    (client, signals, admission): (Client, Signals, Admission),
) -> Result<Exit> {
    // What it serves ends with it.
    let (place, _tunnel) = local_stages_place(context, folder, &target, &job).await?;
    let run = Run {
        context,
        grace: grace(&job),
        job,
        settings,
        admission,
        host: Host::Elsewhere(target),
        client,
        folder,
        holding: Some(holding),
        place,
        adopted: 0,
        put_aside: 0,
        went_early: BTreeSet::new(),
        signals,
        progress: context.out.progress(),
        gain: Gain::default(),
        ended: false,
    };
    run.run().await
}

/// This machine as the place of the job's local stages, where it has any.
async fn local_stages_place(
    context: &Context,
    folder: Option<&JobFolder>,
    target: &Target,
    job: &PreparedJob,
) -> Result<(Option<Fleet>, Option<AbortOnDropHandle<()>>)> {
    if !job.spec.stages.iter().any(is_local) {
        return Ok((None, None));
    }
    let mut serving = None;
    let (address, token, ca_file) = match target {
        Target::Remote {
            address,
            token,
            trust,
        } => {
            let ca_file = trust.as_ref().and_then(|trust| trust.path());
            (address.clone(), token.clone(), ca_file.map(Path::to_owned))
        }
        Target::Place(tunnel) => {
            let token = tunnel.token().await?;
            let (address, task) = tunnel.listen().await?;
            serving = Some(AbortOnDropHandle::new(task));
            // The way on from there is the tunnel's.
            (format!("http://{address}"), token, None)
        }
        Target::Local(_) => return Ok((None, None)),
    };
    let Some(folder) = folder else {
        // Says why there is none.
        return context.home().map(|_home| (None, None));
    };
    folder.make()?;
    let own = job.file.path.parent().map(Path::to_owned);
    let coordinator = Coordinator::Elsewhere {
        address,
        token,
        ca_file,
        folder: own.filter(|_| serving.is_some()),
    };
    let mut fleet = Fleet::new(Launch::new(folder, coordinator, &job.spec), None);
    // One that outlived an earlier run goes on.
    fleet.adopt().await?;
    Ok((Some(fleet), serving))
}

/// Where the coordinator has the outputs of the job's earlier version; `None`: it does not know the job.
///
/// # Errors
/// Those of asking it.
pub async fn earlier_output(client: &mut Client, job: &str) -> Result<Option<String>> {
    let earlier = client.known(job).await?;
    Ok(earlier.map(|status| status.output_root))
}
