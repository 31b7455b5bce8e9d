//! `petctl logs`: what shards, training processes and workers have printed, while they run and after.

mod cri;
mod follow;
mod own;
mod ranks;
mod reading;
mod stream;

use clap::Args;
use cri::Printer;
use petctl_client::ConnectArgs;
use petctl_client::ShardQuery;
use petctl_client::{View, check_stage};
use petctl_job::Context;
use petctl_proto::v1::{GroupStatus, JobStatus, ShardRow};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::Output;
use reading::Reading;

/// Shows what shards and training processes have printed: while they run, and after.
#[derive(Debug, Args)]
#[command(after_help = "\
Without SHARD all shards are shown, each line with its shard's key; of each shard the last attempt. Of a training \
all ranks of its newest epoch, each line with its rank; the logs of earlier epochs are kept.

Examples:
  petctl logs resim --failed                 of the shards that failed
  petctl logs resim drive-7.xml -f           of one, as it prints
  petctl logs resim work/drive-7 --attempt 1 its first attempt
  petctl logs fit -f                         of all ranks, over restarts
  petctl logs fit --rank 3 --epoch 2         of one process of an earlier epoch
  petctl logs resim --worker local-1         a worker's own log")]
pub struct LogsArgs {
    /// The job's name [default: the latest job].
    job: Option<String>,

    /// Only this shard: its key, STAGE/KEY, or the start of either.
    #[arg(value_name = "SHARD", conflicts_with = "shard")]
    named: Option<String>,

    /// Only this stage.
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,

    /// The same.
    #[arg(long, value_name = "SHARD")]
    shard: Option<String>,

    /// Only shards that failed, or that failed their checks.
    #[arg(long)]
    failed: bool,

    /// Only this rank of a training.
    #[arg(long, value_name = "N", conflicts_with_all = ["named", "shard", "failed", "worker", "attempt"])]
    rank: Option<u32>,

    /// This epoch of a training instead of the newest one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["named", "shard", "failed", "worker", "attempt"])]
    epoch: Option<u64>,

    /// The log of a worker of this machine itself, instead of its shards'.
    #[arg(long, value_name = "WORKER", conflicts_with_all = ["stage", "shard", "named", "failed", "attempt"])]
    worker: Option<String>,

    /// This attempt instead of the last one; 1 is the first.
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,

    /// Go on as they print, over attempts and epochs, until the job ends.
    #[arg(short, long, conflicts_with = "attempt")]
    follow: bool,

    /// When each line was printed.
    #[arg(long)]
    timestamps: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

impl LogsArgs {
    fn query(&self) -> ShardQuery {
        ShardQuery {
            stage: self.stage.clone().unwrap_or_default(),
            failed_only: self.failed,
            shard: self.shard.clone().unwrap_or_default(),
        }
    }

    /// Whether shards are meant, perhaps beside a training.
    fn wants_shards(&self, status: &JobStatus) -> bool {
        let trains = |stage: &String| status.groups.iter().any(|group| group.stage_name == *stage);
        self.rank.is_none() && self.epoch.is_none() && !self.stage.as_ref().is_some_and(trains)
    }

