//! What a coordinator is started with.

use petctl_core::Config;
use petctl_text::Secret;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How to start a coordinator.
#[derive(Clone, Debug)]
pub struct Options {
    /// State folder; made if it is not there.
    pub state_dir: PathBuf,
    /// Where to listen. `None`: on loopback, on the port of the last run if it is free, else on any.
    pub listen: Option<SocketAddr>,
    /// The token that clients and workers must show. `None`: that of the state folder, made if it is not there.
    pub token: Option<Secret>,
    /// Times and bounds.
    pub config: Config,
    /// Where the log goes.
    pub engine: Engine,
    /// Version of the program, for `endpoint.json`.
    pub program_version: String,
    /// Seed of the core's jitter. `None`: a random one.
    pub seed: Option<u64>,
}

impl Options {
    /// The defaults, on this state folder.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            listen: None,
            token: None,
            config: Config::default(),
            engine: Engine::default(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: None,
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
