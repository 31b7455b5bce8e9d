//! Azure's control plane (Resource Manager) and sign-in (Entra, instance metadata) on this machine, over TLS: for tests
//! and benches of what petctl makes there. It keeps its rules, its delays and its ways to refuse.
//!
//! ```text
//! connection ──▶ serve: record, Hook ──▶ control ──▶ signin                      tokens
//!                                           └──────▶ route: token, version, right, lock ──▶ one file per family
//!                                                      └─▶ operation: begins, and ends by the clock
//! ```
//!
//! Shapes are those of recordings of the service (`places/azure/tests/transcripts`) and of its published schemas. What
//! it does not do, on purpose:
//! - It runs nothing: a cluster has no API server, an account no blobs.
//! - It looks at no signature of an assertion; of a managed identity, issuer and subject must fit a credential.
//! - Of the api-versions of clusters, only the bodies of 2026-05-01 are held to a schema.
//! - Templates (`Microsoft.Resources/deployments`) are not served.

mod answer;
mod assignment;
mod cluster;
mod compute;
mod control;
mod group;
mod identity;
mod operation;
mod registry;
mod request;
mod rights;
mod route;
mod serve;
mod signin;
mod state;
mod storage;
mod subscription;
mod world;

pub use world::{CLIENT, Client, Region, SECRET, SUBSCRIPTION, TENANT, World};

use control::Control;
use serde_json::Value;
use serve::Shared;
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use tokio::runtime::{Builder, Runtime};

/// Where the port stands, so that addresses of operations hold after a restart.
const PORT_FILE: &str = "port";

/// A request that was answered, or was not.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Its `api-version`; empty where there is none.
    pub api_version: String,
    /// Its query as it came.
    pub query: String,
    /// Its body: JSON, or a string where it is something else.
    pub body: Option<Value>,
    /// The status of its answer; 0 where it has none yet, or never had.
    pub status: u16,
}

/// What is to happen with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Hook {
    /// It is served.
    Serve,
    /// The connection is closed, and nothing is done.
    DropBefore,
    /// It is done, and the connection is closed before the answer.
    DropAfter,
    /// It is answered so, and nothing is done: status, headers, body.
    Answer(u16, Vec<(String, String)>, Value),
}

/// A control plane on 127.0.0.1, with threads of its own, until it is dropped. Its state is in a folder: one that is
/// started there again goes on with it, at the same port where that is free.
pub struct Azure {
    port: u16,
    folder: PathBuf,
    shared: Arc<Shared>,
    /// Taken at the end.
    runtime: Option<Runtime>,
}

impl Azure {
    /// One with the default world.
    ///
    /// # Panics
    /// As [`Self::with`].
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        Self::with(folder, World::default())
    }

    /// One in a world of its own.
    ///
    /// # Panics
    /// The folder can't be written, or there is no port or no thread.
    #[must_use]
    pub fn with(folder: &Path, world: World) -> Self {
        fs::create_dir_all(folder).expect("a folder for the state");
        let listener = listen(folder).expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let tls = serve::tls::acceptor(folder).expect("a certificate");
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("azure")
            .enable_all()
            .build()
            .expect("threads");
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).expect("a listener")
        };
        let endpoint = format!("https://localhost:{port}");
        let shared = Arc::new(Shared::new(Control::new(
            world,
            endpoint,
            folder.to_owned(),
        )));
        runtime.spawn(serve::accept(listener, tls, Arc::clone(&shared)));
        Self {
            port,
            folder: folder.to_owned(),
            shared,
            runtime: Some(runtime),
        }
    }

    /// Its address, for the control plane, for sign-in and for instance metadata.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// A `petctl.toml` whose place is here, with everything that one may have: twelve resources.
    #[must_use]
    pub fn place_file(&self) -> String {
        include_str!("place.toml")
            .replace("@SUBSCRIPTION@", SUBSCRIPTION)
            .replace("@ENDPOINT@", &self.endpoint())
    }

    /// The certificate of the CA that it is to be trusted by, as PEM.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join(serve::tls::CA_FILE)
    }

    /// All requests since the start, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.seen()
    }

    /// Forgets the requests so far; those for [`Self::on_request`] are numbered on.
    pub fn forget_requests(&self) {
        self.shared.forget();
    }

    /// All resources as GET shows them, by their ids in small letters.
    #[must_use]
    pub fn resources(&self) -> BTreeMap<String, Value> {
        self.shared.control.resources()
    }

    /// Somebody else makes a resource, or changes what it is given over one that the service would make: whole, at once.
    pub fn put(&self, id: &str, body: Value) {
        self.shared.control.by_hand(id, Some(body));
    }

    /// Somebody else removes a resource and all that is in it: at once.
    pub fn remove(&self, id: &str) {
        self.shared.control.by_hand(id, None);
    }

    /// Asks this what to do with every request from now on; the number counts them from 0 since the start.
    pub fn on_request(&self, hook: impl Fn(&Seen, usize) -> Hook + Send + Sync + 'static) {
        self.shared.hook(Arc::new(hook));
    }

    /// Changes the world while it runs.
    pub fn set(&self, change: impl FnOnce(&mut World)) {
        self.shared.control.set(change);
    }
}

fn listen(folder: &Path) -> std::io::Result<TcpListener> {
    let last = fs::read_to_string(folder.join(PORT_FILE)).ok();
    let last = last.and_then(|port| port.trim().parse::<u16>().ok());
    let again = last.and_then(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let listener = match again {
        Some(listener) => listener,
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
    };
    listener.set_nonblocking(true)?;
    fs::write(
        folder.join(PORT_FILE),
        listener.local_addr()?.port().to_string(),
    )?;
    Ok(listener)
}

impl std::fmt::Debug for Azure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Azure")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // On a thread of its own: an async caller may not wait for a runtime's end.
            let _ended = thread::spawn(move || drop(runtime)).join();
        }
    }
}
