//! `petctl status`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::{Client, Heard, is_away};
use petctl_client::{Source, View};
use petctl_job::Context;
use petctl_proto::v1::JobStatus;
use petctl_report::model::{self, Status};
use petctl_ui::arguments::{Format, parse_duration_ms};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::{self, Exit};
use petctl_ui::terminal::{Output, exit_hint, show_status};
use std::time::Duration;

/// Shows how a job stands: verdict, why it waits, workers, stages, training, events.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: while the job goes on 0; once it has ended the job's: 0 succeeded, 1 failed, 3 cancelled. 75: it was \
interrupted and nobody works on it. 124: --timeout passed.

Examples:
  petctl status                            the latest job
  petctl status resim --wait --timeout 1h  wait for its end, for scripts
  petctl status resim -o json | jq .state")]
pub(crate) struct StatusArgs {
    /// The job's name [default: the latest job].
    job: Option<String>,

    /// Wait until the job has ended.
    #[arg(short, long)]
    wait: bool,

    /// Wait no longer than this, such as 90s or 1h30m; then exit with 124.
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = parse_duration_ms)]
    timeout: Option<u64>,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: StatusArgs) -> Result<Exit> {
    let mut view = View::open(context, &args.connect, args.job.as_deref()).await?;
    if args.wait {
        let ended = wait(context, &mut view);
        match args.timeout {
            None => ended.await?,
            Some(timeout_ms) => {
                match tokio::time::timeout(Duration::from_millis(timeout_ms), ended).await {
                    Ok(ended) => ended?,
                    Err(_elapsed) => return timed_out(context, &args, timeout_ms).await,
                }
            }
        }
        // It may have gone while its end was waited for.
        view = View::open(context, &args.connect, Some(&view.job)).await?;
    }
    let status = view.status().await?;
    print(&context.out, &status, args.output);
    let summary = status.summary.unwrap_or_default();
    if let Some(hint) = exit_hint(&summary, view.resume_command().as_deref()) {
        context.out.say(&hint);
    }
    Ok(exit::of_job(summary.state()))
}

async fn timed_out(context: &Context, args: &StatusArgs, timeout_ms: u64) -> Result<Exit> {
    let mut view = View::open(context, &args.connect, args.job.as_deref()).await?;
    print(&context.out, &view.status().await?, args.output);
    let waited = petctl_spec::format_duration_ms(timeout_ms);
    let error = Error::new(
        Code::Timeout,
        format!("job `{}` has not ended after {waited}", view.job),
    );
    context
        .out
        .error(&error.fix("it goes on; wait longer with another --timeout"));
    Ok(Exit::TimedOut)
}

fn print(out: &Output, status: &JobStatus, format: Format) {
    match format {
        Format::Text => show_status(out, status),
        Format::Json => model::print(out, Status::from(status)),
    }
}

/// Watches the job until it has ended, or until nobody works on it any more.
async fn wait(context: &Context, view: &mut View) -> Result<()> {
    let Source::Live(target, client) = &view.source else {
        return Ok(());
    };
    let mut client = Client::clone(client);
    let mut progress = context.out.progress();
    loop {
        let heard = match client.watch(&view.job).await {
            Ok(mut statuses) => statuses.end(|status| progress.update(status)).await?,
            Err(error) if is_away(&error) => Heard::Lost(error),
            Err(error) => return Err(error),
        };
        if let Heard::Status(_) = heard {
            break;
        }
        if view.folder.as_ref().is_some_and(|folder| !folder.is_live()) {
            break;
        }
        progress.say("the coordinator is away; trying to reach it again");
        match target.reconnect().await {
            Ok(again) => client = again,
            // A local job's run has ended meanwhile; its state folder knows how.
            Err(_) if view.folder.as_ref().is_some_and(|folder| !folder.is_live()) => break,
            Err(error) => return Err(error),
        }
    }
    progress.finish();
    Ok(())
}
