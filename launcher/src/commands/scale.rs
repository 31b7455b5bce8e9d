//! `petctl scale`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::View;
use petctl_job::Context;
use petctl_proto::v1::ScaleJobRequest;
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
  petctl scale resim --workers 4 --dry-run")]
pub(crate) struct ScaleArgs {
    /// The job's name.
    job: String,

    /// Workers wanted from now on; `max` grows with it where it must.
    #[arg(short, long, value_name = "N", required_unless_present_any = ["min", "max"])]
    workers: Option<u32>,

    /// Fewest workers with which the job goes on.
    #[arg(long, value_name = "N")]
    min: Option<u32>,

    /// Most workers at a time.
    #[arg(long, value_name = "N")]
    max: Option<u32>,

    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: ScaleArgs) -> Result<Exit> {
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
