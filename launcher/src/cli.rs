//! The command line.

use crate::commands::{
    cancel, checkpoint, completions, delete, download, drain, events, explain, guard, list, logs,
    rendezvous, report, resume, run, scale, status, storage, suspend, torchrun, upload, validate,
    worker,
};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Version and commit, as `--version` prints them.
pub(crate) const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("PETCTL_COMMIT"), ")");

/// Runs jobs of many shards on elastic workers: on this machine or over several.
///
/// A job is a TOML file: where the inputs are, and the commands to run over them. `petctl run` starts it, shows how it
/// goes and ends with its verdict. Run again, it goes on where it stopped.
#[derive(Debug, Parser)]
#[command(
    name = "petctl",
    version = VERSION,
    max_term_width = 100,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = after_help()
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Folder of petctl's state [default: $PETCTL_HOME, $XDG_STATE_HOME/petctl or ~/.local/state/petctl].
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub(crate) home: Option<PathBuf>,

    /// Say nothing but results, warnings and errors.
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Logs(logs::LogsArgs),
    Scale(scale::ScaleArgs),
    Drain(drain::DrainArgs),
    Suspend(suspend::SuspendArgs),
    Resume(resume::ResumeArgs),
    Cancel(cancel::CancelArgs),
    List(list::ListArgs),
    Delete(delete::DeleteArgs),
    Report(report::ReportArgs),
    Explain(explain::ExplainArgs),
    Events(events::EventsArgs),
    Validate(validate::ValidateArgs),
    Upload(upload::UploadArgs),
    Download(download::DownloadArgs),
    Storage(storage::StorageArgs),
    Checkpoint(checkpoint::CheckpointArgs),
    Rendezvous(rendezvous::RendezvousArgs),
    Worker(worker::WorkerArgs),
    Torchrun(torchrun::TorchrunArgs),
    #[command(name = "torchrun-coordinator", hide = true)]
    TorchrunCoordinator(torchrun::CoordinatorArgs),
    #[command(name = petctl_ui::program::GUARD, hide = true)]
    Guard(guard::GuardArgs),
    Completions(completions::CompletionsArgs),
}

const EXAMPLES: &str = "\
Examples:
  petctl run job.toml             run a job, or go on with it
  petctl status                   how the latest job stands
  petctl logs resim --failed      what the shards that failed have printed
  petctl explain resim a.xml      why that shard failed, and the command that runs it here";

/// Said below `petctl --help`.
pub(crate) fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", petctl_ui::exit::TABLE)
}
