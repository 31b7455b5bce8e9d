//! The log in a file of the redb engine.

use super::replay::{FORMAT, LOG, META, SNAPSHOT, SNAPSHOT_BYTES, SNAPSHOT_SEQUENCE};
use super::{
    EventLog, EventReader, KEPT_RECORDS, Loaded, LogError, batch, replay, snapshot, upgrade,
};
use petctl_core::{Record, State};
use redb::{Builder, Database, Durability, ReadableDatabase, WriteTransaction};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// Version of the tables and of what is in them; what each has added stands in `upgrade.rs`.
pub const FORMAT_VERSION: u64 = 5;

/// Name of the file in the state folder.
pub(super) const FILE: &str = "coordinator.redb";

/// The engine's page cache. The log is written once and read at the start.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// A log shorter than this is read faster than a snapshot is worth.
const SNAPSHOT_AFTER_BYTES: u64 = 64 * 1024 * 1024;
/// A snapshot is written when the log since the last one is this many times its size: so the time that snapshots
/// take stays a fraction of the time that the log takes.
const SNAPSHOT_FACTOR: u64 = 4;

/// A log in `coordinator.redb` of a state folder. One commit of the file, synced once, per append.
#[derive(Debug)]
pub struct RedbLog {
    path: PathBuf,
    database: Arc<Database>,
    buffer: Vec<u8>,
    newest: u64,
    log_bytes: u64,
    snapshot_bytes: u64,
    snapshot_after_bytes: u64,
}

impl RedbLog {
    /// Opens the log of this folder, or starts one. The caller holds the folder, and is this release of petctl. A log
    /// of the format before is brought to this one; what it was stays beside it, as [`super::copy_name`] says.
    ///
    /// # Errors
    /// Where the file can't be opened, or is of no format that is read.
    pub fn open(dir: &Path, release: &str) -> Result<Self, LogError> {
        let path = dir.join(FILE);
        if !path
            .try_exists()
            .map_err(|source| LogError::from_io("open", &path, source))?
        {
            create(dir, &path, release)?;
        }
        // A file of no bytes would be taken for a new one, and its loss go unnoticed.
        let length = fs::metadata(&path)
            .map_err(|source| LogError::from_io("open", &path, source))?
            .len();
        if length == 0 {
            return Err(LogError::corrupt(&path, "it is empty"));
        }
        let database = guarded(&path, || open_current(&path, release))?;
        Ok(Self::on(path, database))
    }

    /// A log in a database that was opened in another way.
    #[cfg(test)]
    pub(super) fn in_database(path: &Path, database: Database) -> Result<Self, LogError> {
        initialise(&database, "test").map_err(|error| LogError::from_redb("write", path, error))?;
        Ok(Self::on(path.to_owned(), database))
    }

    #[cfg(test)]
    pub(super) fn set_snapshot_after(&mut self, bytes: u64) {
        self.snapshot_after_bytes = bytes;
    }

    fn on(path: PathBuf, database: Database) -> Self {
        Self {
            path,
            database: Arc::new(database),
            buffer: Vec::new(),
            newest: 0,
            log_bytes: 0,
            snapshot_bytes: 0,
            snapshot_after_bytes: SNAPSHOT_AFTER_BYTES,
        }
    }

    fn failed(&self, error: impl Into<redb::Error>) -> LogError {
        LogError::from_redb("write", &self.path, error)
    }

    fn begin(&self) -> Result<WriteTransaction, LogError> {
        let mut transaction = self
            .database
            .begin_write()
            .map_err(|error| self.failed(error))?;
        transaction
            .set_durability(Durability::Immediate)
            .map_err(|error| self.failed(error))?;
        Ok(transaction)
    }
}

impl EventLog for RedbLog {
    fn load(&mut self) -> Result<Loaded, LogError> {
        let replayed = guarded(&self.path, || {
            let transaction = self
                .database
                .begin_read()
                .map_err(|error| LogError::from_redb("read", &self.path, error))?;
            replay::replay(&self.path, &transaction)
        })?;
        self.newest = replayed.loaded.state.sequence;
        self.log_bytes = replayed.log_bytes;
        self.snapshot_bytes = replayed.snapshot_bytes;
        Ok(replayed.loaded)
    }

    fn append(&mut self, records: &[Record]) -> Result<(), LogError> {
        let transaction = self.begin()?;
        let mut bytes = 0;
        {
            let mut log = transaction
                .open_table(LOG)
                .map_err(|error| self.failed(error))?;
            for records in records.chunks(batch::MAX_RECORDS) {
                let Some(first) = records.first() else {
                    continue;
                };
                batch::encode(records, &mut self.buffer).map_err(|error| {
                    LogError::corrupt(&self.path, format!("a record can't be encoded ({error})"))
                })?;
                bytes += self.buffer.len() as u64;
                log.insert(first.sequence, self.buffer.as_slice())
                    .map_err(|error| LogError::from_redb("write", &self.path, error))?;
            }
        }
        transaction.commit().map_err(|error| self.failed(error))?;
        self.log_bytes += bytes;
        self.newest = records.last().map_or(self.newest, |last| last.sequence);
        Ok(())
    }

