//! `petctl run`

use super::{Context, block_on, validate};
use crate::backend::local::{self, Settings};
use crate::backend::remote;
use crate::cli::{ConnectArgs, parse_duration_ms};
use crate::client::Target;
use crate::error::Result;
use crate::exit::Exit;
use crate::job::{JobFile, PreparedJob};
use crate::marker::{self, Owner};
use crate::program;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Runs a job to its verdict, or goes on with it.
///
/// Checks the job file, starts workers, shows how it goes, and ends with the verdict and a table of results. Run
/// again, the same job goes on where it stopped: what is committed is not run again, what failed is tried again.
#[derive(Debug, Args)]
#[command(after_help = "\
Ctrl-C once: what runs goes on to its end, nothing new starts; the same command goes on later. Twice: what runs is \
stopped. A run whose terminal was closed goes on; `petctl list` finds it.

Exit codes: 0 succeeded, 1 failed, 3 cancelled, 65 bad job file, 75 try again, 78 bad configuration, 130 Ctrl-C.

Examples:
  petctl run examples/resim/job.toml
  petctl run job.toml --workers 8 --set stage.resim.timeout=5m
  petctl run job.toml -d                     in the background; prints the job's name
  petctl run job.toml --dry-run              what would run
  petctl run job.toml --rerun all --yes      everything again, earlier results are deleted")]
pub(crate) struct RunArgs {
    /// The job file.
    job_file: PathBuf,

    /// Workers, instead of the job file's `workers.max`.
    #[arg(short, long, value_name = "N")]
    workers: Option<u32>,

    /// Override a key of the job file, such as workers.max=4 or stage.resim.retries=0; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Leave it running in the background, and print the job's name.
    #[arg(short, long)]
    detach: bool,

    /// Say what would run, and run nothing.
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,

    /// Forget earlier results and run everything again.
    #[arg(long, value_enum, value_name = "WHAT")]
    rerun: Option<Rerun>,

    /// Do not ask before earlier results are deleted.
    #[arg(short, long)]
    yes: bool,

    /// A worker that is not heard of for this long is given up [default: 5s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ms)]
    heartbeat_timeout: Option<u64>,

    #[arg(long, hide = true)]
    detached_child: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// What to run again although it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rerun {
    /// Everything; earlier results are deleted.
    All,
}

impl RunArgs {
    /// Whether this process is the one in the background.
    pub(crate) fn is_detached_child(&self) -> bool {
        self.detached_child
    }
}

pub(crate) fn run(context: &Context, args: RunArgs) -> Result<Exit> {
    let file = JobFile::find(&args.job_file, &args.set)?;
    let target = Target::from_args(&args.connect)?;
    let here = target.is_none();
    if args.detached_child {
        local::leave_terminal()?;
    } else if args.detach && here {
        let spec = file.parse()?;
        let folder = context.home()?.job(&spec.name);
        return local::detach(context, &folder, &spec.name);
    }
    let job = PreparedJob::prepare(file, args.workers)?;
    if here {
        for warning in program::warnings(&job.spec) {
            context.out.warn(&warning);
        }
    }
    if args.dry_run {
        return dry_run(context, &job, args.rerun.is_some());
    }
    let rerun_all = args.rerun.is_some();
    match target {
        Some(target) => block_on(remote::run(context, target, job, rerun_all, args.detach)),
        None => {
            let settings = Settings {
                workers: args.workers,
                rerun_all,
                yes: args.yes,
                heartbeat_timeout_ms: args.heartbeat_timeout,
                detached: args.detached_child,
            };
            block_on(local::run(context, job, settings))
        }
    }
}

fn dry_run(context: &Context, job: &PreparedJob, rerun_all: bool) -> Result<Exit> {
    let owner = marker::owner(&job.spec, &job.fingerprint_hex())?;
    match &owner {
        Owner::OtherJob(_) | Owner::Strange(_) => return Err(marker::in_use(&job.spec, &owner)),
        Owner::EarlierJob if !rerun_all => return Err(marker::in_use(&job.spec, &owner)),
        Owner::Nobody | Owner::ThisJob | Owner::EarlierJob => {}
    }
    validate::show(&context.out, job);
    let known = context.home()?.job(&job.spec.name).card()?;
    let same = known.is_some_and(|card| card.fingerprint == job.fingerprint_hex());
    context.out.say(match (rerun_all, same) {
        (true, _) => "would delete earlier results of this job and run all of it",
        (false, true) => "would go on with this job: only what is missing would run",
        (false, false) => "would run all of it",
    });
    Ok(Exit::Success)
}
