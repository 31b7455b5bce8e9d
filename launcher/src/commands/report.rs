//! `petctl report`

use clap::{Args, ValueEnum};
use petctl_client::ConnectArgs;
use petctl_client::ShardQuery;
use petctl_client::{View, check_stage};
use petctl_job::Context;
use petctl_proto::v1::ShardRow;
use petctl_report::csv;
use petctl_report::model::{self, Report};
use petctl_report::shards::show_shards;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{shard_state, verdict};
use std::cmp::Ordering;

/// Shows every shard: state, attempts, seconds, and the numbers of its result.json.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl report resim --failed               what failed, and why
  petctl report resim --sort min_ttc_s       by a number of result.json, smallest first
  petctl report resim --sort seconds -r      the slowest first
  petctl report resim -o csv > report.csv")]
pub(crate) struct ReportArgs {
    /// The job's name [default: the latest job].
    job: Option<String>,

    /// Only shards that failed, or that failed their checks.
    #[arg(long)]
    failed: bool,

    /// Only this stage.
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,

    /// Sort by shard, state, verdict, attempts, seconds, worker, or a number of result.json [default: job file's order].
    #[arg(long, value_name = "COLUMN")]
    sort: Option<String>,

    /// The other way round.
    #[arg(short, long, requires = "sort")]
    reverse: bool,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: ReportFormat,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// How to print a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people.
    #[default]
    Table,
    /// For programs; has a `schema_version`.
    Json,
    /// For spreadsheets.
    Csv,
}

pub(crate) async fn run(context: &Context, args: ReportArgs) -> Result<Exit> {
    let mut view = View::open(context, &args.connect, args.job.as_deref()).await?;
    let status = view.status().await?;
    check_stage(&status, args.stage.as_deref())?;
    let query = ShardQuery {
        stage: args.stage.clone().unwrap_or_default(),
        failed_only: args.failed,
        shard: String::new(),
    };
    let mut rows = view.shards(&query).await?;
    if let Some(column) = &args.sort {
        sort(&mut rows, column, args.reverse)?;
    }
    let summary = status.summary.unwrap_or_default();
    match args.output {
        ReportFormat::Json => {
            model::print(&context.out, Report::new(&summary, &rows));
        }
        ReportFormat::Csv => context.out.data(&csv::shards_csv(&rows)?),
        ReportFormat::Table if rows.is_empty() => {
            let which = if args.failed {
                "no shard failed"
            } else {
                "no shards"
            };
            context.out.say(&format!("{}: {which}", view.job));
        }
        ReportFormat::Table => {
            show_shards(&context.out, &rows);
            context
                .out
                .say(&format!("{}: {}", view.job, summary.verdict));
        }
    }
    Ok(Exit::Success)
}

fn sort(rows: &mut [ShardRow], column: &str, reverse: bool) -> Result<()> {
    let text = |key: fn(&ShardRow) -> String| move |a: &ShardRow, b: &ShardRow| key(a).cmp(&key(b));
    match column {
        "shard" => rows.sort_by(text(|row| row.key.clone())),
        "state" => rows.sort_by(text(|row| shard_state(row.state()).to_owned())),
        "verdict" => rows.sort_by(text(|row| verdict(row.verdict()).to_owned())),
        "worker" => rows.sort_by(text(|row| row.worker.clone())),
        "attempts" => rows.sort_by_key(|row| row.attempts),
        "seconds" => rows.sort_by_key(|row| row.duration_ms),
        name => {
            let names = csv::number_names(rows);
            if !names.iter().any(|known| known == name) {
                let mut columns = ["shard", "state", "verdict", "attempts", "seconds", "worker"]
                    .map(str::to_owned)
                    .to_vec();
                columns.extend(names);
                return Err(Error::new(
                    Code::Usage,
                    format!("--sort {name}: no shard has that number"),
                )
                .fix(format!("sort by one of {}", columns.join(", "))));
            }
            rows.sort_by(|a, b| compare(csv::number_of(a, name), csv::number_of(b, name)));
        }
    }
    if reverse {
        rows.reverse();
    }
    Ok(())
}

/// Shards without the number come last.
fn compare(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}
