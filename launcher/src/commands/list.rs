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
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Table, ago, job_state, show_table};

/// Lists jobs: those that run, that ended, that were interrupted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl list
  petctl list -o json | jq -r '.jobs[] | select(.state == \"interrupted\") | .job'
  petctl list --coordinator http://head:7370 --token-file token")]
pub(crate) struct ListArgs {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// A job in the list.
struct Entry {
    summary: JobSummary,
    /// The command that goes on with it, if it was interrupted.
    resume: Option<String>,
}

pub(crate) async fn run(context: &Context, args: ListArgs) -> Result<Exit> {
    let entries = match Target::from_args(&args.connect)? {
        Some(target) => remote(&target).await?,
        None => local(context, &args.connect).await?,
    };
    match args.output {
        Format::Json => {
            let listed = |entry: Entry| Listed::new(&entry.summary, entry.resume);
            let jobs = entries.into_iter().map(listed).collect();
            model::print(&context.out, Jobs { jobs });
        }
        Format::Text if entries.is_empty() => {
            let place = match &args.connect.coordinator {
                Some(address) => address.clone(),
                None => context.home()?.root().display().to_string(),
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
    let jobs = target.connect().await?.jobs().await?;
    Ok(jobs
        .into_iter()
        .map(|summary| Entry {
            summary,
            resume: None,
        })
        .collect())
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
        entries.push(Entry { summary, resume });
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
    let mut table = Table::new(&[
        "JOB",
        "STATE",
        ">DONE",
        ">FAILED",
        ">WORKERS",
        "SUBMITTED",
        "VERDICT",
    ]);
    for Entry { summary, .. } in entries {
        table.row(vec![
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
        ]);
    }
    show_table(&context.out, &table);
    for Entry { summary, resume } in entries {
        if let Some(resume) = resume {
            context
                .out
                .say(&format!("to go on with {}: {resume}", summary.name));
        }
    }
}
