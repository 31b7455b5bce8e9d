//! `petctl resume`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::View;
use petctl_job::Context;
use petctl_proto::v1::JobState;
use petctl_report::model::{self, Resumed};
use petctl_ui::arguments::Format;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;

/// Lets a suspended job go on, a training from its newest checkpoint.
///
/// A job that was interrupted, by Ctrl-C or a crash, goes on by `petctl run` instead: nobody works on it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl resume fit
  petctl resume fit --dry-run")]
pub(crate) struct ResumeArgs {
    /// The job's name.
    job: String,

    /// Say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: ResumeArgs) -> Result<Exit> {
    let (mut view, mut client) = View::open_live(context, &args.connect, Some(&args.job)).await?;
    let already = if args.dry_run {
        let summary = view.status().await?.summary.unwrap_or_default();
        summary.state() != JobState::Suspended
    } else {
        client.resume(&view.job).await?
    };
    let text = match (already, args.dry_run) {
        (true, _) => "is not suspended",
        (false, true) => "would go on",
        (false, false) => "goes on",
    };
    match args.output {
        Format::Json => model::print(
            &context.out,
            Resumed {
                job: view.job,
                dry_run: args.dry_run,
                resumed: !already && !args.dry_run,
                already_running: already,
            },
        ),
        Format::Text => context.out.line(&format!("{}: {text}", view.job)),
    }
    Ok(Exit::Success)
}
