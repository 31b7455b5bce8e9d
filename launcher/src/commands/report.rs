//! `petctl report`

use super::Context;
use crate::cli::ConnectArgs;
use crate::client::ShardQuery;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::output::{Output, Table, count, number, seconds, shard_state, show_table, verdict};
use crate::report;
use crate::view::View;
use clap::{Args, ValueEnum};
use petctl_proto::v1::{ShardRow, ShardState};
use serde_json::json;
use std::cmp::Ordering;

/// Most columns of numbers in a table for people; JSON and CSV have all.
const MAX_NUMBERS: usize = 6;
/// Most characters of a reason in a table for people.
const MAX_REASON: usize = 60;

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
    if let Some(stage) = &args.stage
        && !status.stages.iter().any(|known| known.name == *stage)
    {
        let known: Vec<&str> = status
            .stages
            .iter()
            .map(|stage| stage.name.as_str())
            .collect();
        return Err(Error::new(
            Code::NoSuchShard,
            format!("job `{}` has no stage `{stage}`", view.job),
        )
        .fix(format!("its stages are {}", known.join(", "))));
    }
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
            let mut object = report::summary_json(&summary);
            object["schema_version"] = json!(report::SCHEMA_VERSION);
            object["rows"] = rows.iter().map(report::shard_json).collect();
            context.out.json(&object);
        }
        ReportFormat::Csv => context.out.data(&report::shards_csv(&rows)?),
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

/// A table of shards for people.
pub(crate) fn show_shards(out: &Output, rows: &[ShardRow]) {
    let names = report::number_names(rows);
    let shown = telling(rows, &names);
    let verdicts = rows.iter().any(|row| !verdict(row.verdict()).is_empty());
    let notes = rows.iter().any(|row| !note(row).is_empty());
    let mut headings = vec!["STAGE".to_owned(), "SHARD".to_owned(), "STATE".to_owned()];
    headings.extend(verdicts.then(|| "VERDICT".to_owned()));
    headings.extend([">ATTEMPTS".to_owned(), ">SECONDS".to_owned()]);
    headings.extend(shown.iter().map(|name| format!(">{name}")));
    headings.extend(notes.then(|| "NOTE".to_owned()));
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(&headings);
    for row in rows {
        let mut cells = vec![
            row.stage_name.clone(),
            row.key.clone(),
            shard_state(row.state()).to_owned(),
        ];
        cells.extend(verdicts.then(|| verdict(row.verdict()).to_owned()));
        cells.push(row.attempts.to_string());
        cells.push(if has_run(row) {
            seconds(row.duration_ms)
        } else {
            "-".to_owned()
        });
        cells.extend(
            shown
                .iter()
                .map(|name| report::number_of(row, name).map_or_else(|| "-".to_owned(), number)),
        );
        cells.extend(notes.then(|| note(row)));
        table.row(cells);
    }
    show_table(out, &table);
    if names.len() > shown.len() {
        out.say(&format!(
            "{}: petctl report -o csv or -o json has them all",
            count(
                (names.len() - shown.len()) as u64,
                "more number",
                "more numbers"
            )
        ));
    }
}

/// The numbers that a table has room for: first those that tell shards apart, in alphabetical order.
fn telling<'a>(rows: &[ShardRow], names: &'a [String]) -> Vec<&'a String> {
    let is_telling = |name: &&String| {
        let mut values = rows.iter().filter_map(|row| report::number_of(row, name));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let (telling, same): (Vec<&String>, Vec<&String>) = names.iter().partition(is_telling);
    let mut shown: Vec<&String> = telling.into_iter().chain(same).take(MAX_NUMBERS).collect();
    shown.sort();
    shown
}

fn has_run(row: &ShardRow) -> bool {
    row.duration_ms > 0 || row.state() == ShardState::Done
}

fn note(row: &ShardRow) -> String {
    let text = match row.state() {
        ShardState::Done if row.reused && row.reasons.is_empty() => "reused".to_owned(),
        ShardState::Done => row.reasons.join("; "),
        ShardState::Unspecified
        | ShardState::Blocked
        | ShardState::Ready
        | ShardState::Running
        | ShardState::Backoff
        | ShardState::Failed
        | ShardState::Cancelled => row.message.clone(),
    };
    if text.chars().count() <= MAX_REASON {
        return text;
    }
    text.chars().take(MAX_REASON - 1).chain(['…']).collect()
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
            let names = report::number_names(rows);
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
            rows.sort_by(|a, b| compare(report::number_of(a, name), report::number_of(b, name)));
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
