//! `petctl delete`

use super::cluster::uninstall;
use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::View;
use petctl_client::{Client, Heard, Target};
use petctl_job::Context;
use petctl_job::home::{JobCard, JobFolder};
use petctl_job::owner;
use petctl_job::watch::{Ended, watch};
use petctl_output::layout::{Layout, OWN_FOLDER};
use petctl_proto::v1::JobSummary;
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
  petctl delete resim --keep-output     forget the job, keep its results
  petctl delete --all --on gpu          every job of that place, with its pods; outputs stay")]
pub(crate) struct DeleteArgs {
    /// The job's name.
    #[arg(required_unless_present = "all")]
    job: Option<String>,

    /// All jobs of a place on a cluster: cancels what runs, and removes all that belongs to jobs there.
    #[arg(long, conflicts_with_all = ["job", "keep_output"])]
    all: bool,

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
    let Some(job) = args.job.as_deref() else {
        return delete_all(context, &args).await;
    };
    if let Some(target) = View::target(context, &args.connect, Some(job))? {
        return delete_remote(context, &args, job, &target).await;
    }
    let (folder, card) = context.home()?.find_job(Some(job))?;
    // Held until the end, so that nobody starts it meanwhile.
    let Some(_lock) = folder.lock()? else {
        return Err(running(job));
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

/// Every job of a place, and whatever is left of jobs in its cluster.
async fn delete_all(context: &Context, args: &DeleteArgs) -> Result<Exit> {
    let Some(Target::Place(tunnel)) = Target::find_here(&args.connect)? else {
        let what = "--all deletes the jobs of a place on a cluster, and none is named";
        return Err(Error::new(Code::Usage, what)
            .fix("petctl delete --all --on NAME; jobs of this machine are deleted one by one"));
    };
    let target = Target::Place(tunnel.clone());
    let mut asked = false;
    match target.connect().await {
        Ok(mut client) => {
            let mut jobs = client.jobs().await?;
            jobs.retain(|job| target.has(job));
            let verb = if args.dry_run {
                "would delete"
            } else {
                "will delete"
            };
            for job in &jobs {
                context
                    .out
                    .say(&format!("{verb} job `{}`: {}", job.name, job.verdict));
            }
            if !args.dry_run && !jobs.is_empty() {
                let all = count(jobs.len() as u64, "job", "jobs");
                let question = format!("Delete {all} of {} for good?", tunnel.shown());
                context.confirm(args.yes, &question)?;
                asked = true;
                for job in &jobs {
                    end(&mut client, job).await?;
                    client.delete(&job.name).await?;
                    forget(context, &job.name, tunnel.name())?;
                }
                context
                    .out
                    .line(&format!("{}: {all} deleted", tunnel.name()));
            }
        }
        // What it left is removed all the same.
        Err(error) if error.is(Code::NotInstalled) || error.is(Code::CoordinatorStarting) => {}
        Err(error) => return Err(error),
    }
    // Whoever said yes to the jobs meant their pods too.
    uninstall::take_away(context, &tunnel, false, (args.dry_run, args.yes || asked)).await
}

/// Stops a job that runs, and waits until it has ended.
async fn end(client: &mut Client, job: &JobSummary) -> Result<()> {
    if job.has_ended() {
        return Ok(());
    }
    client.cancel(&job.name, "all jobs are deleted").await?;
    match client.watch(&job.name).await?.end(|_| ()).await? {
        Heard::Status(_) => Ok(()),
        Heard::Lost(error) => Err(error),
    }
}

/// What is kept here of a job that is gone.
fn forget(context: &Context, job: &str, place: &str) -> Result<()> {
    let Ok(home) = context.home() else {
        return Ok(());
    };
    let folder = home.remote(job);
    match folder.place()? {
        Some(noted) if noted.place == place => folder.remove_place(),
        Some(_) | None => Ok(()),
    }
}

async fn delete_remote(
    context: &Context,
    args: &DeleteArgs,
    job: &str,
    target: &Target,
) -> Result<Exit> {
    let (mut view, mut client): (View, Client) =
        View::open_live(context, &args.connect, Some(job)).await?;
    let status = view.status().await?;
    let summary = status.summary.unwrap_or_default();
    if !summary.has_ended() {
        return Err(running(job));
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
    if let Some(place) = target.place() {
        forget(context, &view.job, place)?;
    }
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
