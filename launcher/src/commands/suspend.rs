//! `petctl suspend`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::View;
use petctl_job::Context;
use petctl_proto::v1::{JobState, JobStatus, SuspendJobRequest};
use petctl_report::model::{self, Suspended};
use petctl_ui::arguments::Format;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{count, duration, is_training};

/// Stops a job's work for a while, and keeps all it has.
///
/// A training group's processes get SIGTERM and the stage's grace to save; shards that run go on to their end. Nothing
/// new starts until `petctl resume`. The workers stay.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl suspend fit
  petctl suspend fit --reason 'the node is needed elsewhere'
  petctl suspend fit --dry-run             what would be stopped, and what would be lost")]
pub(crate) struct SuspendArgs {
    /// The job's name.
    job: String,

    /// Why, for the event log.
    #[arg(long, value_name = "TEXT", default_value = "petctl suspend")]
    reason: String,

    /// Say what would be stopped, and stop nothing.
    #[arg(long)]
    dry_run: bool,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: SuspendArgs) -> Result<Exit> {
    let (mut view, mut client) = View::open_live(context, &args.connect, Some(&args.job)).await?;
    let (text, already) = if args.dry_run {
        let status = view.status().await?;
        let summary = status.summary.clone().unwrap_or_default();
        (stopped(&status), summary.state() == JobState::Suspended)
    } else {
        let request = SuspendJobRequest {
            job: view.job.clone(),
            reason: args.reason.clone(),
        };
        let answer = client.call(async |jobs| jobs.suspend_job(request).await);
        let already = answer.await?.already_suspended;
        let text = if already {
            "was suspended already"
        } else {
            "suspended"
        };
        (
            format!("{text}; to go on: petctl resume {}", view.job),
            already,
        )
    };
    match args.output {
        Format::Json => model::print(
            &context.out,
            Suspended {
                job: view.job,
                dry_run: args.dry_run,
                suspended: !already && !args.dry_run,
                already_suspended: already,
            },
        ),
        Format::Text => context.out.line(&format!("{}: {text}", view.job)),
    }
    Ok(Exit::Success)
}

/// What a suspension would stop now.
fn stopped(status: &JobStatus) -> String {
    let Some(group) = status.groups.iter().find(|group| is_training(group)) else {
        return "would suspend: shards that run go on to their end, nothing new starts".to_owned();
    };
    if group.running_since_ms == 0 {
        return format!(
            "would suspend: the training of `{}` does not run now, and would not start",
            group.stage_name
        );
    }
    format!(
        "would suspend: stops the {} of `{}`; {} of work is younger than its newest checkpoint, and lost unless the \
         script saves on SIGTERM",
        count(u64::from(group.world_size), "rank", "ranks"),
        group.stage_name,
        duration(group.at_risk_ms)
    )
}
