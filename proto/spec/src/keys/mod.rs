//! The one table of the job file's keys. The parser, the JSON schema and the reference page all read it.

mod reference;
mod tables;

pub(crate) use tables::ROOT;

pub use reference::{EXAMPLE, reference};

pub use petctl_keyed::{
    MAX_COMMAND_BYTES, MAX_CPU_MILLI, MAX_DURATION_MS, MAX_ENTRIES, MAX_MEMORY_MIB, MAX_TEXT_BYTES,
    RESERVED_ENV,
};

use serde_json::Value;

/// Most arguments a command may have, its program included.
pub const MAX_ARGUMENTS: usize = 256;
/// Most GPUs a worker may offer.
pub const MAX_GPUS: u32 = 1_024;
/// Most retries that one kind of failure may have.
pub const MAX_RETRIES: u32 = 10_000;
/// Longest first backoff: a minute, in ms.
pub const MAX_BACKOFF_MS: u64 = 60_000;
/// Fewest bytes of staged inputs that a worker may be told to keep.
pub(crate) const MIN_STAGE_BYTES: u64 = 1 << 20;
/// Inputs that a worker keeps staged where the job file does not say, in bytes.
pub const DEFAULT_STAGE_BYTES: u64 = 10 << 30;
/// Fewest and most bytes of log kept per attempt.
pub const LOG_BYTES: (u64, u64) = (1_024, 1 << 30);

/// The schema of a job file (JSON Schema, draft 2020-12), for editors and other tools.
///
/// It says what one key says alone; what keys say of one another (`min` and `max`, circles in `needs`) only
/// [`crate::file::parse()`] checks.
#[must_use]
pub fn schema() -> Value {
    petctl_keyed::document(
        "petctl job file",
        "A job of petctl, in TOML. `petctl validate` checks it in full.",
        ROOT,
    )
}

/// The schema as it is checked in: pretty, with a line break at its end.
#[must_use]
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}
