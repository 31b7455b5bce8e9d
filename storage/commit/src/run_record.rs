//! The record of the run that works on an output: read, written and taken away so that of two runs one has it. On a
//! folder under a lock, on a container by conditional writes.

use crate::CommitError;
use futures::StreamExt as _;
use petctl_output::layout::Layout;
use petctl_output::layout::blob::OWN_PREFIX;
use petctl_output::manifest::read_bounded;
use petctl_output::record::{self, MAX_BYTES};
use petctl_output::run::{FILE_NAME, RunRecord};
use petctl_output::write_whole_unsynced;
use petctl_spec::StorageSpec;
use petctl_storage::{Condition, ETag, PutOutcome, SharedStore, StorageError, StorageProblem};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// How often somebody else may change the record under our hands before we give up.
const MAX_ROUNDS: u32 = 20;

/// Where the record of an output is. Calls on a folder block.
#[derive(Clone, Debug)]
pub enum RunPlace {
    /// In a folder.
    Folder(Layout),
    /// In a container.
    Blobs(SharedStore),
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RunRecordError {
    /// The folder does not do what it must.
    #[error(transparent)]
    Folder(#[from] CommitError),
    /// The container does not.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Others changed it all the time.
    #[error("the record of who works on the output does not come to rest")]
    Restless,
}

/// Whose an output is, after an attempt to write its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The record was written.
    Ours,
    /// This run's.
    Theirs(RunRecord),
    /// There is no record that could be renewed: whoever had the output meanwhile has given it back.
    Nobodys,
}

impl RunPlace {
    /// That of an output. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`StorageError`]: the container can't be opened.
    pub fn of(storage: &StorageSpec) -> Result<Self, StorageError> {
        let root = storage.output_root();
        match root.folder() {
            Some(folder) => Ok(Self::Folder(Layout::new(folder))),
            None => Ok(Self::Blobs(petctl_storage::open(&root, &storage.access)?)),
        }
    }

