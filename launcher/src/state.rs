//! petctl's own folder: one folder per job, found again by every later command.
//!
//! ```text
//! <home>/jobs/<name>/job.json       what was submitted, and where its outputs go
//! <home>/jobs/<name>/run.lock       held by the `petctl run` that works on the job
//! <home>/jobs/<name>/run.log        what a run in the background says
//! <home>/jobs/<name>/coordinator/   the embedded coordinator's state: log, token, address
//! <home>/jobs/<name>/workers/       a log and a lock for each worker
//! <home>/jobs/<name>/hashes         digests of inputs that were read before
//! <home>/jobs/<name>/scratch/       of a job in blob storage: what is staged, logs of attempts
//! <home>/remote/<name>/             the same of a job on a coordinator elsewhere, as far as it is needed
//! ```

use crate::error::{Code, Error, Result};
use crate::marker::Owner;
use petctl_spec::JobSpec;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Most bytes of a file of the launcher's own that are read.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The folder of all jobs of this user.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    root: PathBuf,
}

impl Home {
    /// The given folder, else `$PETCTL_HOME`, else `$XDG_STATE_HOME/petctl`, else `~/.local/state/petctl`.
    pub(crate) fn find(given: Option<PathBuf>) -> Result<Self> {
        let absolute = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let root = given
            .or_else(|| std::env::var_os("PETCTL_HOME").map(PathBuf::from))
            .filter(|path| !path.as_os_str().is_empty())
            .or_else(|| absolute("XDG_STATE_HOME").map(|path| path.join("petctl")))
            .or_else(|| absolute("HOME").map(|path| path.join(".local/state/petctl")));
        let Some(root) = root else {
            return Err(Error::new(
                Code::StateFolder,
                "there is no folder for petctl's state: HOME is not set",
            )
            .fix("name one by --home DIR or PETCTL_HOME"));
        };
        let root =
            std::path::absolute(&root).map_err(|error| state_error(&root, "find", &error))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a job, whether it is there or not.
    pub(crate) fn job(&self, name: &str) -> JobFolder {
        JobFolder {
            root: self.root.join("jobs").join(name),
        }
    }

    /// What is kept here of a job on a coordinator elsewhere.
    pub(crate) fn remote(&self, name: &str) -> JobFolder {
        JobFolder {
            root: self.root.join("remote").join(name),
        }
    }

    /// All jobs, by name. A folder that holds no readable job is left out.
    pub(crate) fn jobs(&self) -> Result<Vec<(JobFolder, JobCard)>> {
        let folder = self.root.join("jobs");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(state_error(&folder, "read", &error)),
        };
        let mut jobs: Vec<(JobFolder, JobCard)> = entries
            .flatten()
            .filter_map(|entry| {
                let folder = JobFolder { root: entry.path() };
                let card = folder.card().ok().flatten()?;
                Some((folder, card))
            })
            .collect();
        jobs.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        Ok(jobs)
    }

    /// The named job; without a name the only one, or the one that was started last.
    pub(crate) fn find_job(&self, name: Option<&str>) -> Result<(JobFolder, JobCard)> {
        let Some(name) = name else {
            return self.latest_job();
        };
        if petctl_spec::is_name(name) {
            let folder = self.job(name);
            if let Some(card) = folder.card()? {
                return Ok((folder, card));
            }
        }
        Err(self.no_such_job(name))
    }

    fn latest_job(&self) -> Result<(JobFolder, JobCard)> {
        self.jobs()?
            .into_iter()
            .max_by_key(|(_, card)| card.started_at_ms)
            .ok_or_else(|| {
                Error::new(
                    Code::NoSuchJob,
                    format!("there is no job yet in {}", self.root.display()),
                )
                .fix("start one: petctl run JOB.toml")
            })
    }

    fn no_such_job(&self, name: &str) -> Error {
        let jobs = self.jobs().unwrap_or_default();
        let names: Vec<&str> = jobs.iter().map(|(_, card)| card.name.as_str()).collect();
        let near = names
            .iter()
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .filter(|(distance, known)| *distance <= known.len().max(name.len()) / 3 + 1)
            .min();
        let fix = match near {
            Some((_, near)) => format!("did you mean `{near}`? `petctl list` shows all jobs"),
            None if Path::new(name).is_file() => {
                format!("`{name}` is a file; commands take the job's name, which `petctl list` shows")
            }
            None => "`petctl list` shows all jobs; another folder's by --home, a coordinator's by --coordinator".into(),
        };
        Error::new(
            Code::NoSuchJob,
            format!("there is no job `{name}` in {}", self.root.display()),
        )
        .fix(fix)
    }
}

