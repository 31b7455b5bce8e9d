//! A job on its way to a coordinator: its file is read, its shards are listed, what decides about them is digested, and
//! its output's owner is looked up. And what petctl keeps of jobs in its own folder.
//!
//! ```text
//! prepared ──▶ listing (folders, containers, manifests) ──▶ content (digests) ──▶ PreparedJob
//!          └─▶ dated (the date behind an output)
//! owner    whose results an output holds        home    petctl's own folder, one folder per job
//! outputs  which results are there
//! ```

pub mod content;
mod context;
pub mod dated;
mod demands;
pub mod home;
pub mod listing;
pub mod log;
mod names;
pub mod outputs;
pub mod owner;
mod prepared;
pub mod program;
pub mod removal;
pub mod watch;

pub use context::Context;
pub use prepared::{JobFile, Preparation, PreparedJob, canonical};
