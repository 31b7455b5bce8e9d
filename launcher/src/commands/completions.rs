//! `petctl completions`

use crate::cli::Cli;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use petctl_job::Context;
use petctl_ui::exit::Exit;

/// Prints the completion script of a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl completions bash > ~/.local/share/bash-completion/completions/petctl
  petctl completions zsh > ~/.zfunc/_petctl")]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(context: &Context, args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "petctl", &mut script);
    context.out.data(&script);
    Exit::Success
}
