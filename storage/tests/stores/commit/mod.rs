//! The commit, on folders and on blobs.

mod blob;
mod folder;

pub(crate) use blob::{attempt, manifest};
