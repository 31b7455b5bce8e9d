//! What commands print for programs with `-o json`: one type for each output.
//!
//! A command makes its output's type and [`print()`]s it; nobody writes JSON by hand. The schemas in `docs/json` are made
//! from these types.
//!
//! One word for one thing, in all of them: `shard` is a key and `index` its number, `worker` a worker's name, `message` a
//! sentence for people, `rows` a list of shards. A duration ends in `_ms`, a moment in `at_ms`. A key is always there;
//! what is unknown or is not so is null.

mod action;
mod event;
mod explain;
mod job;
mod place;
mod schema;
mod shard;
mod stage;
mod storage;
mod training;
mod transfer;
mod validation;
mod words;

pub use self::action::{Drained, Recorded, Resumed, Suspended};
pub use self::event::Event;
pub use self::explain::{Explained, Explanation};
pub use self::job::{Jobs, Listed, Member, Reason, Report, Status, Summary, Workers};
pub use self::place::{Place, PlaceSettings, Places, Setting, Source, SourceKind};
pub use self::schema::schemas;
pub use self::shard::{Detail, Failed, Failures, Shard};
pub use self::stage::Stage;
pub use self::storage::{Entries, Entry};
pub use self::training::{Cause, Checkpoint, Master, Training};
pub use self::transfer::{
    Archived, FileError, Planned, PlannedFile, PlannedLink, Stopped, Transfer, Transferred,
    Verified,
};
pub use self::validation::{CheckedStage, Location, Need, Validation, Wrong};
pub use self::words::{Charge, JobState, MemberState, Phase, ShardState, StageKind, Verdict};

use petctl_ui::terminal::Output;
use schemars::JsonSchema;
use serde::Serialize;

/// Of all JSON that the program prints. It grows when a key changes its meaning or goes away; keys may be added.
pub const SCHEMA_VERSION: u32 = 2;

/// An output with its version.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document<T> {
    /// Grows when a key changes its meaning or goes away; keys may be added.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: u32,
    #[serde(flatten)]
    body: T,
}

impl<T> Document<T> {
    /// Of this program's version.
    pub fn new(body: T) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            body,
        }
    }
}

/// Prints the output of a command.
pub fn print(out: &Output, body: impl Serialize) {
    out.json(&Document::new(body));
}

/// Prints one of many outputs, each on a line of its own.
pub fn print_line(out: &Output, body: impl Serialize) {
    out.json_line(&Document::new(body));
}
