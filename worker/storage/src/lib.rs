//! Where data is: local folders and Azure Blob containers behind one trait, and what is built on it.
//!
//! [`open`] makes a [`Store`] of a [`StorageRoot`](petctl_spec::StorageRoot). Names below a store have `/` between
//! their parts and never start with one.

mod error;
pub mod layout;
pub mod manifest;
mod store;

pub use error::{StorageError, StorageProblem};
pub use store::{
    BlockId, Body, Condition, ETag, Entry, Page, Properties, PutOutcome, SharedStore, Store,
};
