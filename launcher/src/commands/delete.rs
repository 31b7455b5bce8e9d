//! `petctl delete`

use super::Context;
use super::status::has_ended;
use crate::backend::local;
use crate::cli::ConnectArgs;
use crate::client::Client;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::marker;
use crate::state::{JobCard, JobFolder, state_error};
use crate::view::View;
use clap::Args;
use petctl_worker::layout::Layout;
use std::path::{Path, PathBuf};

/// Deletes a job that does not run: its state, its logs and its outputs.
#[derive(Debug, Args)]
#[command(after_help = "\
Of the output folder only what the job made is deleted: the folders of its stages and `.petctl`. A job of a \
coordinator elsewhere is only forgotten by it; its outputs stay.

Examples:
  petctl delete resim --dry-run         what would be deleted
  petctl delete resim --yes
  petctl delete resim --keep-output     forget the job, keep its results")]
pub(crate) struct DeleteArgs {
    /// The job's name.
    job: String,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// Say what would be deleted, and delete nothing.
    #[arg(long)]
    dry_run: bool,

    /// Leave the output folder as it is.
    #[arg(long)]
    keep_output: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: DeleteArgs) -> Result<Exit> {
    if args.connect.coordinator.is_some() {
        return delete_remote(context, &args).await;
    }
    let (folder, card) = context.home()?.find_job(Some(&args.job))?;
    // Held until the end, so that nobody starts it meanwhile.
    let Some(_lock) = folder.lock()? else {
        return Err(running(&args.job));
    };
    let doomed = doomed(&folder, &card, args.keep_output)?;
    for path in &doomed {
        let verb = if args.dry_run {
            "would delete"
        } else {
            "will delete"
        };
        context.out.say(&format!("{verb} {}", path.display()));
    }
    if args.dry_run {
        return Ok(Exit::Success);
    }
    context.confirm(args.yes, &format!("Delete job `{}` for good?", card.name))?;
    local::stop_orphans(&folder).await?;
    if doomed.len() > 1 {
        let stages: Vec<String> = card
            .spec
            .stages
            .iter()
            .map(|stage| stage.name.clone())
            .collect();
        marker::clear(Path::new(&card.output), &stages, true)?;
    }
    std::fs::remove_dir_all(folder.root())
        .map_err(|error| state_error(folder.root(), "delete", &error))?;
    context.out.line(&format!("{}: deleted", card.name));
    Ok(Exit::Success)
}

/// What would go; outputs only where they are this job's.
fn doomed(folder: &JobFolder, card: &JobCard, keep_output: bool) -> Result<Vec<PathBuf>> {
    let mut doomed = vec![folder.root().to_owned()];
    let layout = Layout::new(&card.output);
    let ours = marker::read(&layout)?.is_some_and(|marker| marker.job == card.name);
    if keep_output || !ours {
        return Ok(doomed);
    }
    let stages = card
        .spec
        .stages
        .iter()
        .map(|stage| layout.root().join(&stage.name));
    doomed.extend(stages.filter(|path| path.exists()));
    doomed.push(layout.state());
    Ok(doomed)
}

async fn delete_remote(context: &Context, args: &DeleteArgs) -> Result<Exit> {
    let (mut view, mut client): (View, Client) =
        View::open_live(context, &args.connect, Some(&args.job)).await?;
    let status = view.status().await?;
    let summary = status.summary.unwrap_or_default();
    if !has_ended(summary.state()) {
        return Err(running(&args.job));
    }
    let verb = if args.dry_run {
        "would forget"
    } else {
        "will forget"
    };
    context.out.say(&format!(
        "{} {verb} job `{}`; its outputs stay in {}",
        client.address(),
        view.job,
        status.output_root
    ));
    if args.dry_run {
        return Ok(Exit::Success);
    }
    context.confirm(args.yes, &format!("Delete job `{}` for good?", view.job))?;
    client.delete(&view.job).await?;
    context.out.line(&format!("{}: deleted", view.job));
    Ok(Exit::Success)
}

fn running(job: &str) -> Error {
    Error::new(
        Code::JobRunning,
        format!("job `{job}` runs; what runs is not deleted"),
    )
    .fix(format!("stop it first: petctl cancel {job}"))
}
