//! Which coordinator is meant, so that it can be found again when it was away.

use super::{Client, is_away, read_secret};
use crate::ConnectArgs;
use crate::connect::untrusted;
use petctl_job::Context;
use petctl_job::home::JobFolder;
use petctl_kube::Tunnel;
use petctl_proto::v1::JobSummary;
use petctl_rendezvous::{ca_path, read_endpoint, read_token};
use petctl_settings::{Backend, KubePlace, Override, PLACE_VARIABLE, Places};
use petctl_text::Secret;
use petctl_tls::Trust;
use petctl_ui::error::{Code, Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a coordinator may be away while somebody watches.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same of one in a cluster: its pod may have to move to another node, or the API server be away.
const PATIENCE_WITH_CLUSTERS: Duration = Duration::from_secs(600);
/// How long a single command waits for one whose pod has just been started again.
const START: Duration = Duration::from_secs(10);
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
        /// Its CA; `None`: it speaks plain text.
        trust: Option<Trust>,
    },
    /// That of a place, behind a cluster's API server.
    Place(Tunnel),
    /// That of a job of this machine; its address can change with every start.
    Local(PathBuf),
}

/// Whether the place that the settings name counts where no flag names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// It does: something is to be run.
    Default,
    /// Only `PETCTL_ON` does: jobs remember where they are.
    Remembered,
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
        let trust = args.trust(&address)?;
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
            trust,
        }))
    }

    /// The coordinator that is meant: of `--coordinator`, of the place that `--on` names, or of the settings' own;
    /// `None` where it is this machine's, or nobody said. `start`: where `petctl.toml` is looked for.
    ///
    /// # Errors
    /// Where there is no such place, or the settings can't be read.
    pub fn find(
        args: &ConnectArgs,
        start: &Path,
        sets: &[Override],
        unnamed: Unnamed,
    ) -> Result<Option<Self>> {
        if let Some(target) = Self::from_args(args)? {
            return Ok(Some(target));
        }
        let env = |name: &str| std::env::var(name).ok();
        let named = args.on.is_some() || env(PLACE_VARIABLE).is_some_and(|name| !name.is_empty());
        if !named && unnamed == Unnamed::Remembered {
            return Ok(None);
        }
        let places = Places::find(start, sets, &env)?;
        let (entry, _) = places.choose(args.on.as_deref())?;
        Ok(match &entry.backend {
            Backend::Local => None,
            Backend::Kube(place) => Some(Self::Place(Tunnel::new(&entry.name, place))),
        })
    }

    /// The same for commands that need no job file.
    ///
    /// # Errors
    /// As [`Target::find`].
    pub fn find_here(args: &ConnectArgs) -> Result<Option<Self>> {
        Self::find(args, &here(), &[], Unnamed::Remembered)
    }

    /// Whether a job of its coordinator is one of this place: a coordinator may keep pods in several namespaces.
    #[must_use]
    pub fn has(&self, job: &JobSummary) -> bool {
        let Self::Place(tunnel) = self else {
            return true;
        };
        let place = tunnel.place();
        match job.namespace.as_str() {
            "" => place.keeps_coordinator(),
            namespace => namespace == place.namespace,
        }
    }

    /// The jobs of this place.
    ///
    /// # Errors
    /// Where its coordinator does not answer.
    pub async fn jobs(&self) -> Result<Vec<JobSummary>> {
        let mut jobs = self.connect().await?.jobs().await?;
        jobs.retain(|job| self.has(job));
        Ok(jobs)
    }

    /// The name of its place, where it has one.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        match self {
            Self::Place(tunnel) => Some(tunnel.name()),
            Self::Remote { .. } | Self::Local(_) => None,
        }
    }

    /// The places of the settings that are elsewhere, and those that are remembered of jobs; by their names.
    ///
    /// # Errors
    /// Where the settings can't be read.
    pub fn all_places(context: &Context) -> Result<Vec<Tunnel>> {
        let env = |name: &str| std::env::var(name).ok();
        let places = Places::find(&here(), &[], &env)?;
        let mut all: BTreeMap<String, Tunnel> = BTreeMap::new();
        for entry in places.all() {
            if let Backend::Kube(place) = &entry.backend {
                all.insert(entry.name.clone(), Tunnel::new(&entry.name, place));
            }
        }
        if let Ok(home) = context.home() {
            for (folder, noted) in home.elsewhere() {
                if let Ok(Some(Self::Place(tunnel))) = Self::remembered(&folder) {
                    all.entry(noted.place).or_insert(tunnel);
                }
            }
        }
        Ok(all.into_values().collect())
    }

    /// The place where a job was last run from here, if it was elsewhere than on this machine.
    ///
    /// # Errors
    /// Where what is kept of it can't be read.
    pub fn remembered(folder: &JobFolder) -> Result<Option<Self>> {
        let Some(there) = folder.place()? else {
            return Ok(None);
        };
        let place: KubePlace = serde_json::from_str(&there.settings).map_err(|error| {
            let what = format!(
                "what is kept of job `{}` says nothing of its place",
                there.job
            );
            Error::new(Code::StateFolder, what)
                .because(&error)
                .fix(format!("name its place: --on {}", there.place))
        })?;
        Ok(Some(Self::Place(Tunnel::new(&there.place, &place))))
    }

    /// The coordinator of a job of this machine.
    pub fn of_job(folder: &JobFolder) -> Self {
        Self::Local(folder.coordinator())
    }

    /// Connects, once.
    pub async fn connect(&self) -> Result<Client> {
        match self {
            Self::Remote {
                address,
                token,
                trust,
            } => Client::connect_to(address, token, trust.as_ref()).await,
            Self::Place(tunnel) => {
                let start = Instant::now();
                loop {
                    match Client::through(tunnel).await {
                        Err(error)
                            if error.is(Code::CoordinatorStarting) && start.elapsed() < START =>
                        {
                            tokio::time::sleep(RETRY).await;
                        }
                        connected => return connected,
                    }
                }
            }
            Self::Local(folder) => {
                let endpoint =
                    read_endpoint(folder).map_err(|error| away(folder).because(&error))?;
                let token = read_token(folder).map_err(|error| away(folder).because(&error))?;
                let (Some(endpoint), Some(token)) = (endpoint, token) else {
                    return Err(away(folder));
                };
                let scheme = if endpoint.tls { "https" } else { "http" };
                let address = format!("{scheme}://{}", endpoint.address);
                let trust = endpoint.tls.then(|| Trust::file(ca_path(folder)));
                let trust = trust
                    .transpose()
                    .map_err(|error| untrusted(&address, &error))?;
                Client::connect_to(&address, &token, trust.as_ref()).await
            }
        }
    }

    /// Connects again to a coordinator that was there a moment ago: it may come back.
    pub async fn reconnect(&self) -> Result<Client> {
        let start = Instant::now();
        let patience = match self {
            Self::Place(_) => PATIENCE_WITH_CLUSTERS,
            Self::Remote { .. } | Self::Local(_) => PATIENCE,
        };
        loop {
            match self.connect().await {
                Ok(client) => return Ok(client),
                Err(error) if !is_away(&error) || start.elapsed() > patience => return Err(error),
                Err(_away) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

/// Where settings are looked for by commands without a job file.
#[must_use]
pub fn here() -> PathBuf {
    // One that is gone has no settings.
    std::env::current_dir().unwrap_or_else(|_gone| PathBuf::from("/"))
}

fn away(folder: &Path) -> Error {
    Error::new(
        Code::CoordinatorUnreachable,
        format!("no coordinator runs on {}", folder.display()),
    )
    .fix("`petctl list` shows which jobs run; `petctl run` goes on with one that was interrupted")
}
