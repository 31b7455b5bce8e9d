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

mod card;
mod files;
mod folder;

pub use card::JobCard;
pub use files::{Lock, make_private, read_bounded, state_error, write_json};
pub use folder::{JobFolder, JobPlace, Uncleared};
pub use petctl_output::timestamp::now_ms;

use petctl_text::words::nearest;
use petctl_ui::error::{Code, Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of all jobs of this user.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The given folder, else `$PETCTL_HOME`, else `$XDG_STATE_HOME/petctl`, else `~/.local/state/petctl`.
    pub fn find(given: Option<PathBuf>) -> Result<Self> {
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

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a job, whether it is there or not.
    pub fn job(&self, name: &str) -> JobFolder {
        JobFolder {
            root: self.root.join("jobs").join(name),
        }
    }

    /// What is kept here of a job on a coordinator elsewhere.
    pub fn remote(&self, name: &str) -> JobFolder {
        JobFolder {
            root: self.root.join("remote").join(name),
        }
    }

    /// All jobs, by name. A folder that holds no readable job is left out.
    pub fn jobs(&self) -> Result<Vec<(JobFolder, JobCard)>> {
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

    /// Jobs that were last run at places elsewhere, as they are noted here.
    #[must_use]
    pub fn elsewhere(&self) -> Vec<(JobFolder, JobPlace)> {
        let Ok(entries) = fs::read_dir(self.root.join("remote")) else {
            return Vec::new();
        };
        let noted = entries.flatten().filter_map(|entry| {
            let folder = JobFolder { root: entry.path() };
            let place = folder.place().ok().flatten()?;
            Some((folder, place))
        });
        noted.collect()
    }

    /// The folder of a job that was last run elsewhere than on this machine; without a name, of the job that was run
    /// last of all, if it was. `None`: it is this machine's, or not known here.
    ///
    /// # Errors
    /// Where what is kept of it can't be read.
    pub fn last_run(&self, name: Option<&str>) -> Result<Option<JobFolder>> {
        let (there, here) = match name {
            Some(name) if petctl_spec::is_name(name) => {
                let folder = self.remote(name);
                let there = folder.place()?.map(|place| (folder, place));
                (there, self.job(name).card().ok().flatten())
            }
            Some(_) => return Ok(None),
            None => {
                let there = self.elsewhere().into_iter();
                let there = there.max_by_key(|(_, place)| place.started_at_ms);
                (there, self.latest_job().ok().map(|(_, card)| card))
            }
        };
        let here_at = here.map_or(0, |card| card.started_at_ms);
        Ok(there
            .filter(|(_, place)| place.started_at_ms > here_at)
            .map(|(folder, _)| folder))
    }

    /// The named job; without a name the only one, or the one that was started last.
    pub fn find_job(&self, name: Option<&str>) -> Result<(JobFolder, JobCard)> {
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
        let near = nearest(name, names.iter().copied());
        let fix = match near {
            Some(near) => format!("did you mean `{near}`? `petctl list` shows all jobs"),
            None if Path::new(name).is_file() => {
                format!("`{name}` is a file; commands take the job's name, which `petctl list` shows")
            }
            None => "`petctl list` shows all jobs; another folder's by --home, a place's by --on, a coordinator's by --coordinator".into(),
        };
        Error::new(
            Code::NoSuchJob,
            format!("there is no job `{name}` in {}", self.root.display()),
        )
        .fix(fix)
    }
}
