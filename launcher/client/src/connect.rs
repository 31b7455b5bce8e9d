//! Options that name a coordinator.

use clap::Args;
use petctl_tls::{TlsError, Trust};
use petctl_ui::error::{Code, Error, Result};
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

    /// Coordinator to ask, instead of the jobs of this machine: https://HOST:PORT, or http:// without TLS.
    #[arg(
        long,
        value_name = "URL",
        env = "PETCTL_COORDINATOR",
        hide_env_values = true,
        help_heading = "Coordinator"
    )]
    pub coordinator: Option<String>,

    /// File with the coordinator's CA, for https://: `tls/ca.pem` of its state. Nobody else is trusted.
    #[arg(
        long,
        value_name = "FILE",
        env = "PETCTL_CA_FILE",
        hide_env_values = true,
        help_heading = "Coordinator"
    )]
    pub ca_file: Option<PathBuf>,

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

impl ConnectArgs {
    /// Whom to trust at this address; `None` where it is plain text.
    ///
    /// # Errors
    /// Where the address and `--ca-file` contradict each other, or the file can't be read.
    pub fn trust(&self, address: &str) -> Result<Option<Trust>> {
        let file = self.ca_file.as_ref();
        let file = file.filter(|file| !file.as_os_str().is_empty());
        match (address.starts_with("https://"), file) {
            (false, None) => Ok(None),
            (true, Some(file)) => Trust::file(file)
                .map(Some)
                .map_err(|error| not_trusted(&error)),
            (true, None) => Err(Error::new(
                Code::CaFile,
                format!("{address} is to be called with TLS, and no CA was given"),
            )
            .fix("give --ca-file FILE; the coordinator says at its start where its CA is")),
            (false, Some(_)) => Err(Error::new(
                Code::BadAddress,
                format!("a CA was given for {address}, which is plain text"),
            )
            .fix("write https://; or leave --ca-file and PETCTL_CA_FILE out")),
        }
    }
}

fn not_trusted(error: &TlsError) -> Error {
    Error::new(error.code(), error.to_string()).fix(error.fix())
}

/// Why the coordinator at this address is not trusted.
pub(crate) fn untrusted(address: &str, error: &TlsError) -> Error {
    let what = format!("the coordinator at {address} is not trusted: {error}");
    Error::new(error.code(), what).fix(error.fix())
}
