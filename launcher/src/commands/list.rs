//! `petctl list`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::Target;
use petctl_client::View;
use petctl_job::Context;
use petctl_job::home::{JobCard, now_ms};
use petctl_proto::v1::{JobState, JobSummary};
use petctl_report::model::{self, Jobs, Listed};
use petctl_ui::arguments::Format;
use petctl_ui::error::{Code, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Table, ago, job_state, show_table};
use std::time::Duration;

/// Lists jobs: those that run, that ended, that were interrupted; of this machine and of all places.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl list
  petctl list -o json | jq -r '.jobs[] | select(.state == \"interrupted\") | .job'
  petctl list --coordinator https://head:7370 --ca-file ca.pem --token-file token")]
pub(crate) struct ListArgs {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// How long a place may take to say which jobs it has.
const PLACE_TIMEOUT: Duration = Duration::from_secs(8);

/// A job in the list.
struct Entry {
    summary: JobSummary,
    /// The place where it runs, if that is not this machine.
    place: Option<String>,
    /// The command that goes on with it, if it was interrupted.
    resume: Option<String>,
}

pub(crate) async fn run(context: &Context, args: ListArgs) -> Result<Exit> {
    let mut unasked = false;
    let entries = match Target::find_here(&args.connect)? {
        Some(target) => remote(&target).await?,
        None if args.connect.on.is_some() => local(context, &args.connect).await?,
        None => everywhere(context, &args.connect, &mut unasked).await?,
    };
    match args.output {
        Format::Json => {
            let listed = |entry: Entry| Listed::new(&entry.summary, entry.place, entry.resume);
            let jobs = entries.into_iter().map(listed).collect();
            model::print(&context.out, Jobs { jobs });
        }
        Format::Text if entries.is_empty() && unasked => {
            context.out.say("no other jobs; some places did not answer");
        }
        Format::Text if entries.is_empty() => {
            let place = match (&args.connect.coordinator, &args.connect.on) {
                (Some(address), _) => address.clone(),
                (None, Some(place)) if place != "local" => place.clone(),
                (None, _) => context.home()?.root().display().to_string(),
            };
            context.out.say(&format!(
                "no jobs in {place}; start one: petctl run JOB.toml"
            ));
        }
        Format::Text => show(context, &entries),
    }
    Ok(Exit::Success)
}

async fn remote(target: &Target) -> Result<Vec<Entry>> {
    let jobs = target.jobs().await?;
    Ok(jobs
        .into_iter()
        .map(|summary| Entry {
            summary,
            place: target.place().map(str::to_owned),
            resume: None,
        })
        .collect())
}

/// The jobs of this machine and those of all places. A place that does not answer must not hide the others; `unasked`
/// says whether there was one.
async fn everywhere(
    context: &Context,
    connect: &ConnectArgs,
    unasked: &mut bool,
) -> Result<Vec<Entry>> {
    let mut entries = local(context, connect).await?;
    let asked = Target::all_places(context)?
        .into_iter()
        .map(|tunnel| async {
            let target = Target::Place(tunnel);
            let answer = tokio::time::timeout(PLACE_TIMEOUT, remote(&target)).await;
            (target, answer)
        });
    for (target, answer) in futures::future::join_all(asked).await {
        let name = target.place().unwrap_or_default();
        match answer {
            Ok(Ok(there)) => entries.extend(there),
            Ok(Err(error)) if error.is(Code::NotInstalled) => {}
            Ok(Err(error)) => {
                *unasked = true;
                let why = error.sentence();
                context
                    .out
                    .warn(&format!("jobs of place `{name}` are not shown: {why}"));
            }
            Err(_late) => {
                *unasked = true;
                context.out.warn(&format!(
                    "jobs of place `{name}` are not shown: it has not answered for {} s",
                    PLACE_TIMEOUT.as_secs()
                ));
            }
        }
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.summary.submitted_at_ms));
    Ok(entries)
}

async fn local(context: &Context, connect: &ConnectArgs) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (_, card) in context.home()?.jobs()? {
        let status = match View::open(context, connect, Some(&card.name)).await {
            Ok(mut view) => view.status().await,
            Err(error) => Err(error),
        };
        // One job that can't be read must not hide the others.
        let summary = match status {
            Ok(status) => status.summary.unwrap_or_default(),
            Err(error) => unreadable(&card, error.code()),
        };
        let resume = (summary.state() == JobState::Interrupted).then(|| card.resume_command());
        entries.push(Entry {
            summary,
            place: None,
            resume,
        });
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.summary.submitted_at_ms));
    Ok(entries)
}

fn unreadable(card: &JobCard, code: &str) -> JobSummary {
    JobSummary {
        name: card.name.clone(),
        submitted_at_ms: card.accepted_at_ms,
        verdict: format!("{code}: `petctl status {}` says more", card.name),
        ..JobSummary::default()
    }
}

fn show(context: &Context, entries: &[Entry]) {
    let now = now_ms();
    let places = entries.iter().any(|entry| entry.place.is_some());
    let mut columns = vec![
        "JOB",
        "STATE",
        ">DONE",
        ">FAILED",
        ">WORKERS",
        "SUBMITTED",
        "VERDICT",
    ];
    if places {
        columns.insert(1, "PLACE");
    }
    let mut table = Table::new(&columns);
    for Entry { summary, place, .. } in entries {
        let mut row = vec![
            summary.name.clone(),
            job_state(summary.state()).to_owned(),
            format!("{}/{}", summary.done, summary.shards),
            summary.failed.to_string(),
            summary.workers.to_string(),
            if summary.submitted_at_ms > 0 {
                ago(now, summary.submitted_at_ms)
            } else {
                "-".to_owned()
            },
            summary.verdict.clone(),
        ];
        if places {
            row.insert(1, place.as_deref().unwrap_or("local").to_owned());
        }
        table.row(row);
    }
    show_table(&context.out, &table);
    for Entry {
        summary, resume, ..
    } in entries
    {
        if let Some(resume) = resume {
            context
                .out
                .say(&format!("to go on with {}: {resume}", summary.name));
        }
    }
}
