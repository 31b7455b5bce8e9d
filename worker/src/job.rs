//! A job as this worker runs it: what can be made ready once per stage is.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use petctl_proto::v1::{Assignment, AttemptResult};
use petctl_spec::{
    JobSpec, ShardSource, SpecError, StageKind, StageSpec, Template, TemplateError, parse_spec_json,
};

use crate::commit::{CommitError, Committer, Syncer};
use crate::process::{SpawnError, resolve};

/// Programs whose files are remembered per stage.
const MAX_PROGRAMS: usize = 64;

/// The job that this worker is a member of.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) spec: JobSpec,
    pub(crate) stages: Vec<Stage>,
    pub(crate) committer: Committer,
    /// Results wait here until their outputs are durable.
    pub(crate) syncer: Syncer<AttemptResult>,
    pub(crate) worker: WorkerName,
}

/// What an attempt tells of the worker that runs it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerName {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) slots: u32,
}

/// One stage, made ready.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) template: Template,
    /// The worker's environment without petctl's own variables, and the stage's `env` on top.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Whether shards are files below the input folder.
    pub(crate) reads_files: bool,
    programs: Mutex<BTreeMap<String, PathBuf>>,
}

/// Why a job can't run on this worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error(
        "the coordinator sent a job that this petctl can't run: {0}; run the same petctl on both sides"
    )]
    Spec(SpecError),
    #[error("the command of stage {stage} can't be used: {source}")]
    Command {
        stage: String,
        source: TemplateError,
    },
    #[error(transparent)]
    Output(#[from] CommitError),
    #[error("can't start a thread for the job: {0}")]
    Thread(#[source] io::Error),
}

impl JobError {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Spec(error) => error.code(),
            Self::Command { source, .. } => source.code(),
            Self::Output(error) => error.code(),
            Self::Thread(_) => "SPAWN_FAILED",
        }
    }
}

impl Job {
    /// Reads the job and makes its folders. `report` gets every result whose outputs are durable.
    pub(crate) fn prepare(
        assignment: &Assignment,
        worker: WorkerName,
        report: impl Fn(AttemptResult) + Send + 'static,
    ) -> Result<Self, JobError> {
        let spec = parse_spec_json(&assignment.spec_json).map_err(JobError::Spec)?;
        let inherited = inherited();
        let stages = spec
            .stages
            .iter()
            .map(|stage| Stage::prepare(stage, &inherited))
            .collect::<Result<_, _>>()?;
        let committer = Committer::open(&spec.storage.output)?;
        let folder = committer.layout().root().to_owned();
        let syncer = Syncer::start(
            &folder.clone(),
            move |results: Vec<AttemptResult>, synced| {
                let failure = synced
                    .err()
                    .map(|error| CommitError::io("sync", &folder, error));
                for result in results {
                    report(match &failure {
                        None => result,
                        Some(error) => crate::outcome::not_durable(result, error),
                    });
                }
            },
        )
        .map_err(JobError::Thread)?;
        Ok(Self {
            spec,
            stages,
            committer,
            syncer,
            worker,
        })
    }

    /// Longest time any of its processes has between SIGTERM and SIGKILL.
    pub(crate) fn longest_grace(&self) -> Duration {
        Duration::from_millis(
            self.spec
                .stages
                .iter()
                .map(|stage| stage.grace_ms)
                .max()
                .unwrap_or(0),
        )
    }
}

impl Stage {
    fn prepare(
        spec: &StageSpec,
        inherited: &BTreeMap<OsString, OsString>,
    ) -> Result<Self, JobError> {
        let template = Template::parse(&spec.command).map_err(|source| JobError::Command {
            stage: spec.name.clone(),
            source,
        })?;
        let mut environment = inherited.clone();
        environment.extend(
            spec.env
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        Ok(Self {
            template,
            environment: environment.into_iter().collect(),
            reads_files: matches!(&spec.kind, StageKind::Shards(ShardSource::Glob(_))),
            programs: Mutex::new(BTreeMap::new()),
        })
    }

    /// The file of a program. Looked up once; a failure is not remembered.
    pub(crate) fn program(&self, name: &str, folder: &Path) -> Result<PathBuf, SpawnError> {
        let lock = || self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = lock().get(name) {
            return Ok(path.clone());
        }
        let path = resolve(name, folder, self.variable("PATH"))?;
        let mut programs = lock();
        if programs.len() >= MAX_PROGRAMS {
            programs.clear();
        }
        programs.insert(name.to_owned(), path.clone());
        Ok(path)
    }

    /// For when the file is not what it was.
    pub(crate) fn forget_programs(&self) {
        self.programs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// A variable of the stage's environment.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.environment.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_os_str())
    }
}

/// What children inherit of this process's environment.
pub(crate) fn inherited() -> BTreeMap<OsString, OsString> {
    without_own(std::env::vars_os())
}

/// Everything but petctl's own settings, tokens among them.
fn without_own(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    variables
        .filter(|(name, _)| !name.as_encoded_bytes().starts_with(b"PETCTL_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_inherit_no_setting_and_no_token_of_petctl() {
        let variables = [
            ("PATH", "/bin"),
            ("PETCTL_TOKEN", "secret"),
            ("PETCTL_HOME", "/x"),
            ("MY_PETCTL_X", "1"),
        ];
        let inherited = without_own(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        let names: Vec<_> = inherited
            .keys()
            .map(|name| name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["MY_PETCTL_X", "PATH"]);
    }
}
