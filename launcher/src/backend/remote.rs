//! A job on a coordinator that was started by `petctl rendezvous`: submitted from here, watched from here.

use super::signals::{Signal, Signals};
use crate::client::{Client, Target, is_away, is_lost, refusal, submit};
use crate::commands::Context;
use crate::commands::status::has_ended;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::job::PreparedJob;
use crate::marker::{self, Owner};
use crate::output::{Progress, describe_submission};
use crate::summary::show_end;
use crate::view::{Source, View};
use petctl_proto::v1::{JobStatus, Submission};

/// Submits the job and watches it to its end, or to Ctrl-C.
pub(crate) async fn run(
    context: &Context,
    target: Target,
    job: PreparedJob,
    rerun_all: bool,
    detach: bool,
) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    check_output(&job, rerun_all)?;
    let mut client = target.connect().await?;
    let accepted = submit(&mut client, &job, rerun_all).await?;
    marker::mark(&job.spec, &job.fingerprint_hex())?;
    let name = job.spec.name.clone();
    context.out.say(&format!(
        "{name}: {}; coordinator {}; {}",
        describe_submission(accepted.submission(), accepted.reused),
        client.address(),
        job.describe_work()
    ));
    if matches!(
        accepted.submission(),
        Submission::Resumed | Submission::Retried
    ) && !client.resume(&name).await?
    {
        context
            .out
            .say(&format!("{name}: was suspended, and goes on"));
    }
    if detach {
        context.out.line(&name);
        context.out.say(&hint(&name, client.address()));
        return Ok(Exit::Success);
    }
    let mut progress = context.out.progress();
    if accepted.submission() != Submission::Finished {
        let watched = tokio::select! {
            watched = watch(&target, &mut client, &name, &mut progress) => watched,
            exit = leave(&mut signals) => {
                progress.finish();
                context.out.say(&format!("{name} goes on without this terminal. {}", hint(&name, client.address())));
                return Ok(exit);
            }
        };
        progress.finish();
        watched?;
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

/// Other results are not written over, as far as the output can be seen from here.
fn check_output(job: &PreparedJob, rerun_all: bool) -> Result<()> {
    match marker::owner(&job.spec, &job.fingerprint_hex())? {
        Owner::Nobody | Owner::ThisJob => Ok(()),
        Owner::EarlierJob if rerun_all => {
            let stages: Vec<String> = job
                .spec
                .stages
                .iter()
                .map(|stage| stage.name.clone())
                .collect();
            marker::clear(
                std::path::Path::new(&job.spec.storage.output),
                &stages,
                false,
            )
        }
        owner @ (Owner::EarlierJob | Owner::OtherJob(_) | Owner::Strange(_)) => {
            Err(marker::in_use(&job.spec, &owner))
        }
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
    progress: &mut Progress,
) -> Result<()> {
    loop {
        match watch_once(client, job, progress).await {
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
    progress: &mut Progress,
) -> Result<Option<JobStatus>> {
    let mut stream = client.watch(job).await?;
    loop {
        match stream.message().await {
            Ok(Some(message)) => {
                let Some(status) = message.status else {
                    continue;
                };
                progress.update(&status);
                if status
                    .summary
                    .as_ref()
                    .is_some_and(|summary| has_ended(summary.state()))
                {
                    return Ok(Some(status));
                }
            }
            Ok(None) => return Ok(None),
            Err(status) if is_lost(&status) => return Ok(None),
            Err(status) => return Err(refusal(client.address(), &status)),
        }
    }
}

fn hint(job: &str, address: &str) -> String {
    format!("Follow it: petctl status {job} --wait --coordinator {address}")
}
