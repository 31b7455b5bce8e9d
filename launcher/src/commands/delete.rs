//! `petctl delete`

use clap::Args;
use petctl_client::Client;
use petctl_client::ConnectArgs;
use petctl_client::View;
use petctl_job::Context;
use petctl_job::home::{JobCard, JobFolder};
use petctl_job::owner;
use petctl_job::watch::{Ended, watch};
use petctl_output::layout::{Layout, OWN_FOLDER};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Meter, bytes as bytes_text, count};
use std::sync::Arc;

/// Deletes a job that does not run: its state, its logs and its outputs.
#[derive(Debug, Args)]
#[command(after_help = "\
Of the output only what the job made is deleted: the folders of its stages and `.petctl`, or the blobs below them; a \
container itself stays. A job of a coordinator elsewhere is only forgotten by it; its outputs stay.

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

    /// Leave the outputs where they are.
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
    let doomed = doomed(&folder, &card, args.keep_output).await?;
    for what in &doomed.named {
        let verb = if args.dry_run {
            "would delete"
        } else {
            "will delete"
        };
        context.out.say(&format!("{verb} {what}"));
    }
    if let Some(stays) = &doomed.stays {
        context.out.say(stays);
    }
    if args.dry_run {
        return Ok(Exit::Success);
    }
    context.confirm(args.yes, &format!("Delete job `{}` for good?", card.name))?;
    petctl_local::stop_orphans(&folder).await?;
    let meter = Arc::new(Meter::default());
    let removal = async {
        if doomed.outputs {
            let stages = card.spec.stages.iter().map(|stage| stage.name.clone());
            let stages: Vec<String> = stages.collect();
            owner::clear(&card.spec, &stages, true, &meter).await?;
        }
        let outputs = meter.gone();
        folder.remove(&meter).await?;
        Ok::<u64, Error>(outputs)
    };
    let outputs = match watch(context, &meter, removal).await? {
        Ended::Done(removed) => removed?,
        Ended::Stopped(exit) => {
            context.out.say_always(&format!(
                "stopped: {} are gone; the same command deletes the rest",
                count(meter.gone(), "file", "files")
            ));
            return Ok(exit);
        }
    };
    let with = match outputs {
        0 => String::new(),
        outputs => format!(", with {} at its output", count(outputs, "file", "files")),
    };
    context.out.line(&format!("{}: deleted{with}", card.name));
    Ok(Exit::Success)
}

/// What would go.
struct Doomed {
    named: Vec<String>,
    /// Not only petctl's own folder.
    outputs: bool,
    /// What is left, where that is worth a word.
    stays: Option<String>,
}

/// Outputs go only where they are this job's.
async fn doomed(folder: &JobFolder, card: &JobCard, keep_output: bool) -> Result<Doomed> {
    let mut doomed = Doomed {
        named: vec![folder.root().display().to_string()],
        outputs: false,
        stays: None,
    };
    let root = card.spec.storage.output_root();
    if keep_output {
        if root.is_blob() {
            doomed.stays = Some(format!("its outputs stay in {root}"));
        }
        return Ok(doomed);
    }
    let ours = owner::read(&card.spec.storage).await.map_err(|error| {
        error.fix("mend this, or leave the outputs where they are: --keep-output")
    })?;
    if ours.is_none_or(|marker| marker.job != card.name) {
        if root.is_blob() {
            doomed.stays = Some(format!(
                "what is in {root} stays: it is not marked as this job's"
            ));
        }
        return Ok(doomed);
    }
    doomed.outputs = true;
    match root.folder() {
        Some(_) => {
            let layout = Layout::new(&card.output);
            let stages = card
                .spec
                .stages
                .iter()
                .map(|stage| layout.root().join(&stage.name));
            let there = stages.filter(|path| path.exists());
            doomed
                .named
                .extend(there.map(|path| path.display().to_string()));
            doomed.named.push(layout.state().display().to_string());
        }
        None => {
            let stages = card.spec.stages.iter().map(|stage| stage.name.as_str());
            for name in stages.chain([OWN_FOLDER]) {
                let (blobs, bytes) = owner::count_below(&card.spec, &format!("{name}/")).await?;
                if blobs > 0 {
                    let blobs = count(blobs, "blob", "blobs");
                    let size = bytes_text(bytes);
                    doomed
                        .named
                        .push(format!("{} ({blobs}, {size})", root.join(name)));
                }
            }
            doomed.stays = Some(format!("the container, and what else is in {root}, stay"));
        }
    }
    Ok(doomed)
}

async fn delete_remote(context: &Context, args: &DeleteArgs) -> Result<Exit> {
    let (mut view, mut client): (View, Client) =
        View::open_live(context, &args.connect, Some(&args.job)).await?;
    let status = view.status().await?;
    let summary = status.summary.unwrap_or_default();
    if !summary.has_ended() {
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