/// What the launcher keeps of a job, in `job.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobCard {
    /// Of this file.
    pub(crate) version: u32,
    pub(crate) name: String,
    /// Absolute path of the job file.
    pub(crate) job_file: String,
    /// Overrides of the last run, as they were typed.
    pub(crate) set: Vec<String>,
    /// Absolute folder of the outputs.
    pub(crate) output: String,
    /// Hex of the SHA-256 that tells the same job from another.
    pub(crate) fingerprint: String,
    /// The job itself: to say what changed, and to run one shard of it again.
    pub(crate) spec: JobSpec,
    /// Listed shards of each stage: how many.
    pub(crate) listed: Vec<u64>,
    /// When it was first accepted, ms since 1970.
    pub(crate) accepted_at_ms: u64,
    /// When `petctl run` last worked on it, ms since 1970.
    pub(crate) started_at_ms: u64,
    /// Process id of that `petctl run`.
    pub(crate) pid: u32,
    /// The fingerprint of the version before this one: its output may still be marked with it.
    #[serde(default)]
    pub(crate) before: Option<String>,
    /// The date behind the output, where the job is dated.
    #[serde(default)]
    pub(crate) date: Option<String>,
}

impl JobCard {
    pub(crate) const VERSION: u32 = 1;

    /// Whether an output that is not marked with this job's fingerprint is its own all the same: what was known of it
    /// when it was last run says so.
    pub(crate) fn knows(&self, owner: &Owner, output: &str) -> bool {
        if self.output != output {
            return false;
        }
        match owner {
            Owner::EarlierJob(marker) => {
                marker.fingerprint == self.fingerprint
                    || Some(&marker.fingerprint) == self.before.as_ref()
            }
            // Only the marker is gone.
            Owner::Nobody | Owner::ThisJob | Owner::Strange(_) => true,
            Owner::OtherJob(_) => false,
        }
    }

    /// The command that goes on with this job.
    pub(crate) fn resume_command(&self) -> String {
        let mut words = vec![
            "petctl".to_owned(),
            "run".to_owned(),
            crate::shell::quote(&self.job_file),
        ];
        for set in &self.set {
            words.push("--set".to_owned());
            words.push(crate::shell::quote(set));
        }
        words.join(" ")
    }
}

/// The folder of one job.
#[derive(Clone, Debug)]
pub(crate) struct JobFolder {
    root: PathBuf,
}

impl JobFolder {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn coordinator(&self) -> PathBuf {
        self.root.join("coordinator")
    }

    pub(crate) fn workers(&self) -> PathBuf {
        self.root.join("workers")
    }

    pub(crate) fn run_log(&self) -> PathBuf {
        self.root.join("run.log")
    }

    /// Digests of inputs that were read before.
    pub(crate) fn hashes(&self) -> PathBuf {
        self.root.join("hashes")
    }

    /// Where workers of this machine work on a job in blob storage.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Is there while lost attempts may have left blobs behind.
    pub(crate) fn unswept(&self) -> PathBuf {
        self.root.join("unswept")
    }

    pub(crate) fn coordinator_log(&self) -> PathBuf {
        self.root.join("coordinator.log")
    }

    /// Makes the folder and those in it, for this user alone.
    pub(crate) fn make(&self) -> Result<()> {
        for folder in [&self.root, &self.workers()] {
            make_private(folder).map_err(|error| state_error(folder, "make", &error))?;
        }
        Ok(())
    }

    /// What was submitted; `None` where nothing was.
    pub(crate) fn card(&self) -> Result<Option<JobCard>> {
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

    pub(crate) fn write_card(&self, card: &JobCard) -> Result<()> {
        let path = self.root.join("job.json");
        write_whole(&path, card).map_err(|error| state_error(&path, "write", &error))
    }

    /// Holds the job for this process; `None` where another one holds it.
    pub(crate) fn lock(&self) -> Result<Option<Lock>> {
        let path = self.root.join("run.lock");
        Lock::try_take(&path).map_err(|error| state_error(&path, "lock", &error))
    }

    /// Whether a `petctl run` works on the job now.
    pub(crate) fn is_live(&self) -> bool {
        let path = self.root.join("run.lock");
        path.exists() && matches!(Lock::try_take(&path), Ok(None))
    }
}

/// A file locked by this process until it is dropped or the process dies, however that happens.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or answers `None` where another process has it.
    pub(crate) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = open_lock(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The locked file: whoever it is handed to holds the lock too.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// Takes the lock, waiting for whoever has it. Blocks the thread.
    pub(crate) fn wait(path: &Path) -> io::Result<Self> {
        let file = open_lock(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self { file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Makes a folder that only this user can look into, and those above it.
pub(crate) fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Reads a small file; `None` where it is not there.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => Err(io::Error::other(format!(
            "it has {} bytes, more than it can have",
            metadata.len()
        ))),
        Ok(_) => fs::read(path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file so that a reader sees the old or the new one, never half of it.
pub(crate) fn write_whole(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&text)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

pub(crate) fn state_error(
    path: &Path,
    verb: &str,
    cause: &(dyn std::error::Error + 'static),
) -> Error {
    Error::new(
        Code::StateFolder,
        format!("can't {verb} {}", path.display()),
    )
    .because(cause)
    .fix("make the folder writable for you, or name another one by --home DIR or PETCTL_HOME")
}

/// Now, in ms since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
