//! `petctl prune`

use super::storage::access::AccessArgs;
use clap::Args;
use petctl_client::{Client, ConnectArgs, View};
use petctl_job::Context;
use petctl_job::owner::{self, Hold, PutAside};
use petctl_job::watch::{Ended, watch};
use petctl_spec::StorageSpec;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Meter, bytes, count, shards};
use std::sync::Arc;

/// Removes outputs that were put aside for good: of shards that are no part of the job any more, or of earlier versions.
#[derive(Debug, Args)]
#[command(after_help = "\
A run deletes no results. What stands in the way of new ones, and what is no part of the job any more, is put aside at \
the output, and comes back where the job file goes back. This removes it, while nothing of the job runs.

Examples:
  petctl prune resim --dry-run    how much that is
  petctl prune resim
  petctl prune resim --yes        do not ask
  petctl prune resim --coordinator https://head:7370 --ca-file ca.pem --token-file token   of a coordinator elsewhere")]
pub(crate) struct PruneArgs {
    /// The job's name.
    job: String,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// Say how much would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    access: AccessArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: PruneArgs) -> Result<Exit> {
    if View::target(context, &args.connect, Some(&args.job))?.is_some() {
        return prune_elsewhere(context, &args).await;
    }
    let (folder, card) = context.home()?.find_job(Some(&args.job))?;
    // Held until the end, so that nobody starts it meanwhile.
    let Some(_lock) = folder.lock()? else {
        return Err(running(&args.job));
    };
    let mut storage = card.spec.storage.clone();
    storage.access = args.access.access(Some(&storage.access))?;
    let of = (card.name.as_str(), &storage);
    let Some(aside) = asked_for(context, &args, of).await? else {
        return Ok(Exit::Success);
    };
    petctl_local::stop_orphans(&folder).await?;
    remove(context, &card.name, aside).await
}

/// Of a job whose coordinator is elsewhere: all that is asked of that is where the output is, and whether it works there.
async fn prune_elsewhere(context: &Context, args: &PruneArgs) -> Result<Exit> {
    let (mut view, client): (View, Client) =
        View::open_live(context, &args.connect, Some(&args.job)).await?;
    let status = view.status().await?;
    if !status.has_ended() {
        return Err(running(&view.job));
    }
    let storage = StorageSpec {
        output: status.output_root.clone(),
        access: args.access.access(None)?,
        ..StorageSpec::default()
    };
    let of = (view.job.as_str(), &storage);
    let Some(aside) = asked_for(context, args, of).await? else {
        return Ok(Exit::Success);
    };
    // So that nobody starts it meanwhile, there or elsewhere.
    let keeper = format!("petctl prune, of a job of {}", client.address());
    let hold = Hold::take(of, &keeper, 0, &|text| context.out.say(text)).await?;
    let removed = remove(context, &view.job, aside).await;
    hold.release().await;
    removed
}

/// What is put aside, where there is some and the user wants it removed.
async fn asked_for(
    context: &Context,
    args: &PruneArgs,
    (job, storage): (&str, &StorageSpec),
) -> Result<Option<PutAside>> {
    let ours = owner::read(storage).await?;
    if ours.is_none_or(|record| record.job != job) {
        let what = format!(
            "{} is not marked as the output of job `{}`",
            storage.output, job
        );
        return Err(Error::new(Code::OutputInUse, what).fix("nothing of another job is removed"));
    }
    let aside = PutAside::of(storage).await?;
    let what = format!("{}, {}", shards(aside.shards), bytes(aside.bytes));
    if aside.shards == 0 {
        let said = format!("{job}: nothing is put aside");
        context.out.line(&said);
        return Ok(None);
    }
    if args.dry_run {
        let said = format!("{job}: would remove the outputs of {what}");
        context.out.line(&said);
        return Ok(None);
    }
    context.confirm(
        args.yes,
        &format!("Remove what is put aside of job `{job}` for good: {what}?"),
    )?;
    Ok(Some(aside))
}

async fn remove(context: &Context, job: &str, aside: PutAside) -> Result<Exit> {
    let meter = Arc::new(Meter::default());
    let ended = watch(context, &meter, aside.remove(&meter)).await?;
    let files = count(meter.gone(), "file", "files");
    let removed = match ended {
        Ended::Done(removed) => removed
            .map_err(|error| error.fix(format!("{files} are gone; mend this, and run it again")))?,
        Ended::Stopped(exit) => {
            context.out.say_always(&format!(
                "stopped: {files} are gone; the same command removes the rest"
            ));
            return Ok(exit);
        }
    };
    context.out.line(&format!(
        "{job}: removed the outputs of {}, {files}",
        shards(removed)
    ));
    Ok(Exit::Success)
}

fn running(job: &str) -> Error {
    Error::new(Code::JobRunning, format!("job `{job}` is running"))
        .fix(format!("wait for its end, or stop it: petctl cancel {job}"))
}
