//! Tables of keys, and the bounds that all files share.

/// Longest command in bytes, over all its arguments.
pub const MAX_COMMAND_BYTES: usize = 128 * 1024;
/// Longest string the job file may hold where no other bound is said, in bytes.
pub const MAX_TEXT_BYTES: usize = 4_096;
/// Most entries of `env` or `params`.
pub const MAX_ENTRIES: usize = 256;
/// Longest duration the job file may name: 365 days, in ms.
pub const MAX_DURATION_MS: u64 = 365 * 24 * 3_600 * 1_000;
/// Most CPUs that one attempt may ask for, in thousandths.
pub const MAX_CPU_MILLI: u32 = 10_000_000;
/// Most memory that one attempt may ask for: a PiB, in MiB.
pub const MAX_MEMORY_MIB: u64 = 1 << 30;
/// Environment variables that start with this are petctl's own.
pub const RESERVED_ENV: &str = "PETCTL_";

/// One key of a file.
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What its value looks like.
    pub shape: Shape,
    /// Whether it must be there.
    pub presence: Presence,
    /// A value in TOML; shown in fixes and in the reference.
    pub example: &'static str,
    /// What it is for.
    pub doc: &'static str,
}

/// Whether a key must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Required,
    /// It need not, and means nothing then.
    Optional,
    /// A literal that is valid in TOML and in JSON.
    Default(&'static str),
}

/// What a key's value looks like.
pub enum Shape {
    /// A name: `^[a-z][a-z0-9-]{0,62}$`.
    Name,
    /// Text that is not empty.
    Text,
    /// A duration.
    Duration {
        /// Longest one.
        max_ms: u64,
    },
    /// A size.
    Bytes {
        /// Smallest one.
        min: u64,
        /// Largest one.
        max: u64,
    },
    /// A whole number.
    Integer {
        /// Smallest one.
        min: u64,
        /// Largest one.
        max: u64,
    },
    /// A whole number from 1, or one of a few words.
    Count {
        /// Largest one.
        max: u32,
        /// The words.
        words: &'static [Choice],
    },
    /// A number from 0 to 1.
    Share,
    /// A whole number of shards from 1, or a percentage of them.
    CountOrPercent {
        /// Most of them.
        max: u64,
    },
    /// A number that is kept in thousandths.
    Thousandths {
        /// Largest one, in thousandths.
        max: u32,
    },
    /// `true` or `false`.
    Switch,
    /// One of a few texts.
    Choice(&'static [Choice]),
    /// A list of texts.
    Texts {
        /// Most of them.
        max: usize,
    },
    /// A list of exit codes, none of them 0.
    ExitCodes,
    /// `env:NAME` or `file:PATH`; a value of another kind is never repeated in a message.
    Secret,
    /// Strings, whole numbers, numbers or booleans by name.
    Scalars(NameRule),
    /// A list of strings or whole numbers.
    Keys {
        /// Most of them.
        max: u64,
    },
    /// `[first, end]`, without the end.
    Range,
    /// `[first, last]`, both included.
    Dates,
    /// A distance of days: `1d`, `1mo`.
    Step,
    /// A table.
    Table(&'static [Key]),
    /// `[[name]]`.
    Tables {
        /// Of each of them.
        keys: &'static [Key],
        /// Most of them.
        max: usize,
    },
    /// A list of tables that is written inside of its table.
    Items {
        /// Of each of them.
        keys: &'static [Key],
        /// Most of them.
        max: usize,
    },
    /// `[name.NAME]`: a table of tables, each under a name of its own.
    Named(&'static [Key]),
    /// A table of axes, each a list or a table of these keys.
    Matrix {
        /// Of an axis that is a table.
        keys: &'static [Key],
        /// Most axes.
        max: usize,
    },
}

impl Shape {
    /// The keys of the table it is, or of each of its tables.
    #[must_use]
    pub fn keys(&self) -> Option<&'static [Key]> {
        if let Self::Table(keys)
        | Self::Tables { keys, .. }
        | Self::Items { keys, .. }
        | Self::Named(keys) = self
        {
            Some(keys)
        } else {
            None
        }
    }

    /// Where it is a table of its own in the file: how its header is written.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        if matches!(self, Self::Tables { .. }) {
            Some(format!("[[{name}]]"))
        } else if matches!(self, Self::Named(_)) {
            Some(format!("[{name}.NAME]"))
        } else if matches!(self, Self::Table(_)) {
            Some(format!("[{name}]"))
        } else {
            None
        }
    }
}

/// How the names inside a table of scalars look.
#[derive(Clone, Copy)]
pub enum NameRule {
    /// Of environment variables.
    Environment,
    /// Of parameters.
    Parameter,
    /// Of things that are folders, each an absolute path.
    Folders {
        /// What is wrong with a name, and the fix.
        check: fn(&str) -> Option<(String, String)>,
        /// The same as a pattern, for schemas.
        pattern: &'static str,
        /// The whole table in a few words.
        doc: &'static str,
    },
    /// Somebody else's, who checks them; each is a text.
    Foreign,
}

/// One value of a key that has a few.
pub struct Choice {
    /// As it is written.
    pub value: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// The key of that name.
#[must_use]
pub fn find<'k>(keys: &'k [Key], name: &str) -> Option<&'k Key> {
    keys.iter().find(|key| key.name == name)
}

/// A key that must be there.
#[must_use]
pub const fn required(
    name: &'static str,
    shape: Shape,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        shape,
        presence: Presence::Required,
        example,
        doc,
    }
}

/// A key that need not be there.
#[must_use]
pub const fn optional(
    name: &'static str,
    shape: Shape,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        shape,
        presence: Presence::Optional,
        example,
        doc,
    }
}

/// A key that need not be there, and what it is then: a literal that is valid in TOML and in JSON.
#[must_use]
pub const fn default(
    name: &'static str,
    shape: Shape,
    default: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        shape,
        presence: Presence::Default(default),
        example,
        doc,
    }
}
