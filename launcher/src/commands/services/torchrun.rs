//! `petctl torchrun`, and the coordinator that it starts for several nodes.
//!
//! torchrun's command line has rules of its own, so it is read by `petctl_torchrun`, before anything else looks at it.
//! What is here gives it its place among the commands.

use clap::Args;
use petctl_job::Context;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use std::ffi::OsString;
use std::net::SocketAddr;

/// Starts a training script as torchrun does, with torchrun's flags; `petctl torchrun --help` lists them.
///
/// A link or copy of petctl that is named torchrun does the same.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct TorchrunArgs {
    /// Flags, the script, and the script's own arguments.
    #[arg(
        value_name = "TORCHRUN'S ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<OsString>,
}

/// Only for `petctl --quiet torchrun` and the like: nothing stands between `petctl` and `torchrun` else, and then this is
/// not asked.
pub(crate) fn run(context: &Context, args: TorchrunArgs) -> Exit {
    let number = petctl_torchrun::main(args.arguments, context.version);
    Exit::of_number(number.into()).unwrap_or(Exit::JobFailed)
}

/// The coordinator of a run of several nodes.
#[derive(Debug, Args)]
pub(crate) struct CoordinatorArgs {
    #[arg(long)]
    listen: SocketAddr,
}

pub(crate) fn coordinate(context: &Context, args: &CoordinatorArgs) -> Result<Exit> {
    petctl_torchrun::coordinate(args.listen, context.version)
}
