//! The job file: its types, how it is read and checked, and the shards it names.
//!
//! Pure: nothing here opens a file, reads a clock or speaks to a network. Reading goes one way:
//! text -> [`parse`] (spans, unknown keys, types) -> [`JobSpec`] (checked, defaults filled in) -> [`shards`] (keys).

mod model;

pub use model::*;
