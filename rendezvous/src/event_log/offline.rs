//! Looking at a state that nobody coordinates.

use super::overlay::Overlay;
use super::redb_log::{self, FILE, builder, guarded};
use super::{LogError, replay, upgrade};
use crate::driver::{RECENT_RECORDS, Recent};
use crate::folder::FolderLock;
use crate::wire;
use petctl_codes::Code;
use petctl_core::{Config, Core, Millis, Record, Refusal};
use petctl_proto::v1;
use redb::{Database, ReadableDatabase};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A state as its last coordinator left it. While this lives, no coordinator can start on the folder.
#[derive(Debug)]
pub struct Offline {
    core: Core,
    recent: Recent,
    path: PathBuf,
    database: Database,
    _lock: Option<FolderLock>,
}

impl Offline {
    /// To be looked at: jobs, shards, explanations.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The status that a coordinator would show, as of `now`.
    ///
    /// # Errors
    /// `NO_SUCH_JOB`.
    pub fn status(&self, job: &str, now: Millis) -> Result<v1::JobStatus, Refusal> {
        let id = self.core.resolve(job)?;
        let view = self.core.job_view(now, id);
        let view = view.ok_or_else(|| Refusal {
            code: Code::NoSuchJob,
            message: format!("no job is called `{job}`"),
        })?;
        let events = self
            .recent
            .of(id)
            .map(|record| wire::event_row(self.core.state(), record))
            .collect();
        Ok(wire::job_status(view, events, now))
    }

    /// At most `limit` records from `from_sequence`, in order.
    ///
    /// # Errors
    /// Where the log can't be read.
    pub fn events(&self, from_sequence: u64, limit: usize) -> Result<Vec<Record>, LogError> {
        redb_log::read(&self.path, &self.database, from_sequence, limit)
    }
}

/// Reads the state of a folder without changing anything in it, also after a crash, and in the format before as well.
///
/// # Errors
/// `STATE_FOLDER` where there is none, `STATE_IN_USE` where a coordinator runs on it (ask that one), and as for a
/// coordinator's start where it can't be read.
pub fn open_offline(dir: &Path, config: Config, now: Millis) -> Result<Offline, LogError> {
    let path = dir.join(FILE);
    let lock = FolderLock::shared(dir)?;
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LogError::Missing {
                dir: dir.to_owned(),
            });
        }
        Err(source) => return Err(LogError::from_io("read", &path, source)),
    };
    let overlay = Overlay::new(file).map_err(|source| LogError::from_io("read", &path, source))?;
    let (database, replayed) = guarded(&path, || {
        let database = builder()
            .create_with_backend(overlay)
            .map_err(|error| LogError::from_redb("read", &path, error))?;
        upgrade::readable_format(&path, &database)?;
        let transaction = database
            .begin_read()
            .map_err(|error| LogError::from_redb("read", &path, error))?;
        let replayed = replay::replay(&path, &transaction)?;
        Ok((database, replayed))
    })?;
    let core = Core::offline(config, replayed.loaded.state, now);
    let mut recent = Recent::default();
    let from = core.state().sequence.saturating_sub(RECENT_RECORDS);
    for record in redb_log::read(&path, &database, from, usize::MAX)? {
        recent.take(record);
    }
    Ok(Offline {
        core,
        recent,
        path,
        database,
        _lock: lock,
    })
}
