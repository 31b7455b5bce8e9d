//! Options that name a coordinator.

use clap::Args;
use std::path::PathBuf;

/// How to find a coordinator that was started by `petctl rendezvous`.
#[derive(Clone, Debug, Default, Args)]
pub struct ConnectArgs {
    /// Place of the job, as `petctl places` lists them; `local` is this machine [default: where the job runs].
    #[arg(
        long,
        value_name = "PLACE",
        conflicts_with = "coordinator",
        help_heading = "Coordinator"
    )]
    pub on: Option<String>,

    /// Coordinator to ask, instead of the jobs of this machine: http://HOST:PORT.
    #[arg(
        long,
        value_name = "URL",
        env = "PETCTL_COORDINATOR",
        hide_env_values = true,
        help_heading = "Coordinator"
    )]
    pub coordinator: Option<String>,

    /// File with the coordinator's token.
    #[arg(
        long,
        value_name = "FILE",
        env = "PETCTL_TOKEN_FILE",
        hide_env_values = true,
        help_heading = "Coordinator"
    )]
    pub token_file: Option<PathBuf>,

    /// Where else the token is: env:NAME, file:PATH, or - for stdin. Never the token itself.
    #[arg(long, value_name = "SOURCE", help_heading = "Coordinator")]
    pub token: Option<String>,
}
