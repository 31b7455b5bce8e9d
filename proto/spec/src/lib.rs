//! The job file: its types, how it is read and checked, and the shards it names.
//!
//! Pure: nothing here opens a file, reads a clock or speaks to a network. Reading goes one way:
//! text -> [`parse()`] (spans, unknown keys, types) -> [`JobSpec`] (checked, defaults filled in) -> [`shards`] (keys).
//! The lines of a [`manifest`] are read as the launcher hands them over.
//!
//! One table of keys drives the parser, the JSON schema ([`schema()`]) and the reference ([`reference()`]).

mod check;
mod command;
mod dates;
mod dispatch;
mod duration;
mod errors;
mod fingerprint;
mod job;
mod keys;
pub mod manifest;
mod matrix;
mod model;
mod needs;
mod overrides;
mod parse;
mod reference;
mod report;
mod root;
mod schema;
mod secret;
mod section;
mod shape;
mod shard_key;
pub mod shards;
mod source;
mod stage;
mod storage;
mod template;
mod train;
mod tree;
mod words;
mod workers;

pub use check::{SpecError, parse_spec_json};
pub use duration::{format_duration_ms, parse_bytes, parse_duration_ms};
pub use errors::{ErrorCode, JobFileError, JobFileErrors, Location};
pub use fingerprint::{canonical_json, canonical_stage_json};
pub use keys::{
    DEFAULT_STAGE_BYTES, LOG_BYTES, MAX_ARGUMENTS, MAX_BACKOFF_MS, MAX_COMMAND_BYTES,
    MAX_CPU_MILLI, MAX_DURATION_MS, MAX_ENTRIES, MAX_GPUS, MAX_MEMORY_MIB, MAX_RETRIES,
    MAX_TEXT_BYTES, RESERVED_ENV,
};
pub use model::*;
pub use needs::per_shard;
pub use overrides::MAX_OVERRIDES;
pub use parse::{MAX_JOB_FILE_BYTES, parse};
pub use reference::{EXAMPLE, reference};
pub use root::{MAX_PREFIX_CHARS, RootProblem, StorageRoot, check_container, is_container_name};
pub use schema::{schema, schema_text};
pub use shard_key::{
    KeyError, KeyProblem, MAX_COMPONENT_BYTES, MAX_KEY_BYTES, RESERVED_PREFIX, check_key,
    check_keys,
};
pub use shards::{ONCE_KEY, ShardGlob, ShardKeys, ShardSourceError, TRAIN_KEY};
pub use storage::resolve_path;
pub use template::{
    MAX_RENDERED_BYTES, Placeholder, Placeholders, Template, TemplateError, render,
};
pub use words::{is_identifier, is_name, is_strange, shown};
