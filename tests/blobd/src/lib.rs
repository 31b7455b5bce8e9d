//! A blob service that keeps everything in memory and takes next to no processor time, so that what is measured against
//! it is petctl. It speaks as much of Azure's Blob REST API as petctl uses, at addresses as Azurite has them:
//! `http://127.0.0.1:PORT/ACCOUNT/CONTAINER/BLOB`.
//!
//! It makes, describes and deletes containers; writes block blobs whole or block by block, under `If-Match` and
//! `If-None-Match`; reads them whole or a range of them; describes, lists and deletes them. Whatever else is asked for
//! (leases, copies, snapshots, tags, tiers, batches, other kinds of blobs, conditions on times) it answers with 501 and
//! an error code that names it: nothing is taken silently for something else.
//!
//! What it does not do, on purpose:
//! - It checks no signature, no end and no permission of a SAS. A request without any signature it refuses, as Azurite
//!   does; one with a wrong signature it serves.
//! - It believes the MD5 that comes with a body, unless [`BlobdOptions::checks_md5`] is set, and works out none where
//!   none came with the blocks of a blob. Azure's service does that on its own processors, not on ours.
//! - Names of metadata are kept in lower case, as HTTP lets it.
//! - It writes nothing to disk: what is not deleted stays in memory, byte for byte as it came.
//! - A deleted container is gone at once, as in Azurite; Azure's own takes half a minute.

mod answer;
mod blobs;
mod blocks;
mod conditions;
mod containers;
mod listing;
mod pieces;
mod refusal;
mod request;
mod route;
mod serve;
mod store;

pub use petctl_azurite::ACCOUNT;

use petctl_azurite::emulator_access;
use petctl_spec::StorageAccess;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use store::Service;
use tokio::runtime::{Builder, Runtime};

/// How one is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobdOptions {
    /// Threads that serve.
    pub threads: usize,
    /// Whether the MD5 of each body that comes with one is worked out and compared: 1.5 ms for a MiB.
    pub checks_md5: bool,
}

impl Default for BlobdOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            checks_md5: false,
        }
    }
}

/// A running service on 127.0.0.1, with threads of its own. Dropping it ends it, and all its blobs are gone.
#[derive(Debug)]
pub struct Blobd {
    address: SocketAddr,
    endpoint: String,
    /// Taken at the end.
    runtime: Option<Runtime>,
}

impl Blobd {
    /// One on a free port, with one thread.
    ///
    /// # Errors
    /// There is no port, or no thread.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&BlobdOptions::default())
    }

    /// One on a free port.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(options: &BlobdOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("blobd")
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let service = Arc::new(Service::new(options.checks_md5));
        runtime.spawn(serve::accept(listener, service));
        Ok(Self {
            address,
            endpoint: format!("http://{address}/{ACCOUNT}"),
            runtime: Some(runtime),
        })
    }

    /// Its address with the account, as `[storage] endpoint` takes it.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The account's name: the emulator's, for which petctl needs no other credential on this machine.
    #[must_use]
    pub fn account(&self) -> &'static str {
        ACCOUNT
    }

    /// How to reach it with its published key.
    #[must_use]
    pub fn access(&self) -> StorageAccess {
        emulator_access(&self.endpoint)
    }
}

impl Drop for Blobd {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // On a thread of its own: an async caller may not wait for a runtime's end.
            let _ended = thread::spawn(move || drop(runtime)).join();
        }
    }
}
