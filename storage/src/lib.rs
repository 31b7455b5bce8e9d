//! Where data is: local folders and Azure Blob containers behind one trait, and what is built on it.
//!
//! [`open`] makes a [`Store`] of a [`StorageRoot`](petctl_spec::StorageRoot). Names below a store have `/` between
//! their parts and never start with one.

mod access;
mod blob;
pub mod emulator;
mod error;
mod folder;
mod identity;
mod named;
mod open;
mod sas;
mod secret;
mod store;

use azure_core::http::HttpClient;
use std::sync::Arc;
use std::time::Duration;

pub use access::{SECRET_VARIABLES, account};
pub use blob::{Patience, SharedKey};
pub use error::{StorageError, StorageProblem};
pub use named::{Named, folder_named, named};
pub use open::{open, open_folder, open_with};
pub use sas::SasToken;
pub use secret::read as read_secret;
pub use store::{
    BlockId, Body, Condition, ETag, Entry, LeftOut, Need, Page, Properties, PutOutcome,
    SharedStore, Store,
};

/// Connections to Azure's other services, over TLS, by the proxy of the environment, with the certificates that the system
/// trusts (`SSL_CERT_FILE`). Silence for longer than `stall` is an error.
///
/// # Errors
/// Where the system gives no connections.
pub fn connections(stall: Duration) -> Result<Arc<dyn HttpClient>, StorageError> {
    Ok(Arc::new(blob::wire::Wire::to_any(false, false, stall)?))
}
