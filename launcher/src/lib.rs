//! The launcher: the `petctl` program.
//!
//! Data goes one way: command line (`cli`) -> a command (`commands`) -> job file and listed shards (`petctl-job`) -> a
//! coordinator (`petctl-client`) that a run (`petctl-run`) brings up, with workers of a place (`petctl-places`), or that
//! is there -> what it says is shown (`petctl-report`, `petctl-ui`). How it ends is in [`Exit`].

mod cli;
mod commands;
#[cfg(test)]
mod mistyped;
mod old;

pub use petctl_ui::{Code, Error, Exit, Result};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use cli::Cli;
use commands::Command;
use petctl_job::Context;
use petctl_ui::terminal::{Output, unwritten};
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

/// First descriptor that is no standard stream.
const FIRST_OTHER: i32 = 3;

/// Runs the program with this process's arguments, to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    report_panics();
    pass_nothing_on();
    if let Some(arguments) = petctl_torchrun::asked_for(std::env::args_os()) {
        return petctl_torchrun::main(arguments, cli::VERSION).into();
    }
    let line = match old::translated(std::env::args_os()) {
        Ok(line) => line,
        Err(error) => {
            Output::new(false, false).error(&error);
            return error.exit().into();
        }
    };
    let cli = match Cli::try_parse_from(&line.words) {
        Ok(cli) => cli,
        Err(error) => return command_line(error, &line.words).into(),
    };
    let detached = matches!(&cli.command, Command::Run(args) if args.is_detached_child());
    let out = Output::new(cli.global.quiet, detached);
    for warning in &line.warnings {
        out.warn(warning);
    }
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let context = Context::new(out, cli.global.home.clone(), cli::VERSION);
        let ended = commands::dispatch(&context, cli.command, Cli::command);
        let exit = ended.unwrap_or_else(|error| {
            context.out.error(&error);
            error.exit()
        });
        Ok(match context.out.failure() {
            None => exit,
            Some(error) => {
                context.out.error(&error);
                // How the job ended says more than that nobody could read it.
                if exit == Exit::Success {
                    error.exit()
                } else {
                    exit
                }
            }
        })
    }));
    let exit = match outcome {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            let error: Error = error;
            Output::new(false, false).error(&error);
            error.exit()
        }
        // The hook has said what it was.
        Err(_panic) => Exit::Bug,
    };
    exit.into()
}

/// Help and version go to stdout, what is wrong with the command line to stderr.
fn command_line(error: clap::Error, words: &[OsString]) -> Exit {
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let helps = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    let printed = if asked || helps {
        error.print()
    } else {
        petctl_ui::mistyped::print(&petctl_ui::mistyped::with_hint(
            error,
            Cli::command(),
            words,
        ))
    };
    if let Err(cause) = printed
        && cause.kind() != io::ErrorKind::BrokenPipe
    {
        let error = unwritten(&cause);
        Output::new(false, false).error(&error);
        return error.exit();
    }
    if asked { Exit::Success } else { Exit::Usage }
}

/// What this process was started with stays its own: a lock or a pipe that a caller left open is not held by workers and
/// commands, nor by a run in the background. What they are meant to have is opened later, and handed to them by name.
fn pass_nothing_on() {
    close_fds::set_fds_cloexec(FIRST_OTHER, &[]);
}

/// A panic is a bug of petctl: it says so, with what is needed to mend it.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        let payload = panic.payload();
        let said = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let error = Error::new(
            Code::Bug,
            format!("petctl {} has a bug{place}: {said}", cli::VERSION),
        )
        .fix("report it with this line; the job can be resumed: run the same command again");
        Output::new(false, false).error(&error);
    }));
}
