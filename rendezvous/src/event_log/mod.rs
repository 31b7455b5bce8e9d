//! The durable event log behind the coordinator.
//!
//! A [`EventLog`] keeps records and, now and then, a snapshot of the state they lead to. The newest
//! [`KEPT_RECORDS`] records stay readable as events after a snapshot; older ones are dropped with it.

mod batch;
mod error;
mod memory_log;
mod offline;
mod overlay;
mod redb_log;
mod replay;
mod snapshot;
#[cfg(test)]
pub(crate) mod tests;
mod upgrade;

pub use self::error::LogError;
pub use self::memory_log::MemoryLog;
pub use self::offline::{Offline, open_offline};
pub use self::redb_log::{FORMAT_VERSION, RedbLog};
pub use self::upgrade::{OLDEST_FORMAT, WrittenBy, copy_name};

use petctl_core::{Record, State};
use std::sync::Arc;

/// Records that stay readable as events whatever is dropped. More stay until the next snapshot.
pub const KEPT_RECORDS: u64 = 100_000;

/// What a log held when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// All of its records, applied.
    pub state: State,
    /// Sequence number of the next record.
    pub next_sequence: u64,
}

/// A durable log, written by one coordinator.
pub trait EventLog: Send {
    /// Reads all of it. Called once, before anything is appended.
    ///
    /// # Errors
    /// Where it can't be read, or not be understood.
    fn load(&mut self) -> Result<Loaded, LogError>;

    /// Makes these records durable, all of them or none. They follow those of before without a gap.
    ///
    /// # Errors
    /// Where they are not durable. The log must then be opened anew before anything else is done with it.
    fn append(&mut self, records: &[Record]) -> Result<(), LogError>;

    /// Whether the log has grown so much that a snapshot is worth its time.
    fn snapshot_due(&self) -> bool;

    /// Makes this state, that of all records so far, the start of the next [`EventLog::load`], and drops old records.
    ///
    /// # Errors
    /// Where it is not durable; as with [`EventLog::append`].
    fn snapshot(&mut self, state: &State) -> Result<(), LogError>;

    /// Reads events beside the writer.
    fn reader(&self) -> Arc<dyn EventReader>;
}

/// Reads a log's records, also while it is written.
pub trait EventReader: Send + Sync {
    /// At most `limit` records, in order, from `from_sequence` or the first one after it that is still there.
    ///
    /// # Errors
    /// Where the log can't be read.
    fn read(&self, from_sequence: u64, limit: usize) -> Result<Vec<Record>, LogError>;
}
