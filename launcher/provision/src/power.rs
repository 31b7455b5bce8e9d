//! `petctl stop` and `petctl start`

use crate::site::{AzureArgs, SiteArgs};
use clap::Args;
use petctl_arm::{Power, power, set_power};
use petctl_job::Context;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;

/// Which place.
#[derive(Debug, Args)]
struct PowerArgs {
    #[command(flatten)]
    site: SiteArgs,

    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Stops a place's cluster in Azure: no node is paid for while nobody works.
///
/// Disks, storage and what the coordinator knows stay. Jobs that run are cut off where they are, and go on from there after
/// `petctl start`: shards in hand run again, trainings from their newest checkpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl stop --on gpu
  petctl stop --on gpu --yes       in scripts: ask nobody")]
pub struct StopArgs {
    /// The name of a job, which is not what is stopped here.
    #[arg(hide = true)]
    job: Option<String>,

    #[command(flatten)]
    place: PowerArgs,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

/// Starts a place's cluster that `petctl stop` has stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl start --on gpu")]
pub struct StartArgs {
    /// A job, which is not what is started here.
    #[arg(hide = true)]
    job: Option<String>,

    #[command(flatten)]
    place: PowerArgs,
}

/// Runs `petctl stop`.
///
/// # Errors
/// What Azure refuses.
pub async fn stop(context: &Context, args: StopArgs) -> Result<Exit> {
    if let Some(job) = &args.job {
        let what = format!("petctl stop stops the cluster of a place, not the job {job}");
        return Err(Error::new(Code::Usage, what).fix(format!(
            "petctl cancel {job} stops the job; petctl suspend {job} for a while"
        )));
    }
    turn(context, &args.place, Power::Stopped, args.yes).await
}

/// Runs `petctl start`.
///
/// # Errors
/// What Azure refuses.
pub async fn start(context: &Context, args: StartArgs) -> Result<Exit> {
    if let Some(job) = &args.job {
        let what = format!("petctl start starts the cluster of a place, not the job {job}");
        return Err(Error::new(Code::Usage, what).fix(format!(
            "petctl run {job} runs a job file; petctl resume {job} lets a suspended job go on"
        )));
    }
    turn(context, &args.place, Power::Running, true).await
}

async fn turn(context: &Context, args: &PowerArgs, to: Power, yes: bool) -> Result<Exit> {
    let site = args.site.find(&AzureArgs::default())?;
    let arm = site.arm(context).await?;
    let cluster = &site.blueprint.cluster_name;
    let (verb, word) = match to {
        Power::Running => ("start", "runs"),
        Power::Stopped => ("stop", "is stopped"),
    };
    match power(&arm, &site.blueprint).await? {
        None => {
            let what = format!(
                "there is no cluster {cluster} in resource group {}",
                site.blueprint.group
            );
            return Err(Error::new(Code::AzureRefused, what)
                .fix(format!("make it: petctl setup --on {}", site.name)));
        }
        Some(now) if now == to => {
            context
                .out
                .line(&format!("{}: cluster {cluster} {word} already", site.name));
            return Ok(Exit::Success);
        }
        Some(_) => {}
    }
    if args.dry_run {
        context
            .out
            .line(&format!("{}: would {verb} cluster {cluster}", site.name));
        return Ok(Exit::Success);
    }
    context.confirm(
        yes,
        &format!("Stop cluster {cluster}, and all that runs there?"),
    )?;
    set_power(&arm, &site.blueprint, to).await?;
    context
        .out
        .line(&format!("{}: cluster {cluster} {word}", site.name));
    Ok(Exit::Success)
}
