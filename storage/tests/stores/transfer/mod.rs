//! Transfers against a store that breaks where a test wants it to.

mod files;
mod memory;
mod trees;
