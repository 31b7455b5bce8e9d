//! `petctl setup`

use super::PlaceArgs;
use super::gpu::{self, GpuArgs};
use clap::{Args, ValueEnum};
use petctl_job::Context;
use petctl_kube::setup::{How, Setup, printed};
use petctl_kube::{Change, Cluster, Difference, Tunnel, abandon, stranded};
use petctl_provision::{AzureArgs, Site, Wish, not_of_azure, set_up};
use petctl_settings::GpuPlugin;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;

/// Installs petctl into a cluster, or brings what is there to this version.
///
/// Makes, in the namespace of the place: a coordinator (a StatefulSet with a Service and a volume for its state), its
/// service account and a role that lets it keep pods of jobs there and nothing else, and a token. Where the place names a
/// coordinator of another namespace, only the role that lets that one in. Says first what would change. It can be given
/// again at any time: jobs go on.
///
/// Where the place says what its cluster is made of in Azure (`azure`), that comes first: the resource group, the cluster
/// with its pools of nodes, the storage account, the registry, the identity of workers and their rights, and the
/// kubeconfig. What is there stays, and whoever is stopped in the middle gives the command again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl setup --on gpu                  show what would change, ask, and do it
  petctl setup --on gpu --dry-run        let the cluster itself say what would change; --what-if is the same
  petctl setup --on gpu --yes            in scripts: ask nobody
  petctl setup --on gpu --move           the coordinator's node is gone for good: let it start on another one
  petctl setup --on gpu --gpu device-plugin     offer the GPUs of nodes that nobody offers
  petctl setup --on shared --namespace-scope team-a,team-b    one coordinator for places of these namespaces too
  petctl setup --on gpu --only azure     the cluster and what it needs in Azure, and nothing in the cluster
  petctl setup --on gpu --print > petctl.yaml   for those who apply it themselves; the token is made apart")]
pub(crate) struct SetupArgs {
    #[command(flatten)]
    place: PlaceArgs,

    /// Say what would change, by the cluster's own dry run, and change nothing.
    #[arg(long, visible_aliases = ["what-if", "what_if"])]
    dry_run: bool,

    /// Do a part of it only [default: both, where the place says what its cluster is made of].
    #[arg(long, value_enum, value_name = "PART", conflicts_with = "print")]
    only: Option<Part>,

    /// Use and change what somebody else has made in Azure under the names of the place; it is never removed.
    #[arg(long, conflicts_with = "print", help_heading = "Azure")]
    adopt: bool,

    /// Print the objects as YAML, and ask the cluster nothing.
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "force"])]
    print: bool,

    /// Take fields over that somebody else has changed.
    #[arg(long)]
    force: bool,

    /// Set a newer petctl back to this one, where this one reads its state.
    #[arg(long, conflicts_with = "print")]
    downgrade: bool,

    /// First take the coordinator from a node that does not answer and will not come back.
    #[arg(long = "move", conflicts_with = "print")]
    moves: bool,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// Other namespaces in which the coordinator keeps pods, as coordinator.namespaces of the place; "": in none
    /// [default: what the place says, else as it is].
    #[arg(long, value_name = "NAMESPACE,...", value_delimiter = ',')]
    namespace_scope: Option<Vec<String>>,

    #[command(flatten)]
    gpu: GpuArgs,

    #[command(flatten)]
    azure: AzureArgs,
}

/// A part of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The cluster and what it needs, in Azure.
    Azure,
    /// What petctl installs into the cluster.
    Cluster,
}