    fn snapshot_due(&self) -> bool {
        self.log_bytes
            > self
                .snapshot_after_bytes
                .max(self.snapshot_bytes.saturating_mul(SNAPSHOT_FACTOR))
    }

    fn snapshot(&mut self, state: &State) -> Result<(), LogError> {
        let transaction = self.begin()?;
        let bytes = {
            transaction
                .delete_table(SNAPSHOT)
                .map_err(|error| self.failed(error))?;
            let mut table = transaction
                .open_table(SNAPSHOT)
                .map_err(|error| self.failed(error))?;
            snapshot::write(&self.path, &mut table, state)?
        };
        {
            let mut meta = transaction
                .open_table(META)
                .map_err(|error| self.failed(error))?;
            meta.insert(SNAPSHOT_SEQUENCE, state.sequence)
                .map_err(|error| self.failed(error))?;
            meta.insert(SNAPSHOT_BYTES, bytes)
                .map_err(|error| self.failed(error))?;
        }
        {
            let mut log = transaction
                .open_table(LOG)
                .map_err(|error| self.failed(error))?;
            // A batch is named by its first record: one that starts before the bound may reach over it, and stays
            // until the bound has passed all of it.
            let bound = state
                .sequence
                .saturating_sub(KEPT_RECORDS + batch::MAX_RECORDS as u64);
            log.retain_in(..bound, |_, _| false)
                .map_err(|error| self.failed(error))?;
        }
        transaction.commit().map_err(|error| self.failed(error))?;
        self.snapshot_bytes = bytes;
        self.log_bytes = 0;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn EventReader> {
        Arc::new(Reader {
            path: self.path.clone(),
            database: Arc::downgrade(&self.database),
        })
    }
}

/// Reads beside the writer. Does not keep the file open when the writer has closed it: another coordinator may
/// have it then.
struct Reader {
    path: PathBuf,
    database: Weak<Database>,
}

impl EventReader for Reader {
    fn read(&self, from_sequence: u64, limit: usize) -> Result<Vec<Record>, LogError> {
        let database = self.database.upgrade().ok_or_else(|| LogError::Closed {
            path: self.path.clone(),
        })?;
        read(&self.path, &database, from_sequence, limit)
    }
}

/// At most `limit` records from `from_sequence`.
pub(super) fn read(
    path: &Path,
    database: &Database,
    from_sequence: u64,
    limit: usize,
) -> Result<Vec<Record>, LogError> {
    guarded(path, || {
        let transaction = database
            .begin_read()
            .map_err(|error| LogError::from_redb("read", path, error))?;
        replay::read(path, &transaction, from_sequence, limit)
    })
}

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Opens a file that is there, in this program's format from here on.
fn open_current(path: &Path, release: &str) -> Result<Database, LogError> {
    let open = || {
        let opened = builder().open(path);
        opened.map_err(|error| LogError::from_redb("open", path, error))
    };
    let failed = |error| LogError::from_redb("write", path, error);
    let database = open()?;
    let format = upgrade::readable_format(path, &database)?;
    if format == FORMAT_VERSION {
        upgrade::sign_if_other(&database, release).map_err(failed)?;
        return Ok(database);
    }
    // Closed, so that the copy is of a file that needs no repair.
    drop(database);
    let copy = upgrade::keep_copy(path, format)?;
    let database = open()?;
    upgrade::raise(&database, release).map_err(failed)?;
    tracing::info!(
        from = format,
        to = FORMAT_VERSION,
        copy = %copy.display(),
        "the state has the format of this petctl now; the copy is the way back"
    );
    Ok(database)
}

/// The engine is written for files that only it writes. Should a damaged one make it panic, that is an error here.
pub(super) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, LogError>,
) -> Result<T, LogError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(LogError::corrupt(path, "its tables contradict each other")))
}

/// A new file is given its name when it is whole, so a crash meanwhile leaves nothing that looks like a log.
fn create(dir: &Path, path: &Path, release: &str) -> Result<(), LogError> {
    let unfinished = dir.join("coordinator.redb.unfinished");
    let failed = |error: redb::Error| LogError::from_redb("write", &unfinished, error);
    match fs::remove_file(&unfinished) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(LogError::from_io("write", &unfinished, source));
        }
        Ok(()) | Err(_) => {}
    }
    let database = builder()
        .create(&unfinished)
        .map_err(|error| failed(error.into()))?;
    initialise(&database, release).map_err(failed)?;
    drop(database);
    fs::rename(&unfinished, path).map_err(|source| LogError::from_io("write", path, source))?;
    // The name itself must outlive a power cut.
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| LogError::from_io("write", dir, source))
}

fn initialise(database: &Database, release: &str) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(LOG)?;
    transaction.open_table(SNAPSHOT)?;
    transaction
        .open_table(META)?
        .insert(FORMAT, FORMAT_VERSION)?;
    upgrade::sign(&transaction, release)?;
    transaction.commit()?;
    Ok(())
}
