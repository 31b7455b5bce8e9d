//! `petctl scale`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::View;
use petctl_job::Context;
use petctl_proto::v1::ScaleJobRequest;
use petctl_provision::{AzureArgs, Site, scale_pool};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::count;

/// Gives a running job more or fewer workers.
///
/// New workers start at once, and join a training at its next checkpoint (or at once, with `grow = "now"`). Workers that
/// are too many finish the shards they run, then leave: no shard is lost, and none is run for nothing. Those that leave
/// a training have the stage's grace to save, and it goes on without them from its newest checkpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl scale resim --workers 8           eight workers from now on
  petctl scale resim --min 2 --max 16      the bounds between which it may be scaled
  petctl scale resim --nodes 16            at most 16 nodes in the place's pool in Azure
  petctl scale resim --workers 4 --dry-run")]
pub(crate) struct ScaleArgs {
    /// The job's name.
    job: String,

    /// Workers wanted from now on; `max` grows with it where it must.
    #[arg(short, long, value_name = "N", required_unless_present_any = ["min", "max", "nodes", "new_node_count"])]
    workers: Option<u32>,

    /// Fewest workers with which the job goes on.
    #[arg(long, value_name = "N")]
    min: Option<u32>,

    /// Most workers at a time.
    #[arg(long, value_name = "N")]
    max: Option<u32>,

    /// Most nodes of the pool that the place has in Azure; they come as workers ask for them.
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,

    /// Which pool [default: the place's first].
    #[arg(long, value_name = "NAME", requires = "nodes")]
    pool: Option<String>,

    /// Nodes and workers together: as many workers as so many nodes take.
    #[arg(long = "new_node_count", value_name = "N", hide = true, conflicts_with_all = ["nodes", "workers"])]
    new_node_count: Option<u32>,

    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, mut args: ScaleArgs) -> Result<Exit> {
    if let Some(nodes) = args.nodes.or(args.new_node_count) {
        let site = site(context, &args)?;
        scale_pool(context, &site, args.pool.as_deref(), nodes, args.dry_run).await?;
        if args.new_node_count.is_some() {
            args.workers = Some(nodes.saturating_mul(site.kube.gpu.sharing).max(1));
        }
        if args.workers.is_none() && args.min.is_none() && args.max.is_none() {
            return Ok(Exit::Success);
        }
    }
    let (mut view, mut client) = View::open_live(context, &args.connect, Some(&args.job)).await?;
    let now = view.status().await?;
    let (min, max, workers) = wanted(&args, now.min_workers, now.max_workers)?;
    if args.dry_run {
        let shown = |before: u32, after: Option<u32>| match after {
            Some(after) if after != before => format!("{before} -> {after}"),
            Some(_) | None => before.to_string(),
        };
        context.out.line(&format!(
            "{}: would scale: workers {}, min {}, max {}",
            view.job,
            shown(now.wanted_workers, workers),
            shown(now.min_workers, min),
            shown(now.max_workers, max)
        ));
        return Ok(Exit::Success);
    }
    let answer = client
        .scale(ScaleJobRequest {
            job: view.job.clone(),
            min,
            max,
            workers,
        })
        .await?;
    let workers = count(u64::from(answer.workers), "worker", "workers");
    context.out.line(&format!(
        "{}: {workers} wanted, {} to {}",
        view.job, answer.min, answer.max
    ));
    Ok(Exit::Success)
}

/// The place of the job, which must be one in Azure.
fn site(context: &Context, args: &ScaleArgs) -> Result<Site> {
    let known = context.home()?.remote(&args.job).place()?;
    let known = known.map(|place| place.place);
    let named = args.connect.on.clone().or(known);
    Site::find(named.as_deref(), &[], &AzureArgs::default())
}

/// `--workers` beyond the bounds moves them, unless they are given too.
fn wanted(args: &ScaleArgs, min: u32, max: u32) -> Result<(Option<u32>, Option<u32>, Option<u32>)> {
    if let (Some(min), Some(max)) = (args.min, args.max)
        && min > max
    {
        return Err(
            Error::new(Code::Usage, format!("--min {min} is more than --max {max}"))
                .fix("swap them"),
        );
    }
    let Some(workers) = args.workers else {
        return Ok((args.min, args.max, None));
    };
    if workers == 0 {
        return Err(Error::new(Code::Usage, "--workers 0: a job needs a worker to go on")
            .fix("stop it with Ctrl-C in its terminal or `petctl cancel`; `petctl run` goes on with it"));
    }
    let new_min = args.min.or((workers < min).then_some(workers));
    let new_max = args.max.or((workers > max).then_some(workers));
    Ok((new_min, new_max, Some(workers)))
}
