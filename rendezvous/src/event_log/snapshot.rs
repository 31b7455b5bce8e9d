//! A state in chunks, written as it is encoded: never twice in memory.

use super::{LogError, batch};
use petctl_core::State;
use postcard::ser_flavors::Flavor;
use redb::{ReadableTable, Table};
use std::path::Path;

/// Most bytes of a chunk.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Writes the state into an empty table. Returns its size in bytes.
pub(super) fn write(
    path: &Path,
    table: &mut Table<'_, u64, &'static [u8]>,
    state: &State,
) -> Result<u64, LogError> {
    let mut chunks = Chunks {
        table,
        chunk: batch::unsealed(),
        written: 0,
        bytes: 0,
        failed: None,
    };
    let encoded = postcard::serialize_with_flavor(state, &mut chunks);
    let last = chunks.flush();
    if let Some(error) = chunks.failed {
        return Err(LogError::from_redb("write", path, error));
    }
    encoded.and(last).map_err(|error| {
        LogError::corrupt(path, format!("the state can't be encoded ({error})"))
    })?;
    Ok(chunks.bytes)
}

/// Reads the state back.
pub(super) fn read(
    path: &Path,
    table: &impl ReadableTable<u64, &'static [u8]>,
) -> Result<State, LogError> {
    let corrupt = |what: String| LogError::corrupt(path, format!("in the snapshot, {what}"));
    let failed = |error: redb::StorageError| LogError::from_redb("read", path, error);
    let mut bytes = Vec::new();
    for (index, entry) in table.iter().map_err(failed)?.enumerate() {
        let (key, value) = entry.map_err(failed)?;
        if key.value() != index as u64 {
            return Err(corrupt("a chunk is missing".to_owned()));
        }
        bytes.extend_from_slice(batch::open(value.value()).map_err(corrupt)?);
    }
    postcard::from_bytes(&bytes)
        .map_err(|error| corrupt(format!("the state is not readable ({error})")))
}

struct Chunks<'a, 'txn> {
    table: &'a mut Table<'txn, u64, &'static [u8]>,
    chunk: Vec<u8>,
    written: u64,
    bytes: u64,
    failed: Option<redb::StorageError>,
}

impl Chunks<'_, '_> {
    fn flush(&mut self) -> postcard::Result<()> {
        batch::seal(&mut self.chunk);
        if let Err(error) = self.table.insert(self.written, self.chunk.as_slice()) {
            self.failed = Some(error);
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.written += 1;
        self.bytes += self.chunk.len() as u64;
        self.chunk = batch::unsealed();
        Ok(())
    }
}

impl Flavor for &mut Chunks<'_, '_> {
    type Output = ();

    fn try_extend(&mut self, mut data: &[u8]) -> postcard::Result<()> {
        while self.chunk.len() + data.len() > CHUNK_BYTES {
            let (fits, rest) = data.split_at(CHUNK_BYTES - self.chunk.len());
            self.chunk.extend_from_slice(fits);
            self.flush()?;
            data = rest;
        }
        self.chunk.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
