//! A job on a coordinator that was started by `petctl rendezvous`: submitted from here, watched from here.

use crate::admission::{Admission, Before};
use crate::companion::Companion;
use crate::sweeping::{remember, sweep};
use petctl_client::{Client, Submit, Target, is_away, is_lost, refusal, submit};
use petctl_client::{Source, View};
use petctl_core::Rerun;
use petctl_job::Context;
use petctl_job::PreparedJob;
use petctl_job::home::JobFolder;
use petctl_proto::v1::{JobStatus, Submission};
use petctl_report::reuse::Reuse;
use petctl_report::summary::show_end;
use petctl_spec::{JobSpec, RunMode};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::signals::{Signal, Signals};
use petctl_ui::terminal::Progress;

/// How a job is run there.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What runs again although it is done.
    pub rerun: Rerun,
    /// Say why shards run again.
    pub why_rerun: bool,
    /// Leave it running, and watch nothing.
    pub detach: bool,
}

/// Refuses to leave alone a job that needs this process.
pub fn check_detached(spec: &JobSpec) -> Result<()> {
    let mut stages = spec.stages.iter();
    let Some(stage) = stages.find(|stage| stage.dispatch.run_mode == RunMode::Local) else {
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
pub async fn run(
    context: &Context,
    target: Target,
    job: PreparedJob,
    settings: Settings,
    folder: Option<&JobFolder>,
) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    let mut client = target.connect().await?;
    let before = Before::There(earlier_output(&mut client, &job.spec.name).await?);
    let admission = Admission::look(&job, before, &settings.rerun).await?;
    admission.carry_out(context, None, &job, true).await?;
    let how = Submit {
        rerun: settings.rerun.clone(),
        plan_only: false,
    };
    let accepted = submit(&mut client, &job, &how).await?;
    admission.mark_accepted(&job).await?;
    let name = job.spec.name.clone();
    let reuse = Reuse::of(&job, &accepted);
    context.out.say(&format!(
        "{name}: {}; coordinator {}; {}",
        reuse.describe(&accepted),
        client.address(),
        job.describe_work()
    ));
    if settings.why_rerun {
        for line in reuse.explained() {
            context.out.say(&line);
        }
    }
    if admission.same_output {
        job.drop_shards(&reuse.dropped).await?;
    }
    if matches!(
        accepted.submission(),
        Submission::Resumed | Submission::Retried
    ) && !client.resume(&name).await?
    {
        context
            .out
            .say(&format!("{name}: was suspended, and goes on"));
    }
    if settings.detach {
        context.out.line(&name);
        context.out.say(&hint(&name, client.address()));
        return Ok(Exit::Success);
    }
    if accepted.submission() != Submission::Finished {
        if let Some(folder) = folder {
            remember(folder, &job)?;
        }
        let mut companion = companion(context, folder, &target, &job.spec).await?;
        let watched = follow(
            context,
            &target,
            &mut client,
            &name,
            companion.as_mut(),
            &mut signals,
        )
        .await;
        if let Some(companion) = &mut companion {
            companion.dismiss().await;
        }
        if let Some(exit) = watched? {
            let stands = if companion.is_some() {
                " Its local stages wait until it is run again."
            } else {
                ""
            };
            context.out.say(&format!(
                "{name} goes on without this terminal.{stands} {}",
                hint(&name, client.address())
            ));
            return Ok(exit);
        }
    }
    // Also what a run left that was stopped before the job's end.
    if let Some(folder) = folder
        && (accepted.submission() != Submission::Finished || folder.unswept().exists())
    {
        sweep(context, folder, &job, true).await;
    }
    let source = Source::Live(target, Box::new(client));
    let mut view = View {
        job: name,
        card: None,
        folder: None,
        source,
    };
    let status = view.status().await?;
    show_end(context, &mut view, &status).await
}

/// The worker of the job's local stages, where it has any.
async fn companion(
    context: &Context,
    folder: Option<&JobFolder>,
    target: &Target,
    spec: &JobSpec,
) -> Result<Option<Companion>> {
    if !spec
        .stages
        .iter()
        .any(|stage| stage.dispatch.run_mode == RunMode::Local)
    {
        return Ok(None);
    }
    match folder {
        Some(folder) => Companion::start(folder, target, spec).await,
        // Says why there is none.
        None => context.home().map(|_| None),
    }
}

/// Watches the job to its end; the exit code where the user left before.
async fn follow(
    context: &Context,
    target: &Target,
    client: &mut Client,
    job: &str,
    mut companion: Option<&mut Companion>,
    signals: &mut Signals,
) -> Result<Option<Exit>> {
    let mut progress = context.out.progress();
    let ended = tokio::select! {
        watched = watch(target, client, job, &mut companion, &mut progress) => watched.map(|()| None),
        exit = leave(signals) => Ok(Some(exit)),
    };
    progress.finish();
    ended
}

/// Where the coordinator has the outputs of the job's earlier version; `None`: it does not know the job.
///
/// # Errors
/// Those of asking it.
pub async fn earlier_output(client: &mut Client, job: &str) -> Result<Option<String>> {
    match client.status(job).await {
        Ok(status) => Ok(Some(status.output_root)),
        Err(error) if error.code() == Code::NoSuchJob.as_str() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn leave(signals: &mut Signals) -> Exit {
    loop {
        match signals.next().await {
            Signal::Interrupt => return Exit::Interrupted,
            Signal::Terminate => return Exit::Terminated,
            Signal::HangUp => {}
        }
    }
}

/// Until the job has ended, over restarts of its coordinator.
async fn watch(
    target: &Target,
    client: &mut Client,
    job: &str,
    companion: &mut Option<&mut Companion>,
    progress: &mut Progress,
) -> Result<()> {
    loop {
        match watch_once(client, job, companion, progress).await {
            Ok(Some(_ended)) => return Ok(()),
            Ok(None) => {}
            Err(error) if is_away(&error) => {}
            Err(error) => return Err(error),
        }
        progress.say("the coordinator is away; trying to reach it again");
        *client = target.reconnect().await.map_err(|error: Error| {
            error.fix(format!("the job goes on when its coordinator does; watch it again: petctl status {job} --wait"))
        })?;
    }
}

/// `None`: the connection was lost.
async fn watch_once(
    client: &mut Client,
    job: &str,
    companion: &mut Option<&mut Companion>,
    progress: &mut Progress,
) -> Result<Option<JobStatus>> {
    let mut stream = client.watch(job).await?;
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            said = look_after(companion) => {
                progress.say(&format!("  {}; another one takes its place", said?));
                continue;
            }
        };
        match message {
            Ok(Some(message)) => {
                let Some(status) = message.status else {
                    continue;
                };
                progress.update(&status);
                if status.has_ended() {
                    return Ok(Some(status));
                }
                if let Some(companion) = companion {
                    companion.observe(&status)?;
                }
            }
            Ok(None) => return Ok(None),
            Err(status) if is_lost(&status) => return Ok(None),
            Err(status) => return Err(refusal(client.address(), &status)),
        }
    }
}

async fn look_after(companion: &mut Option<&mut Companion>) -> Result<String> {
    match companion {
        Some(companion) => companion.watch().await,
        None => std::future::pending().await,
    }
}

fn hint(job: &str, address: &str) -> String {
    format!("Follow it: petctl status {job} --wait --coordinator {address}")
}