    /// Whether a training is meant, perhaps beside shards.
    fn wants_ranks(&self, status: &JobStatus) -> bool {
        let asked = self.rank.is_some() || self.epoch.is_some();
        let found = ranks::group(status, self.stage.as_deref()).is_some();
        asked || (found && self.shard.is_none() && !self.failed)
    }
}

/// Shows them.
///
/// # Errors
/// Where there is no such job, shard or worker, or what they printed can't be read.
pub async fn run(context: &Context, mut args: LogsArgs) -> Result<Exit> {
    args.shard = args.shard.take().or(args.named.take());
    let mut view = View::open(context, &args.connect, args.job.as_deref()).await?;
    if let Some(worker) = &args.worker {
        return own::run(context, &view, worker, args.follow).await;
    }
    check_stage(&view.status().await?, args.stage.as_deref())?;
    if args.follow {
        return follow::run(context, &args, view).await;
    }
    let status = view.status().await?;
    let rows = if args.wants_shards(&status) {
        view.shards(&args.query()).await?
    } else {
        Vec::new()
    };
    let failed: Vec<&GroupStatus> = trainings(&rows, &status);
    let rows = started(rows, &status);
    let epoch = if args.wants_ranks(&status) {
        ranks::epoch(&args, &mut view).await?
    } else {
        None
    };
    if rows.is_empty() && epoch.is_none() && (failed.is_empty() || !args.failed) {
        nothing(context, &args, &view.job)?;
        return Ok(Exit::Success);
    }
    let reading = Reading::of(&mut view).await?;
    let labels = if epoch.is_some() {
        Labels::StageAndKey
    } else {
        labels(&rows)
    };
    let mut printer = Printer::new(args.timestamps, labels);
    let mut printed = false;
    for row in &rows {
        printed |= print_row(
            &context.out,
            &reading,
            &mut view,
            row,
            args.attempt,
            &mut printer,
        )
        .await?;
        if context.out.is_closed() {
            break;
        }
    }
    if let Some(epoch) = &epoch {
        printed |= ranks::print(&context.out, &reading, &mut view, epoch, printer).await?;
    }
    for group in failed.into_iter().filter(|_| args.failed) {
        printed |= ranks::print_cause(&context.out, &reading, &mut view, group, printer).await?;
    }
    if !printed {
        silent(context, &args, &rows)?;
    }
    Ok(Exit::Success)
}

/// Shards that have had an attempt; a training has ranks and epochs instead.
fn started(rows: Vec<ShardRow>, status: &JobStatus) -> Vec<ShardRow> {
    let trains = |row: &ShardRow| status.groups.iter().any(|group| group.stage == row.stage);
    rows.into_iter()
        .filter(|row| (row.attempts > 0 || row.lease_id > 0) && !trains(row))
        .collect()
}

/// The trainings among the rows.
fn trainings<'a>(rows: &[ShardRow], status: &'a JobStatus) -> Vec<&'a GroupStatus> {
    let listed = |group: &&GroupStatus| rows.iter().any(|row| row.stage == group.stage);
    status.groups.iter().filter(listed).collect()
}

/// How lines are told apart.
fn labels(rows: &[ShardRow]) -> Labels {
    let Some(first) = rows.first() else {
        return Labels::None;
    };
    if rows.len() == 1 {
        Labels::None
    } else if rows.iter().all(|row| row.stage == first.stage) {
        Labels::Key
    } else {
        Labels::StageAndKey
    }
}

/// What stands before each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Labels {
    None,
    Key,
    StageAndKey,
}

impl Labels {
    fn of(self, row: &ShardRow) -> String {
        match self {
            Self::None => String::new(),
            Self::Key => format!("{}: ", row.key),
            Self::StageAndKey => format!("{}/{}: ", row.stage_name, row.key),
        }
    }
}

/// Prints one attempt's log from its start; whether there was any.
async fn print_row(
    out: &Output,
    reading: &Reading,
    view: &mut View,
    row: &ShardRow,
    attempt: Option<u32>,
    printer: &mut Printer,
) -> Result<bool> {
    let label = printer.label(row);
    let mut log = reading.attempt(row, attempt).lines(&label);
    let mut any = false;
    loop {
        let piece = reading.read(view, &mut log.log).await?;
        if piece.is_empty() {
            break;
        }
        any = true;
        out.data(&printer.text(&mut log.lines, &piece));
        if out.is_closed() {
            return Ok(true);
        }
    }
    out.data(&printer.end(&mut log.lines));
    Ok(any)
}

/// Nothing fits what was asked for.
fn nothing(context: &Context, args: &LogsArgs, job: &str) -> Result<()> {
    if let Some(shard) = &args.shard {
        return Err(Error::new(
            Code::NoSuchShard,
            format!("job `{job}` has no shard `{shard}` that was started"),
        )
        .fix(format!("`petctl report {job}` lists the shards")));
    }
    let which = if args.failed {
        "no shard failed"
    } else {
        "nothing was started yet"
    };
    context.out.say(&format!("{job}: {which}"));
    Ok(())
}

/// There are shards, but they printed nothing, or their logs are gone.
fn silent(context: &Context, args: &LogsArgs, rows: &[ShardRow]) -> Result<()> {
    if let (Some(attempt), [row]) = (args.attempt, rows)
        && attempt > row.attempts
    {
        let times = petctl_ui::terminal::count(u64::from(row.attempts), "attempt", "attempts");
        return Err(Error::new(
            Code::NoLog,
            format!(
                "shard `{}` has had {times}, and {attempt} is not one",
                row.key
            ),
        )
        .fix("leave --attempt out for the last one"));
    }
    context.out.say("nothing was printed");
    Ok(())
}
