//! `petctl events`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::{Source, View};
use petctl_client::{is_away, is_lost, refusal};
use petctl_job::Context;
use petctl_proto::v1::EventRow;
use petctl_report::model::{self, Event};
use petctl_ui::arguments::Format;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Output, clock, printable};

/// Shows the event log of a job: every decision, in order.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl events resim
  petctl events resim -f             and what happens from now on, until the job ends
  petctl events resim -o json        one JSON object per line")]
pub(crate) struct EventsArgs {
    /// The job's name [default: the latest job].
    job: Option<String>,

    /// Go on as events happen, until the job ends.
    #[arg(short, long)]
    follow: bool,

    /// How to print it; json is one object per line.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: EventsArgs) -> Result<Exit> {
    let mut view = View::open(context, &args.connect, args.job.as_deref()).await?;
    let Source::Live(..) = &view.source else {
        print(&context.out, &view.events().await?, args.output);
        return Ok(Exit::Success);
    };
    if !args.follow {
        print(&context.out, &view.events().await?, args.output);
        return Ok(Exit::Success);
    }
    follow(context, &args, view).await
}

/// Until the job has ended, over restarts of its coordinator.
async fn follow(context: &Context, args: &EventsArgs, mut view: View) -> Result<Exit> {
    let mut next = 0;
    loop {
        match &mut view.source {
            Source::Offline(_) => {
                let rows = view.events().await?;
                let rest: Vec<EventRow> = rows
                    .into_iter()
                    .filter(|row| row.sequence >= next)
                    .collect();
                print(&context.out, &rest, args.output);
                return Ok(Exit::Success);
            }
            Source::Live(target, client) => {
                if follow_once(context, args, &view.job, client, &mut next).await? {
                    return Ok(Exit::Success);
                }
                if view.folder.is_none() {
                    **client = target.reconnect().await?;
                }
            }
        }
        if view.folder.is_some() {
            view = View::open(context, &args.connect, Some(&view.job)).await?;
        }
    }
}

/// Whether it came to the end, rather than having lost the coordinator.
async fn follow_once(
    context: &Context,
    args: &EventsArgs,
    job: &str,
    client: &mut petctl_client::Client,
    next: &mut u64,
) -> Result<bool> {
    let mut stream = match client.events(job, *next, true).await {
        Ok(stream) => stream,
        Err(error) if is_away(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    loop {
        match stream.message().await {
            Ok(Some(part)) => {
                print(&context.out, &part.events, args.output);
                *next = part.events.last().map_or(*next, |row| row.sequence + 1);
                if context.out.is_closed() || part.events.iter().any(|row| row.kind == "job_ended")
                {
                    return Ok(true);
                }
            }
            Ok(None) => return Ok(true),
            Err(status) if is_lost(&status) => return Ok(false),
            Err(status) => return Err(refusal(client.address(), &status)),
        }
    }
}

fn print(out: &Output, rows: &[EventRow], format: Format) {
    for row in rows {
        match format {
            Format::Text => {
                out.line(&format!(
                    "{:>6}  {}  {}",
                    row.sequence,
                    clock(row.at_ms),
                    printable(&row.text)
                ));
            }
            Format::Json => model::print_line(out, Event::from(row)),
        }
        if out.is_closed() {
            return;
        }
    }
}
