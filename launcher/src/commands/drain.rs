//! `petctl drain`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::View;
use petctl_job::Context;
use petctl_proto::v1::{DrainWorkerRequest, JobStatus, Member};
use petctl_report::model::{self, Drained};
use petctl_ui::arguments::Format;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;

/// Takes one worker out of a job: it finishes or hands back what it runs, and leaves.
///
/// A training group re-forms without it, which costs no restart: its processes get SIGTERM and the stage's grace to
/// save. Of a job on this machine another worker takes its place; `petctl scale` goes on with fewer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl drain fit local-2
  petctl drain fit node-7 --reason 'bad GPU'
  petctl drain fit node-7 --dry-run")]
pub(crate) struct DrainArgs {
    /// The job's name.
    job: String,

    /// The worker: its name, or its id.
    worker: String,

    /// Why, for the event log.
    #[arg(long, value_name = "TEXT", default_value = "petctl drain")]
    reason: String,

    /// Say what would happen, and drain nothing.
    #[arg(long)]
    dry_run: bool,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: DrainArgs) -> Result<Exit> {
    let (mut view, mut client) = View::open_live(context, &args.connect, Some(&args.job)).await?;
    let worker = if args.dry_run {
        let status = view.status().await?;
        find(&status, &view.job, &args.worker)?.name.clone()
    } else {
        let request = DrainWorkerRequest {
            job: view.job.clone(),
            worker: args.worker.clone(),
            reason: args.reason.clone(),
        };
        let answer = client.call(async |jobs| jobs.drain_worker(request).await);
        answer.await?.worker
    };
    match args.output {
        Format::Json => model::print(
            &context.out,
            Drained {
                job: view.job,
                worker,
                dry_run: args.dry_run,
                drained: !args.dry_run,
            },
        ),
        Format::Text if args.dry_run => {
            context
                .out
                .line(&format!("{}: would drain worker {worker}", view.job));
        }
        Format::Text => context
            .out
            .line(&format!("{}: worker {worker} is drained", view.job)),
    }
    Ok(Exit::Success)
}

fn find<'a>(status: &'a JobStatus, job: &str, worker: &str) -> Result<&'a Member> {
    let fits = |member: &&Member| member.name == worker || member.worker_id == worker;
    status.members.iter().find(fits).ok_or_else(|| {
        let mut names: Vec<&str> = status
            .members
            .iter()
            .map(|member| member.name.as_str())
            .collect();
        names.sort_unstable();
        let fix = if names.is_empty() {
            "it has no worker now".to_owned()
        } else {
            format!("its workers are {}", names.join(", "))
        };
        Error::new(
            Code::NoSuchWorker,
            format!("job `{job}` has no worker `{worker}`"),
        )
        .fix(fix)
    })
}
