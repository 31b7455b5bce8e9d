//! The one table of the job file's keys. The parser, the JSON schema and the reference page all read it.

mod reference;
mod schema;
mod tables;

pub(crate) use tables::ROOT;

pub use reference::{EXAMPLE, reference};
pub use schema::{schema, schema_text};

/// Most arguments a command may have, its program included.
pub const MAX_ARGUMENTS: usize = 256;
/// Longest command in bytes, over all its arguments.
pub const MAX_COMMAND_BYTES: usize = 128 * 1024;
/// Longest string the job file may hold where no other bound is said, in bytes.
pub const MAX_TEXT_BYTES: usize = 4_096;
/// Most entries of `env` or `params`.
pub const MAX_ENTRIES: usize = 256;
/// Most GPUs a worker may offer.
pub const MAX_GPUS: u32 = 1_024;
/// Most retries that one kind of failure may have.
pub const MAX_RETRIES: u32 = 10_000;
/// Longest duration the job file may name: 365 days, in ms.
pub const MAX_DURATION_MS: u64 = 365 * 24 * 3_600 * 1_000;
/// Longest first backoff: a minute, in ms.
pub const MAX_BACKOFF_MS: u64 = 60_000;
/// Most CPUs that one attempt may ask for, in thousandths.
pub const MAX_CPU_MILLI: u32 = 10_000_000;
/// Most memory that one attempt may ask for: a PiB, in MiB.
pub const MAX_MEMORY_MIB: u64 = 1 << 30;
/// Fewest bytes of staged inputs that a worker may be told to keep.
pub(crate) const MIN_STAGE_BYTES: u64 = 1 << 20;
/// Inputs that a worker keeps staged where the job file does not say, in bytes.
pub const DEFAULT_STAGE_BYTES: u64 = 10 << 30;
/// Environment variables that start with this are petctl's own.
pub const RESERVED_ENV: &str = "PETCTL_";
/// Fewest and most bytes of log kept per attempt.
pub const LOG_BYTES: (u64, u64) = (1_024, 1 << 30);

/// One key of the job file.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) presence: Presence,
    /// A value in TOML; shown in fixes and in the reference.
    pub(crate) example: &'static str,
    pub(crate) doc: &'static str,
}

/// Whether a key must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    Optional,
    /// A literal that is valid in TOML and in JSON.
    Default(&'static str),
}

/// What a key's value looks like.
pub(crate) enum Shape {
    Name,
    Text,
    Duration {
        max_ms: u64,
    },
    Bytes {
        min: u64,
        max: u64,
    },
    Integer {
        min: u64,
        max: u64,
    },
    /// A whole number from 1, or one of a few words.
    Count {
        max: u32,
        words: &'static [Choice],
    },
    /// A number from 0 to 1.
    Share,
    /// A whole number of shards from 1, or a percentage of them.
    CountOrPercent,
    /// A number that is kept in thousandths.
    Thousandths {
        max: u32,
    },
    Switch,
    Choice(&'static [Choice]),
    Texts {
        max: usize,
    },
    /// A list of exit codes, none of them 0.
    ExitCodes,
    /// `env:NAME` or `file:PATH`; a value of another kind is never repeated in a message.
    Secret,
    /// Strings, whole numbers, numbers or booleans by name.
    Scalars(NameRule),
    /// A list of strings or whole numbers.
    Keys,
    /// `[first, end]`, without the end.
    Range,
    /// `[first, last]`, both included.
    Dates,
    Step,
    Table(&'static [Key]),
    /// `[[name]]`.
    Tables(&'static [Key]),
    /// A table of axes, each a list or a table of these keys.
    Matrix(&'static [Key]),
}

impl Shape {
    /// The keys of the table it is, or of each of its tables.
    pub(crate) fn keys(&self) -> Option<&'static [Key]> {
        if let Self::Table(keys) | Self::Tables(keys) = self {
            Some(keys)
        } else {
            None
        }
    }

    /// Where it is a table of its own in the file: how its header is written.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let repeated = matches!(self, Self::Tables(_));
        self.keys().map(|_| {
            if repeated {
                format!("[[{name}]]")
            } else {
                format!("[{name}]")
            }
        })
    }
}

/// How the names inside a table of scalars look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameRule {
    Environment,
    Parameter,
    Container,
}

/// One value of a key that has a few.
pub(crate) struct Choice {
    pub(crate) value: &'static str,
    pub(crate) doc: &'static str,
}

/// The key of that name.
pub(crate) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}
