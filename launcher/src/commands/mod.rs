//! One file per command: its arguments and what it does. A new one is a file here and a line each in [`Command`] and
//! [`dispatch`].

pub(crate) mod cancel;
pub(crate) mod checkpoint;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod delete;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod list;
pub(crate) mod places;
pub(crate) mod prune;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod services;
pub(crate) mod status;
pub(crate) mod storage;
pub(crate) mod suspend;
pub(crate) mod transfer;
pub(crate) mod validate;
pub(crate) mod verify;

use clap::Subcommand;
use cluster::{install_program, secrets, setup, uninstall};
use petctl_job::Context;
use petctl_ui::runtime::block_on;
use petctl_ui::{Exit, Result};
use services::{guard, rendezvous, token, torchrun, worker};
use transfer::{download, upload};

/// All commands, in the order of the help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(alias = "run_job")]
    Run(run::RunArgs),
    #[command(alias = "check_status")]
    Status(status::StatusArgs),
    #[command(alias = "get_logs")]
    Logs(petctl_logs::LogsArgs),
    Scale(scale::ScaleArgs),
    Drain(drain::DrainArgs),
    Suspend(suspend::SuspendArgs),
    Resume(resume::ResumeArgs),
    Cancel(cancel::CancelArgs),
    List(list::ListArgs),
    Prune(prune::PruneArgs),
    Delete(delete::DeleteArgs),
    Report(report::ReportArgs),
    Explain(explain::ExplainArgs),
    Events(events::EventsArgs),
    Validate(validate::ValidateArgs),
    Verify(verify::VerifyArgs),
    Places(places::PlacesArgs),
    Upload(upload::UploadArgs),
    Download(download::DownloadArgs),
    Storage(storage::StorageArgs),
    Checkpoint(checkpoint::CheckpointArgs),
    Configure(petctl_provision::ConfigureArgs),
    Setup(setup::SetupArgs),
    Uninstall(uninstall::UninstallArgs),
    Stop(petctl_provision::StopArgs),
    Start(petctl_provision::StartArgs),
    #[command(alias = "delete_resources")]
    DeleteResources(petctl_provision::DeleteResourcesArgs),
    #[command(alias = "storage_secret")]
    StorageSecret(secrets::StorageSecretArgs),
    #[command(alias = "docker_secret")]
    DockerSecret(secrets::DockerSecretArgs),
    Rendezvous(rendezvous::RendezvousArgs),
    Token(token::TokenArgs),
    Worker(worker::WorkerArgs),
    Torchrun(torchrun::TorchrunArgs),
    #[command(name = "torchrun-coordinator", hide = true)]
    TorchrunCoordinator(torchrun::CoordinatorArgs),
    #[command(name = petctl_ui::program::GUARD, hide = true)]
    Guard(guard::GuardArgs),
    #[command(hide = true)]
    InstallProgram(install_program::InstallProgramArgs),
    Completions(completions::CompletionsArgs),
}

/// Runs a command to its end. `program` makes the whole command line, as clap knows it.
pub(crate) fn dispatch(
    context: &Context,
    command: Command,
    program: fn() -> clap::Command,
) -> Result<Exit> {
    match command {
        Command::Run(args) => run::run(context, args),
        Command::Status(args) => block_on(status::run(context, args)),
        Command::Logs(args) => block_on(petctl_logs::run(context, args)),
        Command::Scale(args) => block_on(scale::run(context, args)),
        Command::Drain(args) => block_on(drain::run(context, args)),
        Command::Suspend(args) => block_on(suspend::run(context, args)),
        Command::Resume(args) => block_on(resume::run(context, args)),
        Command::Cancel(args) => block_on(cancel::run(context, args)),
        Command::List(args) => block_on(list::run(context, args)),
        Command::Prune(args) => block_on(prune::run(context, args)),
        Command::Delete(args) => block_on(delete::run(context, args)),
        Command::Report(args) => block_on(report::run(context, args)),
        Command::Explain(args) => block_on(explain::run(context, args)),
        Command::Events(args) => block_on(events::run(context, args)),
        Command::Validate(args) => block_on(validate::run(context, args)),
        Command::Verify(args) => block_on(verify::run(context, args)),
        Command::Places(args) => places::run(context, &args),
        Command::Upload(args) => block_on(upload::run(context, args)),
        Command::Download(args) => block_on(download::run(context, args)),
        Command::Storage(args) => block_on(storage::run(context, args)),
        Command::Checkpoint(args) => block_on(checkpoint::run(context, args)),
        Command::Configure(args) => petctl_provision::configure(context, &args),
        Command::Setup(args) => block_on(setup::run(context, args)),
        Command::Uninstall(args) => block_on(uninstall::run(context, args)),
        Command::Stop(args) => block_on(petctl_provision::stop(context, args)),
        Command::Start(args) => block_on(petctl_provision::start(context, args)),
        Command::DeleteResources(args) => {
            block_on(petctl_provision::delete_resources(context, args))
        }
        Command::StorageSecret(args) => block_on(secrets::storage(context, args)),
        Command::DockerSecret(args) => block_on(secrets::docker(context, args)),
        Command::InstallProgram(args) => install_program::run(&args),
        Command::Rendezvous(args) => rendezvous::run(context, args),
        Command::Token(args) => token::run(context, args),
        Command::Worker(args) => worker::run(context, args),
        Command::Torchrun(args) => Ok(torchrun::run(context, args)),
        Command::TorchrunCoordinator(args) => torchrun::coordinate(context, &args),
        Command::Guard(args) => guard::run(&args),
        Command::Completions(args) => Ok(completions::run(context, &args, program())),
    }
}
