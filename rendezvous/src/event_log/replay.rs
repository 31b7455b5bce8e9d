//! What the tables of a log add up to.

use super::{Loaded, LogError, batch, snapshot};
use petctl_core::{Record, State};
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError};
use std::path::Path;

/// Sequence number of a batch's first record, and the batch.
pub(super) const LOG: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("log");
/// Chunks of the snapshot.
pub(super) const SNAPSHOT: TableDefinition<'static, u64, &'static [u8]> =
    TableDefinition::new("snapshot");
/// Named numbers.
pub(super) const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");

pub(super) const FORMAT: &str = "format";
pub(super) const SNAPSHOT_SEQUENCE: &str = "snapshot_sequence";
pub(super) const SNAPSHOT_BYTES: &str = "snapshot_bytes";

/// A log, read.
pub(super) struct Replay {
    pub(super) loaded: Loaded,
    /// Bytes of the log after the snapshot.
    pub(super) log_bytes: u64,
    pub(super) snapshot_bytes: u64,
}

/// The file's format version; `None` if it holds no tables of ours.
pub(super) fn format(path: &Path, transaction: &ReadTransaction) -> Result<Option<u64>, LogError> {
    match transaction.open_table(META) {
        Ok(meta) => {
            let value = meta
                .get(FORMAT)
                .map_err(|error| LogError::from_redb("read", path, error))?;
            Ok(value.map(|value| value.value()))
        }
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(LogError::from_redb("read", path, error)),
    }
}

/// Reads the snapshot, then applies every record after it.
pub(super) fn replay(path: &Path, transaction: &ReadTransaction) -> Result<Replay, LogError> {
    let failed = |error: redb::Error| LogError::from_redb("read", path, error);
    let meta = transaction
        .open_table(META)
        .map_err(|error| failed(error.into()))?;
    let number = |name: &str| -> Result<u64, LogError> {
        let value = meta.get(name).map_err(|error| failed(error.into()))?;
        Ok(value.map_or(0, |value| value.value()))
    };
    let (snapshot_sequence, snapshot_bytes) = (number(SNAPSHOT_SEQUENCE)?, number(SNAPSHOT_BYTES)?);
    let mut state = State::default();
    if snapshot_sequence > 0 {
        let chunks = transaction
            .open_table(SNAPSHOT)
            .map_err(|error| failed(error.into()))?;
        state = snapshot::read(path, &chunks)?;
        if state.sequence != snapshot_sequence {
            return Err(LogError::corrupt(
                path,
                "the snapshot is not the one that was written",
            ));
        }
    }
    let log = transaction
        .open_table(LOG)
        .map_err(|error| failed(error.into()))?;
    let mut log_bytes = 0;
    // The batch that holds the first record may start before it.
    let start = first_key(path, &log, snapshot_sequence + 1)?;
    for entry in log.range(start..).map_err(|error| failed(error.into()))? {
        let (_, value) = entry.map_err(|error| failed(error.into()))?;
        log_bytes += value.value().len() as u64;
        apply(path, &mut state, value.value())?;
    }
    let next_sequence = state.sequence + 1;
    Ok(Replay {
        loaded: Loaded {
            state,
            next_sequence,
        },
        log_bytes,
        snapshot_bytes,
    })
}

/// At most `limit` records from `from_sequence`.
pub(super) fn read(
    path: &Path,
    transaction: &ReadTransaction,
    from_sequence: u64,
    limit: usize,
) -> Result<Vec<Record>, LogError> {
    let failed = |error: redb::Error| LogError::from_redb("read", path, error);
    let log = transaction
        .open_table(LOG)
        .map_err(|error| failed(error.into()))?;
    let start = first_key(path, &log, from_sequence)?;
    let mut records = Vec::new();
    for entry in log.range(start..).map_err(|error| failed(error.into()))? {
        let (_, value) = entry.map_err(|error| failed(error.into()))?;
        for record in batch::decode(value.value()).map_err(|what| in_log(path, what))? {
            let record = record.map_err(|what| in_log(path, what))?;
            if records.len() == limit {
                return Ok(records);
            }
            if record.sequence >= from_sequence {
                records.push(record);
            }
        }
    }
    Ok(records)
}

/// Key of the batch in which `sequence` is or would be.
fn first_key(
    path: &Path,
    log: &impl ReadableTable<u64, &'static [u8]>,
    sequence: u64,
) -> Result<u64, LogError> {
    let failed = |error: redb::StorageError| LogError::from_redb("read", path, error);
    let before = log.range(..=sequence).map_err(failed)?.next_back();
    let key = before
        .transpose()
        .map_err(failed)?
        .map(|(key, _)| key.value());
    Ok(key.unwrap_or(sequence))
}

fn apply(path: &Path, state: &mut State, value: &[u8]) -> Result<(), LogError> {
    for record in batch::decode(value).map_err(|what| in_log(path, what))? {
        let record = record.map_err(|what| in_log(path, what))?;
        if record.sequence <= state.sequence {
            continue;
        }
        if record.sequence != state.sequence + 1 {
            let what = format!("record {} is missing", state.sequence + 1);
            return Err(in_log(path, what));
        }
        state.apply(&record);
    }
    Ok(())
}

fn in_log(path: &Path, what: String) -> LogError {
    LogError::corrupt(path, format!("in the log, {what}"))
}
