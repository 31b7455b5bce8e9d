//! Where data is: local folders and Azure Blob containers behind one trait, and what is built on it.
//!
//! [`open`] makes a [`Store`] of a [`StorageRoot`](petctl_spec::StorageRoot). Names below a store have `/` between
//! their parts and never start with one.

mod access;
pub mod azurite;
mod blob;
pub mod commit;
mod error;
mod folder;
mod identity;
mod open;
mod sas;
mod secret;
mod store;
pub mod transfer;

pub use access::SECRET_VARIABLES;
pub use blob::Patience;
pub use error::{StorageError, StorageProblem};
pub use open::{open, open_folder, open_with};
pub use sas::SasToken;
pub use store::{
    BlockId, Body, Condition, ETag, Entry, Need, Page, Properties, PutOutcome, SharedStore, Store,
};
