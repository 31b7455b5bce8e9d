//! One file per command: its arguments and what it does.

pub(crate) mod cancel;
pub(crate) mod checkpoint;
pub(crate) mod completions;
pub(crate) mod delete;
pub(crate) mod download;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod guard;
pub(crate) mod list;
pub(crate) mod logs;
mod plan;
pub(crate) mod rendezvous;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod status;
pub(crate) mod storage;
pub(crate) mod suspend;
pub(crate) mod torchrun;
pub(crate) mod transfer;
pub(crate) mod upload;
pub(crate) mod validate;
pub(crate) mod worker;

use crate::cli::Command;
use petctl_job::Context;
use petctl_ui::runtime::block_on;
use petctl_ui::{Exit, Result};

/// Runs a command to its end.
pub(crate) fn dispatch(context: &Context, command: Command) -> Result<Exit> {
    match command {
        Command::Run(args) => run::run(context, args),
        Command::Status(args) => block_on(status::run(context, args)),
        Command::Logs(args) => block_on(logs::run(context, args)),
        Command::Scale(args) => block_on(scale::run(context, args)),
        Command::Drain(args) => block_on(drain::run(context, args)),
        Command::Suspend(args) => block_on(suspend::run(context, args)),
        Command::Resume(args) => block_on(resume::run(context, args)),
        Command::Cancel(args) => block_on(cancel::run(context, args)),
        Command::List(args) => block_on(list::run(context, args)),
        Command::Delete(args) => block_on(delete::run(context, args)),
        Command::Report(args) => block_on(report::run(context, args)),
        Command::Explain(args) => block_on(explain::run(context, args)),
        Command::Events(args) => block_on(events::run(context, args)),
        Command::Validate(args) => block_on(validate::run(context, args)),
        Command::Upload(args) => block_on(upload::run(context, args)),
        Command::Download(args) => block_on(download::run(context, args)),
        Command::Storage(args) => block_on(storage::run(context, args)),
        Command::Checkpoint(args) => block_on(checkpoint::run(context, args)),
        Command::Rendezvous(args) => rendezvous::run(context, args),
        Command::Worker(args) => worker::run(context, args),
        Command::Torchrun(args) => Ok(torchrun::run(context, args)),
        Command::TorchrunCoordinator(args) => torchrun::coordinate(context, &args),
        Command::Guard(args) => guard::run(&args),
        Command::Completions(args) => Ok(completions::run(context, &args)),
    }
}