    /// Writes `record` in the place of one that is free; where there is none, unless it `renews` one.
    ///
    /// # Errors
    /// [`RunRecordError`]
    pub async fn put(
        &self,
        record: &RunRecord,
        renews: bool,
        is_free: impl Fn(&RunRecord) -> bool,
    ) -> Result<Whose, RunRecordError> {
        let refused = |found: Option<RunRecord>| match found {
            None if renews => Some(Whose::Nobodys),
            Some(found) if !is_free(&found) => Some(Whose::Theirs(found)),
            Some(_) | None => None,
        };
        let text = record::to_bytes(record).unwrap_or_default();
        match self {
            Self::Folder(layout) => {
                let state = layout.state();
                fs::create_dir_all(&state)
                    .map_err(|error| CommitError::io("make", &state, error))?;
                let path = path(layout);
                let _lock = lock(&state)?;
                if let Some(whose) = refused(read(&path)?) {
                    return Ok(whose);
                }
                write_whole_unsynced(&path, &text)
                    .map_err(|error| CommitError::io("write", &path, error))?;
                Ok(Whose::Ours)
            }
            Self::Blobs(store) => {
                for _ in 0..MAX_ROUNDS {
                    let (found, condition) = match get(store).await? {
                        Some((found, etag)) => (found, Condition::Match(etag)),
                        None => (None, Condition::Absent),
                    };
                    if let Some(whose) = refused(found) {
                        return Ok(whose);
                    }
                    match store.put(&name(), text.clone().into(), &condition).await {
                        Ok(PutOutcome::Done(_)) => return Ok(Whose::Ours),
                        // Somebody was faster; or our own answer was lost, and the record is ours.
                        Ok(PutOutcome::Lost) => {}
                        Err(error) if error.problem == StorageProblem::NotFound => {
                            store.create().await?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(RunRecordError::Restless)
            }
        }
    }

    /// What is there, and can be understood.
    ///
    /// # Errors
    /// [`RunRecordError`]
    pub async fn read(&self) -> Result<Option<RunRecord>, RunRecordError> {
        match self {
            Self::Folder(layout) => Ok(read(&path(layout))?),
            Self::Blobs(store) => Ok(get(store).await?.and_then(|(found, _)| found)),
        }
    }

    /// Takes the record away where it is `ours`; whether it was.
    ///
    /// # Errors
    /// [`RunRecordError`]; what stays grows stale.
    pub async fn remove(&self, ours: impl Fn(&RunRecord) -> bool) -> Result<bool, RunRecordError> {
        match self {
            Self::Folder(layout) => {
                let state = layout.state();
                if !state.is_dir() {
                    return Ok(false);
                }
                let path = path(layout);
                let _lock = lock(&state)?;
                let is_ours = read(&path)?.is_some_and(|found| ours(&found));
                if is_ours {
                    fs::remove_file(&path)
                        .map_err(|error| CommitError::io("remove", &path, error))?;
                }
                Ok(is_ours)
            }
            Self::Blobs(store) => match get(store).await? {
                Some((Some(found), etag)) if ours(&found) => {
                    match store.delete(&name(), Some(&etag)).await {
                        Ok(removed) => Ok(removed),
                        Err(error) if error.problem == StorageProblem::Changed => Ok(false),
                        Err(error) => Err(error.into()),
                    }
                }
                Some(_) | None => Ok(false),
            },
        }
    }
}

/// Whether another run than one of `lineage` has the output folder. Whoever lost it moves nothing of its owner's.
pub(crate) fn is_others(layout: &Layout, lineage: u64) -> Result<bool, CommitError> {
    Ok(read(&path(layout))?.is_some_and(|found| is_named_otherwise(&found, lineage)))
}

/// The same of a container.
pub(crate) async fn is_others_in(store: &SharedStore, lineage: u64) -> Result<bool, StorageError> {
    let found = get(store).await?.and_then(|(found, _)| found);
    Ok(found.is_some_and(|found| is_named_otherwise(&found, lineage)))
}

/// A run that has not submitted its job yet has no lineage.
fn is_named_otherwise(found: &RunRecord, lineage: u64) -> bool {
    !found.lineage.is_empty() && !found.is_of_lineage(lineage)
}

fn path(layout: &Layout) -> PathBuf {
    layout.state().join(FILE_NAME)
}

fn name() -> String {
    format!("{OWN_PREFIX}{FILE_NAME}")
}

/// Looked at and changed under one lock.
fn lock(state: &Path) -> Result<File, CommitError> {
    let lock = File::open(state).map_err(|error| CommitError::io("open", state, error))?;
    lock.lock()
        .map_err(|error| CommitError::io("lock", state, error))?;
    Ok(lock)
}

fn read(path: &Path) -> Result<Option<RunRecord>, CommitError> {
    match read_bounded(path, MAX_BYTES as u64) {
        Ok(text) => Ok(record::from_bytes(&text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(CommitError::io("read", path, error)),
    }
}

/// The record, where it can be understood, and its version.
async fn get(store: &SharedStore) -> Result<Option<(Option<RunRecord>, ETag)>, StorageError> {
    let found = get_record(store, &name()).await?;
    Ok(found.map(|(text, etag)| (record::from_bytes(&text), etag)))
}

/// The text of a small record in a container and its version; of one that is too large, as much as shows that. `None`
/// where there is none.
///
/// # Errors
/// [`StorageError`]
pub async fn get_record(
    store: &SharedStore,
    name: &str,
) -> Result<Option<(Vec<u8>, ETag)>, StorageError> {
    let mut body = match store.get(name, None, None).await {
        Ok(body) => body,
        Err(error) if error.problem == StorageProblem::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    while let Some(piece) = body.bytes.next().await {
        text.extend_from_slice(&piece?);
        if text.len() > MAX_BYTES {
            break;
        }
    }
    Ok(Some((text, body.properties.etag)))
}
