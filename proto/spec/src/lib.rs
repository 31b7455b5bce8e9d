//! The job file: its types, how it is read and checked, and the shards it names.
//!
//! Pure: nothing here opens a file, reads a clock or speaks to a network. Reading goes one way:
//! text -> [`parse()`] (spans, unknown keys, types) -> [`JobSpec`] (checked, defaults filled in) -> [`shards`] (keys).
//! The lines of a [`manifest`] are read as the launcher hands them over. `file` turns text into tables with places,
//! `parts` reads each table, `model` is what comes of it, and `check` asks a job from the network for the same.
//!
//! One table of keys drives the parser, the JSON schema ([`schema()`]) and the reference ([`reference()`]).

mod check;
mod file;
mod keys;
mod model;
mod parts;
pub mod shards;

pub use check::{SpecError, parse_spec_json};
pub use file::{MAX_JOB_FILE_BYTES, parse};
pub use keys::{
    DEFAULT_STAGE_BYTES, EXAMPLE, LOG_BYTES, MAX_ARGUMENTS, MAX_BACKOFF_MS, MAX_COMMAND_BYTES,
    MAX_CPU_MILLI, MAX_DURATION_MS, MAX_ENTRIES, MAX_GPUS, MAX_MEMORY_MIB, MAX_RETRIES,
    MAX_TEXT_BYTES, RESERVED_ENV, reference, schema, schema_text,
};
pub use model::*;
pub use parts::per_shard;
pub use petctl_keyed::{
    FileError as JobFileError, FileErrors as JobFileErrors, Location, MAX_OVERRIDES, resolve_path,
};
pub use petctl_text::{
    MAX_RENDERED_BYTES, Placeholder, Placeholders, Template, TemplateError, format_duration_ms,
    is_identifier, is_name, parse_bytes, parse_duration_ms, render,
};
pub use shards::key::{
    KeyError, KeyProblem, MAX_COMPONENT_BYTES, MAX_KEY_BYTES, RESERVED_PREFIX, check_key,
    check_keys,
};
pub use shards::manifest;
pub use shards::{ONCE_KEY, ShardGlob, ShardKeys, ShardSourceError, TRAIN_KEY};
