//! `petctl completions`

use clap::{Args, Command};
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

/// `program` is the whole command line, as clap knows it.
pub(crate) fn run(context: &Context, args: &CompletionsArgs, mut program: Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "petctl", &mut script);
    context.out.data(&script);
    Exit::Success
}
