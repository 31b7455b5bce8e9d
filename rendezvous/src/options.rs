//! What a coordinator is started with.

use crate::metrics::KeeperNumbers;
use petctl_core::{Config, Refusal};
use petctl_text::Secret;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to start a coordinator.
#[derive(Clone, Debug)]
pub struct Options {
    /// State folder; made if it is not there.
    pub state_dir: PathBuf,
    /// Where to listen. `None`: on loopback, on the port of the last run if it is free, else on any.
    pub listen: Option<SocketAddr>,
    /// Where to answer probes and to show metrics, over HTTP. `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// The token that clients and workers must show. `None`: that of the state folder, made if it is not there.
    pub token: Option<Secret>,
    /// How it speaks TLS. `None`: it does not, and whoever can read the network reads tokens.
    pub tls: Option<TlsOptions>,
    /// Times and bounds.
    pub config: Config,
    /// Where the log goes.
    pub engine: Engine,
    /// Version of the program, for `endpoint.json`.
    pub program_version: String,
    /// Seed of the core's jitter. `None`: a random one.
    pub seed: Option<u64>,
    /// Who starts the workers of its jobs. `None`: somebody else does, and it need not be told where.
    pub keeper: Option<Arc<dyn PlaceKeeper>>,
}

/// How a coordinator speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Names and addresses in its certificate beside the one that petctl looks at; for other programs.
    pub names: Vec<String>,
    /// How long a certificate lasts. It is renewed when a third of that is over.
    pub life: Duration,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            life: petctl_tls::LIFE,
        }
    }
}

/// Who starts the workers of a coordinator's jobs.
#[async_trait::async_trait]
pub trait PlaceKeeper: std::fmt::Debug + Send + Sync {
    /// From now on the workers of this job are to run so.
    ///
    /// # Errors
    /// Where that can't be, or can't be remembered.
    async fn use_place(&self, job: &str, place_json: &str) -> Result<(), Refusal>;

    /// The namespace in which the pods of a job are, if it keeps them: at once, from memory.
    fn namespace_of(&self, job: &str) -> Option<String>;

    /// What it has to tell whoever looks at metrics: at once, from memory.
    fn numbers(&self) -> KeeperNumbers;

    /// Before anybody is served: whom clients are to trust. The CA is PEM.
    ///
    /// # Errors
    /// Where clients can't be told.
    async fn trust(&self, ca: &str) -> Result<(), Refusal>;
}

impl Options {
    /// The defaults, on this state folder.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            listen: None,
            http: None,
            token: None,
            tls: None,
            config: Config::default(),
            engine: Engine::default(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: None,
            keeper: None,
        }
    }
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// A file of the state folder, durable.
    #[default]
    Redb,
    /// Nowhere: all is lost with the process. For tests.
    Memory,
}
