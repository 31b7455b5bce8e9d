//! `petctl uninstall`, and `petctl delete --all`.

use super::PlaceArgs;
use clap::Args;
use petctl_client::Target;
use petctl_job::Context;
use petctl_kube::{Cluster, Tunnel, remove_all, shared_with, what_is_there};
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
/// By what the objects of petctl are found.
const LABEL: &str = "app.kubernetes.io/name=petctl";
/// Jobs that are named.
const JOBS_SHOWN: usize = 8;

/// Which jobs have not ended: those of the place, or `all` of its coordinator. One that does not answer has to be removed
/// all the same.
async fn unfinished(tunnel: &Tunnel, all: bool) -> Option<String> {
    let target = Target::Place(tunnel.clone());
    let jobs = async { target.connect().await.ok()?.jobs().await.ok() };
    let jobs = tokio::time::timeout(JOBS_TIMEOUT, jobs).await.ok()??;
    let names: Vec<&str> = jobs
        .iter()
        .filter(|job| !job.has_ended() && (all || target.has(job)))
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
    let name = tunnel.name();
    let with_coordinator = all && tunnel.place().keeps_coordinator();
    let mut places = vec![(cluster.clone(), all)];
    let mut teams = Vec::new();
    if with_coordinator {
        // Nobody would take its pods in other namespaces away.
        let others = shared_with(&cluster).await;
        teams.extend(others.iter().map(|other| other.namespace.clone()));
        places.extend(others.into_iter().map(|other| (other, false)));
    }
    let mut there = Vec::new();
    for (cluster, all) in places {
        match what_is_there(&cluster, all).await {
            Ok(objects) => there.push((cluster, all, objects)),
            Err(error) if !there.is_empty() && error.is(Code::ClusterDenied) => {
                context.out.warn(&format!(
                    "pods of jobs may be left in namespace {0}, which you may not look at: kubectl -n {0} delete jobs \
                     -l {LABEL}",
                    cluster.namespace
                ));
            }
            Err(error) => return Err(error),
        }
    }
    let objects: usize = there.iter().map(|(_, _, objects)| objects.len()).sum();
    if objects == 0 {
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
    for (at, _, objects) in &there {
        let elsewhere = match at.namespace == cluster.namespace {
            true => String::new(),
            false => format!(" in namespace {}", at.namespace),
        };
        for object in objects {
            context.out.say(&format!("{verb} {object}{elsewhere}"));
        }
    }
    if let Some(unfinished) = unfinished(tunnel, with_coordinator).await {
        let unheard = match all && !with_coordinator {
            true => {
                "; the coordinator does not forget them: `petctl cancel` first ends them for good"
            }
            false => "",
        };
        context.out.warn(&format!("{unfinished}{unheard}"));
    }
    if dry_run {
        return Ok(Exit::Success);
    }
    let what = match (with_coordinator, all) {
        (true, _) => "petctl and the state of its jobs",
        (false, true) => "petctl and the pods of its jobs",
        (false, false) => "the pods of all jobs",
    };
    context.confirm(yes, &format!("Remove {what} from {}?", cluster.shown))?;
    let say = |what: &str| context.out.say(what);
    let mut left = Vec::new();
    // The coordinator last: its workers leave the sooner while it hears them.
    for (cluster, all, objects) in there.iter().rev() {
        remove_all(cluster, *all, objects, say).await?;
        left.extend(what_is_there(cluster, *all).await?);
    }
    if left.is_empty() {
        let what = if all { "petctl" } else { "its jobs" };
        context.out.line(&format!(
            "{name}: {} removed, nothing of {what} is left",
            count(objects as u64, "object", "objects")
        ));
        if !teams.is_empty() {
            context.out.say(&format!(
                "its roles and service accounts stay where teams let it in ({}): `petctl uninstall` at a place there \
                 removes them",
                teams.join(", ")
            ));
        }
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
