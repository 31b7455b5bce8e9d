//! `petctl prune`

use clap::Args;
use petctl_job::Context;
use petctl_job::owner::{self, PutAside};
use petctl_job::watch::{Ended, watch};
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
  petctl prune resim --yes        do not ask")]
pub(crate) struct PruneArgs {
    /// The job's name.
    job: String,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// Say how much would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, args: PruneArgs) -> Result<Exit> {
    let (folder, card) = context.home()?.find_job(Some(&args.job))?;
    // Held until the end, so that nobody starts it meanwhile.
    let Some(_lock) = folder.lock()? else {
        let what = format!("job `{}` is running", args.job);
        return Err(Error::new(Code::JobRunning, what).fix(format!(
            "wait for its end, or stop it: petctl cancel {}",
            args.job
        )));
    };
    let ours = owner::read(&card.spec).await?;
    if ours.is_none_or(|record| record.job != card.name) {
        let what = format!(
            "{} is not marked as the output of job `{}`",
            card.output, card.name
        );
        return Err(Error::new(Code::OutputInUse, what).fix("nothing of another job is removed"));
    }
    let aside = PutAside::of(&card.spec).await?;
    let what = format!("{}, {}", shards(aside.shards), bytes(aside.bytes));
    if aside.shards == 0 {
        context
            .out
            .line(&format!("{}: nothing is put aside", card.name));
        return Ok(Exit::Success);
    }
    if args.dry_run {
        context.out.line(&format!(
            "{}: would remove the outputs of {what}",
            card.name
        ));
        return Ok(Exit::Success);
    }
    context.confirm(
        args.yes,
        &format!(
            "Remove what is put aside of job `{}` for good: {what}?",
            card.name
        ),
    )?;
    petctl_local::stop_orphans(&folder).await?;
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
        "{}: removed the outputs of {}, {files}",
        card.name,
        shards(removed)
    ));
    Ok(Exit::Success)
}
