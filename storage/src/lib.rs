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
