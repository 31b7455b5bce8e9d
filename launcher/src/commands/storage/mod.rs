//! `petctl storage`

pub(crate) mod access;
mod cat;
mod create;
pub(crate) mod location;
mod ls;
mod rm;
mod serve;

use clap::{Args, Subcommand};
use petctl_job::Context;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;

/// Looks at blob storage: lists, shows, removes; starts an emulator.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Locations are az://CONTAINER/PREFIX or local paths. The first of these opens a container: --sas-token, --account-key, \
$AZURE_STORAGE_SAS_TOKEN, $AZURE_STORAGE_KEY, $AZURE_STORAGE_CONNECTION_STRING, a workload identity, a managed \
identity, a login of the developer tools (az).

Examples:
  petctl storage ls az://raw/us101
  petctl storage cat az://extracted/us101/summary/all/results_summary.json
  petctl storage rm az://raw/old --recursive --dry-run
  petctl storage serve                  an emulator on this machine"
)]
pub(crate) struct StorageArgs {
    #[command(subcommand)]
    command: StorageCommand,
}

#[derive(Debug, Subcommand)]
enum StorageCommand {
    Ls(ls::LsArgs),
    Cat(cat::CatArgs),
    Rm(rm::RmArgs),
    Create(create::CreateArgs),
    Serve(serve::ServeArgs),
}

pub(crate) async fn run(context: &Context, args: StorageArgs) -> Result<Exit> {
    match args.command {
        StorageCommand::Ls(args) => ls::run(context, args).await,
        StorageCommand::Cat(args) => cat::run(context, args).await,
        StorageCommand::Rm(args) => rm::run(context, args).await,
        StorageCommand::Create(args) => create::run(context, args).await,
        StorageCommand::Serve(args) => serve::run(context, args).await,
    }
}
