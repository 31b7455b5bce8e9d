//! Which coordinator is meant, so that it can be found again when it was away.

use super::{Client, is_away, read_secret};
use crate::ConnectArgs;
use petctl_job::home::JobFolder;
use petctl_rendezvous::{read_endpoint, read_token};
use petctl_text::Secret;
use petctl_ui::error::{Code, Error, Result};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a coordinator may be away while somebody watches.
const PATIENCE: Duration = Duration::from_secs(30);
/// Distance of two attempts to reach it.
const RETRY: Duration = Duration::from_millis(250);

/// A coordinator that can be connected to again.
#[derive(Clone, Debug)]
pub enum Target {
    /// Of `--coordinator`.
    Remote {
        /// Its address.
        address: String,
        /// Its token.
        token: Secret,
    },
    /// That of a job of this machine; its address can change with every start.
    Local(PathBuf),
}

impl Target {
    /// The coordinator of the command line; `None` where none is named.
    pub fn from_args(args: &ConnectArgs) -> Result<Option<Self>> {
        let secret = read_secret(args.token_file.as_deref(), args.token.as_deref())?;
        let Some(address) = args
            .coordinator
            .clone()
            .filter(|address| !address.is_empty())
        else {
            return Ok(None);
        };
        crate::client::check_address(&address)?;
        let token = secret.ok_or_else(|| {
            Error::new(
                Code::Unauthenticated,
                format!("{address} wants a token, and none was given"),
            )
            .fix("give --token-file FILE; the coordinator says at its start where its token is")
        })?;
        Ok(Some(Self::Remote {
            address: address.trim_end_matches('/').to_owned(),
            token,
        }))
    }

    /// The coordinator of a job of this machine.
    pub fn of_job(folder: &JobFolder) -> Self {
        Self::Local(folder.coordinator())
    }

    /// Connects, once.
    pub async fn connect(&self) -> Result<Client> {
        match self {
            Self::Remote { address, token } => Client::connect(address, token).await,
            Self::Local(folder) => {
                let endpoint =
                    read_endpoint(folder).map_err(|error| away(folder).because(&error))?;
                let token = read_token(folder).map_err(|error| away(folder).because(&error))?;
                let (Some(endpoint), Some(token)) = (endpoint, token) else {
                    return Err(away(folder));
                };
                Client::connect(&format!("http://{}", endpoint.address), &token).await
            }
        }
    }

    /// Connects again to a coordinator that was there a moment ago: it may come back.
    pub async fn reconnect(&self) -> Result<Client> {
        let start = Instant::now();
        loop {
            match self.connect().await {
                Ok(client) => return Ok(client),
                Err(error) if !is_away(&error) || start.elapsed() > PATIENCE => return Err(error),
                Err(_away) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

fn away(folder: &std::path::Path) -> Error {
    Error::new(
        Code::CoordinatorUnreachable,
        format!("no coordinator runs on {}", folder.display()),
    )
    .fix("`petctl list` shows which jobs run; `petctl run` goes on with one that was interrupted")
}