pub(crate) async fn run(context: &Context, args: SetupArgs) -> Result<Exit> {
    if !args.print && !make_cluster(context, &args).await? {
        return Ok(Exit::Success);
    }
    let tunnel = args.place.tunnel()?;
    let name = tunnel.name();
    let mut place = tunnel.place().clone();
    if let Some(scope) = &args.namespace_scope {
        let named = scope.iter().filter(|name| !name.is_empty());
        place.coordinator.namespaces = named.cloned().collect();
    }
    let place = &args.gpu.on_top_of(&place)?;
    let by_operator = place.gpu.plugin == Some(GpuPlugin::Operator);
    if args.print {
        return print(context, &place.namespace, &printed(place, context.version));
    }
    if args.moves {
        move_coordinator(context, &tunnel, (args.dry_run, args.yes)).await?;
    }
    let token = petctl_rendezvous::random_token().map_err(|error| {
        Error::new(Code::NoRandomNumbers, "the system gives no random numbers").because(&error)
    })?;
    let how = How {
        force: args.force,
        no_others: args.namespace_scope.is_some(),
        downgrade: args.downgrade,
    };
    let setup = Setup::look(place, (context.version, token.expose()), how).await?;
    show(context, &setup);
    if setup.is_done() {
        if args.dry_run {
            context.out.line(&format!("{name}: nothing would change"));
        }
    } else if !args.dry_run {
        let question = format!("Make this so in {}?", setup.shown());
        context.confirm(args.yes, &question)?;
        setup.carry_out(args.force).await?;
    }
    if args.dry_run {
        if by_operator {
            gpu::operator(context, place, false).await?;
        }
        return Ok(Exit::Success);
    }
    let say = |why: &str| {
        context
            .out
            .say(&format!("waits for the coordinator: {why}"))
    };
    setup.wait(say).await?;
    // Not only ready by its probe: it answers through the API server.
    let jobs = petctl_client::Target::Place(tunnel.clone()).jobs().await?;
    let kept = tunnel.namespaces().await?;
    if !place.keeps_coordinator() && !kept.contains(&place.namespace) {
        let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
        context
            .out
            .warn(&petctl_kube::unkept(&kept, &place.namespace));
    }
    context.out.line(&format!(
        "{name}: the coordinator answers ({}), {} known; run a job: petctl run JOB.toml --on {name}",
        setup.shown(),
        petctl_ui::terminal::count(jobs.len() as u64, "job", "jobs")
    ));
    if by_operator {
        gpu::operator(context, place, args.yes && !setup.gpus_by_others).await?;
    }
    Ok(Exit::Success)
}

/// Makes the cluster itself, where the place says what it is made of. Whether to go on with what is in it.
async fn make_cluster(context: &Context, args: &SetupArgs) -> Result<bool> {
    let entry = args.place.entry()?;
    let Some(site) = Site::of(&entry, &args.azure) else {
        if args.adopt || args.azure.is_given() || args.only == Some(Part::Azure) {
            return Err(not_of_azure(&entry.name));
        }
        return Ok(true);
    };
    if args.only == Some(Part::Cluster) {
        return Ok(true);
    }
    let wish = Wish {
        what_if: args.dry_run,
        yes: args.yes,
        adopt: args.adopt,
    };
    let is_there = set_up(context, &site, wish).await?;
    if !is_there && args.only.is_none() {
        let what = "what would be installed into the cluster is known once it is there";
        context.out.say(what);
    }
    Ok(is_there && args.only.is_none())
}

/// Lets the coordinator start on another node, where its own does not answer.
async fn move_coordinator(
    context: &Context,
    tunnel: &Tunnel,
    (dry_run, yes): (bool, bool),
) -> Result<()> {
    let cluster = Cluster::of_coordinator(tunnel.place()).await?;
    let Some(stranded) = stranded(&cluster).await? else {
        context.out.say(&format!(
            "the coordinator is on no node that is lost ({}): there is nothing to move",
            cluster.shown
        ));
        return Ok(());
    };
    let node = &stranded.node;
    if stranded.forgets {
        context.out.warn(
            "it keeps its state in its pod (`coordinator.ephemeral`): the new one knows of no job; run them again, and \
             they go on from their outputs",
        );
    }
    if dry_run {
        context.out.line(&format!(
            "would take the coordinator from node {node}, which does not answer"
        ));
        return Ok(());
    }
    // Two of them on one volume would be one too many.
    context.confirm(
        yes,
        &format!("Node {node} does not answer. Is it off for good, and its coordinator with it?"),
    )?;
    abandon(&cluster, &stranded).await?;
    context.out.line(&format!(
        "took the coordinator from node {node}; it starts on another one"
    ));
    Ok(())
}

fn show(context: &Context, setup: &Setup) {
    if let Some(installed) = &setup.installed
        && installed.release != context.version
    {
        context.out.say(&format!(
            "petctl {} is installed there; this is {}",
            installed.release, context.version
        ));
    }
    for note in &setup.notes {
        context.out.warn(note);
    }
    for Difference {
        object,
        change,
        fields,
    } in &setup.differences
    {
        let mark = match change {
            Change::New => "+",
            Change::Changed => "~",
            Change::Same => "=",
            Change::Gone => "-",
        };
        context.out.line(&format!("{mark} {object}"));
        for (path, before, after) in fields {
            context
                .out
                .line(&format!("    {path}: {before} -> {after}"));
        }
    }
}

fn print(context: &Context, namespace: &str, objects: &[serde_json::Value]) -> Result<Exit> {
    super::print_yaml(context, objects)?;
    context.out.say(&format!(
        "the Secret `petctl-token` is not among them; make it once: kubectl -n {namespace} create secret generic \
         petctl-token --from-literal=token=\"$(openssl rand -hex 32)\"",
    ));
    Ok(Exit::Success)
}
