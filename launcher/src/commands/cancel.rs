//! `petctl cancel`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::{Client, Heard};
use petctl_client::{Source, View};
use petctl_job::Context;
use petctl_proto::v1::JobStatus;
use petctl_run::local;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{count, shards};

/// Cancels a job: stops what runs, starts nothing more.
///
/// Its processes get SIGTERM, and SIGKILL when the grace of their stage is over. What is committed stays. `petctl run` of the same job file runs what is missing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl cancel resim
  petctl cancel resim --reason 'wrong build'
  petctl cancel resim --dry-run")]
pub(crate) struct CancelArgs {
    /// The job's name.
    job: String,

    /// Why, for the event log.
    #[arg(long, value_name = "TEXT", default_value = "petctl cancel")]
    reason: String,

    /// Say what would be stopped, and stop nothing.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: CancelArgs) -> Result<Exit> {
    let mut view = View::open(context, &args.connect, Some(&args.job)).await?;
    let status = view.status().await?;
    let summary = status.summary.clone().unwrap_or_default();
    if summary.has_ended() {
        context.out.line(&format!(
            "{}: has ended already: {}",
            view.job, summary.verdict
        ));
        return Ok(Exit::Success);
    }
    if args.dry_run {
        let running: u64 = status.stages.iter().map(|stage| stage.running).sum();
        let left = summary
            .shards
            .saturating_sub(summary.done + summary.failed + running);
        let training = status
            .groups
            .iter()
            .find(|group| group.running_since_ms > 0);
        let text = match training {
            Some(group) => format!(
                "would stop the {} of `{}`, and {left} shards that wait",
                count(u64::from(group.world_size), "rank", "ranks"),
                group.stage_name
            ),
            None => format!(
                "would stop {} that run and {left} that wait",
                shards(running)
            ),
        };
        context.out.line(&format!("{}: {text}", view.job));
        return Ok(Exit::Success);
    }
    let (job, folder) = (view.job.clone(), view.folder.clone());
    let ended = match (view.source, folder) {
        (Source::Live(_, client), _) => cancel(context, *client, &job, &args.reason).await?,
        // The state folder must be free for the coordinator that does it.
        (Source::Offline(offline), Some(folder)) => {
            drop(offline);
            Some(local::cancel_interrupted(&folder, context.version, &job, &args.reason).await?)
        }
        (Source::Offline(_), None) => None,
    };
    let verdict = ended
        .and_then(|status| status.summary)
        .map_or_else(String::new, |s| format!(": {}", s.verdict));
    context.out.line(&format!("{job}: cancelled{verdict}"));
    Ok(Exit::Success)
}

/// Cancels and waits until nothing runs any more.
async fn cancel(
    context: &Context,
    mut client: Client,
    job: &str,
    reason: &str,
) -> Result<Option<JobStatus>> {
    client.cancel(job, reason).await?;
    context.out.say(&format!("{job}: stopping what runs"));
    match client.watch(job).await?.end(|_| ()).await {
        Ok(Heard::Status(status)) => Ok(Some(*status)),
        // A coordinator that goes away now has ended the job: it goes only when it is over.
        Ok(Heard::Lost(_)) | Err(_) => Ok(None),
    }
}
