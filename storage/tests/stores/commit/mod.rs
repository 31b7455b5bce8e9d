//! The commit, on folders and on blobs.

mod blob;
mod folder;
mod shape;

pub(crate) use blob::{MAKER, attempt, manifest};
