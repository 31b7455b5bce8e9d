//! A log that is lost with its process.

use super::{EventReader, Loaded, Storage, StorageError};
use petctl_core::{Record, State};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps all records, in memory. Clones share them, so a test can start a second coordinator on the log of a first.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    log: Arc<MemoryLog>,
}

#[derive(Debug, Default)]
struct MemoryLog(Mutex<Vec<Record>>);

impl MemoryLog {
    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    fn load(&mut self) -> Result<Loaded, StorageError> {
        let mut state = State::default();
        for record in self.log.records().iter() {
            state.apply(record);
        }
        let next_sequence = state.sequence + 1;
        Ok(Loaded {
            state,
            next_sequence,
        })
    }

    fn append(&mut self, records: &[Record]) -> Result<(), StorageError> {
        self.log.records().extend_from_slice(records);
        Ok(())
    }

    fn snapshot_due(&self) -> bool {
        false
    }

    fn snapshot(&mut self, _state: &State) -> Result<(), StorageError> {
        Ok(())
    }

    fn reader(&self) -> Arc<dyn EventReader> {
        Arc::clone(&self.log) as Arc<dyn EventReader>
    }
}

impl EventReader for MemoryLog {
    fn read(&self, from_sequence: u64, limit: usize) -> Result<Vec<Record>, StorageError> {
        let records = self.records();
        let start = records.partition_point(|record| record.sequence < from_sequence);
        Ok(records.iter().skip(start).take(limit).cloned().collect())
    }
}
