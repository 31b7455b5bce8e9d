//! The folder of one job.

use super::JobCard;
use super::files::{Lock, make_private, read_bounded, state_error, write_json};
use crate::removal::{NotRemoved, remove_all};
use petctl_spec::JobSpec;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::Meter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the note of what is to be cleared.
const UNCLEARED: &str = "uncleared.json";

/// Checkpoints that are to go once a version of the job is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncleared {
    /// The version that stood before, by its number; 0: none did.
    pub job: u64,
    /// Training stages.
    pub stages: Vec<String>,
}

/// Name of the note of a job's place.
const PLACE: &str = "place.json";

/// Where a job was last run, elsewhere than on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobPlace {
    /// Of this note.
    pub version: u32,
    /// The job's name.
    pub job: String,
    /// The place's name.
    pub place: String,
    /// The place as its backend writes it, as JSON: it is found from everywhere, whatever became of its settings.
    pub settings: String,
    /// The command that goes on with the job.
    pub resume: String,
    /// The job as it is here: its folder is the job file's.
    #[serde(default)]
    pub spec: Option<JobSpec>,
    /// When it was last run, ms since 1970.
    pub started_at_ms: u64,
}

impl JobPlace {
    /// The version that this petctl writes.
    pub const VERSION: u32 = 1;
}

/// The folder of one job.
#[derive(Clone, Debug)]
pub struct JobFolder {
    pub(super) root: PathBuf,
}

impl JobFolder {
    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// State of the job's own coordinator.
    pub fn coordinator(&self) -> PathBuf {
        self.root.join("coordinator")
    }

    /// Logs, locks and identities of its workers.
    pub fn workers(&self) -> PathBuf {
        self.root.join("workers")
    }

    /// What a run in the background says.
    pub fn run_log(&self) -> PathBuf {
        self.root.join("run.log")
    }

    /// Digests of inputs that were read before.
    pub fn hashes(&self) -> PathBuf {
        self.root.join("hashes")
    }

    /// Where workers of this machine work on a job in blob storage.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Is there while lost attempts may have left blobs behind.
    pub fn unswept(&self) -> PathBuf {
        self.root.join("unswept")
    }

    /// Diagnostics of its own coordinator.
    pub fn coordinator_log(&self) -> PathBuf {
        self.root.join("coordinator.log")
    }

    /// Makes the folder and those in it, for this user alone.
    pub fn make(&self) -> Result<()> {
        for folder in [&self.root, &self.workers()] {
            make_private(folder).map_err(|error| state_error(folder, "make", &error))?;
        }
        Ok(())
    }

    /// What was submitted; `None` where nothing was.
    pub fn card(&self) -> Result<Option<JobCard>> {
        let path = self.root.join("job.json");
        let Some(text) = read_bounded(&path).map_err(|error| state_error(&path, "read", &error))?
        else {
            return Ok(None);
        };
        let value: Value =
            serde_json::from_slice(&text).map_err(|error| state_error(&path, "read", &error))?;
        let version = value.get("version").and_then(Value::as_u64).unwrap_or(0);
        if version > u64::from(JobCard::VERSION) {
            return Err(Error::new(
                Code::StateTooNew,
                format!(
                    "{} is of version {version}; this petctl reads up to {}",
                    path.display(),
                    JobCard::VERSION
                ),
            )
            .fix("use the petctl that wrote it, or another folder by --home"));
        }
        serde_json::from_value(value)
            .map(Some)
            .map_err(|error| state_error(&path, "read", &error))
    }

    /// Remembers what was submitted.
    ///
    /// # Errors
    /// Where the folder can't be written.
    pub fn write_card(&self, card: &JobCard) -> Result<()> {
        let path = self.root.join("job.json");
        write_json(&path, card).map_err(|error| state_error(&path, "write", &error))
    }

    /// Where the job was last run from here, if that is noted.
    ///
    /// # Errors
    /// Where the note can't be read.
    pub fn place(&self) -> Result<Option<JobPlace>> {
        let path = self.root.join(PLACE);
        let text = read_bounded(&path).map_err(|error| state_error(&path, "read", &error))?;
        // One that a newer petctl wrote says nothing to this one.
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Notes it.
    ///
    /// # Errors
    /// Where the folder can't be written.
    pub fn write_place(&self, place: &JobPlace) -> Result<()> {
        make_private(&self.root).map_err(|error| state_error(&self.root, "make", &error))?;
        let path = self.root.join(PLACE);
        write_json(&path, place).map_err(|error| state_error(&path, "write", &error))
    }

    /// Forgets it: the job was deleted there.
    ///
    /// # Errors
    /// Where the folder can't be written.
    pub fn remove_place(&self) -> Result<()> {
        let path = self.root.join(PLACE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(state_error(&path, "remove", &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What is to be cleared once the job is accepted; nothing where nothing is, or the note can't be understood.
    pub fn uncleared(&self) -> Result<Option<Uncleared>> {
        let path = self.root.join(UNCLEARED);
        let text = read_bounded(&path).map_err(|error| state_error(&path, "read", &error))?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Notes it.
    pub fn write_uncleared(&self, noted: &Uncleared) -> Result<()> {
        let path = self.root.join(UNCLEARED);
        write_json(&path, noted).map_err(|error| state_error(&path, "write", &error))
    }

    /// It is done.
    pub fn remove_uncleared(&self) -> Result<()> {
        let path = self.root.join(UNCLEARED);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(state_error(&path, "remove", &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes the folder with all that is in it, for a process that holds the job.
    ///
    /// # Errors
    /// Where something can't be removed; it can be called again, since what tells of the job goes last.
    pub async fn remove(&self, meter: &Arc<Meter>) -> Result<()> {
        let failed = |failed: NotRemoved| state_error(&failed.path, "delete", &failed.error);
        let entries =
            fs::read_dir(&self.root).map_err(|error| state_error(&self.root, "list", &error))?;
        let kept = ["job.json", "run.lock"].map(|name| self.root.join(name));
        let others = entries.flatten().map(|entry| entry.path());
        let others = others.filter(|path| !kept.contains(path)).collect();
        remove_all(others, meter).await.map_err(failed)?;
        let root = vec![self.root.clone()];
        remove_all(root, meter).await.map(drop).map_err(failed)
    }

    /// Holds the job for this process; `None` where another one holds it.
    pub fn lock(&self) -> Result<Option<Lock>> {
        let path = self.root.join("run.lock");
        Lock::try_take(&path).map_err(|error| state_error(&path, "lock", &error))
    }

    /// Whether a `petctl run` works on the job now.
    pub fn is_live(&self) -> bool {
        let path = self.root.join("run.lock");
        Lock::is_taken(&path)
    }
}
