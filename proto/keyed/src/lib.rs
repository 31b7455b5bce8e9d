//! Files that people write in TOML, read by a table of their keys: every value has its place, and all that is wrong is
//! told at once, with line, key and fix. The same table makes the file's JSON schema and its reference.
//!
//! Pure. [`read_toml`] makes a tree of a text, [`set_key`] changes it, [`Section`] opens one table of it, and [`Report`]
//! collects what is wrong.

mod errors;
mod key;
mod read;
mod reference;
mod report;
mod schema;
mod secret;
mod section;
mod set;
mod shape;
mod tree;

pub use errors::{FileError, FileErrors, Location};
pub use key::{
    Choice, Key, MAX_COMMAND_BYTES, MAX_CPU_MILLI, MAX_DURATION_MS, MAX_ENTRIES, MAX_MEMORY_MIB,
    MAX_TEXT_BYTES, NameRule, Presence, RESERVED_ENV, Shape, default, find, optional, required,
};
pub use read::read_toml;
pub use reference::push_keys;
pub use report::{Kind, Place, Report};
pub use schema::document;
pub use secret::{SecretRef, parse_secret, resolve_path};
pub use section::Section;
pub use set::{MAX_OVERRIDES, Problem, set_key};
pub use tree::{Entry, Node, Table, Value, written};
