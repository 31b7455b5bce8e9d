//! A log that is lost with its process.

use super::{EventLog, EventReader, Loaded, LogError};
use petctl_core::{Record, State};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps all records, in memory. Clones share them, so a test can start a second coordinator on the log of a first.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    log: Arc<Kept>,
}

#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Record>>);

impl Kept {
    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventLog for MemoryLog {
    fn load(&mut self) -> Result<Loaded, LogError> {
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

    fn append(&mut self, records: &[Record]) -> Result<(), LogError> {
        self.log.records().extend_from_slice(records);
        Ok(())
    }

    fn snapshot_due(&self) -> bool {
        false
    }

    fn snapshot(&mut self, _state: &State) -> Result<(), LogError> {
        Ok(())
    }

    fn reader(&self) -> Arc<dyn EventReader> {
        Arc::clone(&self.log) as Arc<dyn EventReader>
    }
}

impl EventReader for Kept {
    fn read(&self, from_sequence: u64, limit: usize) -> Result<Vec<Record>, LogError> {
        let records = self.records();
        let start = records.partition_point(|record| record.sequence < from_sequence);
        Ok(records.iter().skip(start).take(limit).cloned().collect())
    }
}
