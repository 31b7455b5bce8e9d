//! From the format of the release before to this one's, and who wrote a log.
//!
//! What was found is kept beside, whole, before anything is changed: that is the way back. The change itself is one
//! transaction. A start that is killed anywhere in between finds the old format again, and begins anew.

use super::redb_log::FORMAT_VERSION;
use super::replay::{FORMAT, META};
use super::{LogError, replay};
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, TableDefinition, TableError,
    WriteTransaction,
};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The oldest format that is read, and brought to this one's by a coordinator that starts.
///
/// | Format | What it added |
/// |---|---|
/// | 5 | the table `written`; records and snapshots are those of format 4 |
pub const OLDEST_FORMAT: u64 = 4;

/// Who wrote the log last. Every later format keeps this table, so that whoever can't read the rest can name them.
const WRITTEN: TableDefinition<'static, &'static str, &'static str> =
    TableDefinition::new("written");
/// Version and commit of the program.
const RELEASE: &str = "release";
/// When it first wrote here.
const SINCE: &str = "since";

/// The name under which a log is kept beside as it was in this format.
#[must_use]
pub fn copy_name(format: u64) -> String {
    format!("coordinator.redb.format-{format}")
}

/// Keeps the log beside as it is, in the place of what an earlier upgrade has kept. Nobody has it open.
pub(super) fn keep_copy(path: &Path, format: u64) -> Result<PathBuf, LogError> {
    let copy = path.with_file_name(copy_name(format));
    let unfinished = path.with_file_name(format!("{}.unfinished", copy_name(format)));
    let made = copy_whole(path, &unfinished).and_then(|()| fs::rename(&unfinished, &copy));
    if let Err(source) = made.and_then(|()| sync_folder(path)) {
        // Where there is no room, it is not to take up the last of it.
        let _nothing_made = fs::remove_file(&unfinished);
        return Err(LogError::from_io("write", &copy, source));
    }
    Ok(copy)
}

fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// A new name must outlive a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Brings an older format to this one: all of it or nothing.
pub(super) fn raise(database: &Database, release: &str) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction
        .open_table(META)?
        .insert(FORMAT, FORMAT_VERSION)?;
    sign(&transaction, release)?;
    transaction.commit()?;
    Ok(())
}

/// Says who writes from here on, where it was somebody else.
pub(super) fn sign_if_other(database: &Database, release: &str) -> Result<(), redb::Error> {
    let written = written_by(&database.begin_read()?)?;
    if written.is_some_and(|written| written.release == release) {
        return Ok(());
    }
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    sign(&transaction, release)?;
    transaction.commit()?;
    Ok(())
}

/// Says who writes from here on.
pub(super) fn sign(transaction: &WriteTransaction, release: &str) -> Result<(), redb::Error> {
    let since = petctl_output::timestamp::rfc3339(SystemTime::now());
    let mut table = transaction.open_table(WRITTEN)?;
    table.insert(RELEASE, release)?;
    table.insert(SINCE, since.as_str())?;
    Ok(())
}

/// Who wrote a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenBy {
    /// Version and commit of the program.
    pub release: String,
    /// When it first wrote there.
    pub since: String,
}

/// Who wrote it; `None`: a format that did not say.
pub(super) fn written_by(transaction: &ReadTransaction) -> Result<Option<WrittenBy>, redb::Error> {
    let table = match transaction.open_table(WRITTEN) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (release, since) = (table.get(RELEASE)?, table.get(SINCE)?);
    Ok(release.zip(since).map(|(release, since)| WrittenBy {
        release: release.value().to_owned(),
        since: since.value().to_owned(),
    }))
}

/// The format of a log, if it is one that this program reads.
pub(super) fn readable_format(path: &Path, database: &Database) -> Result<u64, LogError> {
    let failed = |error: redb::Error| LogError::from_redb("read", path, error);
    let transaction = database
        .begin_read()
        .map_err(|error| failed(error.into()))?;
    let dir = path.parent().unwrap_or(path).to_owned();
    let Some(found) = replay::format(path, &transaction)? else {
        return Err(LogError::corrupt(path, "it is no log of a coordinator"));
    };
    if found < OLDEST_FORMAT {
        return Err(LogError::VersionOlder {
            dir,
            found,
            known: OLDEST_FORMAT,
        });
    }
    if found <= FORMAT_VERSION {
        return Ok(found);
    }
    // The newest of what this program reads.
    let copies = (OLDEST_FORMAT..=FORMAT_VERSION).rev().map(copy_name);
    let copy = copies
        .map(|name| dir.join(name))
        .find(|copy| copy.is_file());
    Err(LogError::VersionNewer {
        found,
        known: FORMAT_VERSION,
        // A table of that name with other contents is no reason to say nothing of the rest.
        written: written_by(&transaction).ok().flatten(),
        copy,
        dir,
    })
}
