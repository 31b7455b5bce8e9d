//! `petctl uninstall`, and `petctl delete --all`.

use super::PlaceArgs;
use clap::Args;
use petctl_client::Target;
use petctl_job::Context;
use petctl_kube::{Cluster, Tunnel, remove_all, what_is_there};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::count;
use std::time::Duration;

/// Removes petctl from a cluster: the coordinator with its state, the jobs' pods, roles and the token.
///
/// Outputs in storage stay. Says what it removes, removes it, and then lists what of petctl's label is left.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl uninstall --on gpu --dry-run    what would go
  petctl uninstall --on gpu --yes        in scripts: ask nobody")]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    place: PlaceArgs,

    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, args: UninstallArgs) -> Result<Exit> {
    let tunnel = args.place.tunnel()?;
    take_away(context, &tunnel, true, (args.dry_run, args.yes)).await
}

/// How long the coordinator may take to say which jobs it has.
const JOBS_TIMEOUT: Duration = Duration::from_secs(5);
/// Jobs that are named.
const JOBS_SHOWN: usize = 8;

/// Which jobs have not ended. A coordinator that does not answer has to be removed all the same.
async fn unfinished(tunnel: &Tunnel) -> Option<String> {
    let jobs = async {
        let target = Target::Place(tunnel.clone());
        target.connect().await.ok()?.jobs().await.ok()
    };
    let jobs = tokio::time::timeout(JOBS_TIMEOUT, jobs).await.ok()??;
    let names: Vec<&str> = jobs
        .iter()
        .filter(|job| !job.has_ended())
        .map(|job| job.name.as_str())
        .collect();
    let shown: Vec<&str> = names.iter().copied().take(JOBS_SHOWN).collect();
    let more = match names.len().saturating_sub(shown.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| {
        format!(
            "{} not ended, and will be cut off: {}{more}",
            count(names.len() as u64, "job has", "jobs have"),
            shown.join(", ")
        )
    })
}

/// Removes all that belongs to jobs; with `all` petctl itself too.
pub(crate) async fn take_away(
    context: &Context,
    tunnel: &Tunnel,
    all: bool,
    (dry_run, yes): (bool, bool),
) -> Result<Exit> {
    let cluster = Cluster::of_place(tunnel.place()).await?;
    let there = what_is_there(&cluster, all).await?;
    let name = tunnel.name();
    if there.is_empty() {
        context.out.line(&format!(
            "{name}: nothing of petctl is there ({})",
            cluster.shown
        ));
        return Ok(Exit::Success);
    }
    let verb = if dry_run {
        "would remove"
    } else {
        "will remove"
    };
    for object in &there {
        context.out.say(&format!("{verb} {object}"));
    }
    if let Some(unfinished) = unfinished(tunnel).await {
        context.out.warn(&unfinished);
    }
    if dry_run {
        return Ok(Exit::Success);
    }
    let what = if all {
        "petctl and the state of its jobs"
    } else {
        "the pods of all jobs"
    };
    context.confirm(yes, &format!("Remove {what} from {}?", cluster.shown))?;
    let say = |what: &str| context.out.say(what);
    remove_all(&cluster, all, &there, say).await?;
    let left = what_is_there(&cluster, all).await?;
    if left.is_empty() {
        let what = if all { "petctl" } else { "its jobs" };
        context.out.line(&format!(
            "{name}: {} removed, nothing of {what} is left",
            count(there.len() as u64, "object", "objects")
        ));
        return Ok(Exit::Success);
    }
    let names: Vec<String> = left.iter().map(ToString::to_string).collect();
    let what = format!(
        "still there after two minutes ({}): {}",
        cluster.shown,
        names.join(", ")
    );
    Err(Error::new(Code::ClusterConflict, what).fix(
        "a pod on a node that is gone, or a finalizer, holds them: `kubectl describe` says which; then give the command again",
    ))
}
