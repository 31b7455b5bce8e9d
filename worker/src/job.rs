//! A job as this worker runs it: what can be made ready once per stage is.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use petctl_proto::v1::{Assignment, AttemptResult, Lease};
use petctl_spec::{
    JobSpec, Placeholder, SecretRef, ShardSource, SpecError, StageKind, StageSpec, StorageAccess,
    Template, TemplateError, parse_spec_json,
};

use crate::commit::{CommitError, Committer, Syncer};
use crate::places::Places;
use crate::process::{SpawnError, StopSwitch, resolve};
use crate::remote::{Host, Problem, RemoteJob};
use petctl_output::layout::AttemptName;

/// Variables that hold secrets of the storage.
const STORAGE_SECRETS: [&str; 3] = [
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
];
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
    /// What the job has in blob storage.
    pub(crate) remote: Option<Arc<RemoteJob>>,
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
    /// Whether the command is given the file that says all of a shard.
    pub(crate) reads_shard_file: bool,
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
    #[error("{}", .0.message)]
    Remote(Problem),
    #[error("can't start a thread for the job: {0}")]
    Thread(#[source] io::Error),
}

impl JobError {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Spec(error) => error.code().as_str(),
            Self::Command { source, .. } => source.code().as_str(),
            Self::Output(error) => error.code().as_str(),
            Self::Remote(problem) => problem.code,
            Self::Thread(_) => "SPAWN_FAILED",
        }
    }

    /// Whether it may be all right the next time, without a change to the job: a secret has been renewed, a disk has
    /// room again.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Remote(_))
    }
}

impl Job {
    /// Reads the job and makes its folders. `report` gets every result whose outputs are durable.
    pub(crate) fn prepare(
        assignment: &Assignment,
        worker: WorkerName,
        host: &Host,
        report: impl Fn(AttemptResult) + Send + 'static,
    ) -> Result<Self, JobError> {
        let spec = parse_spec_json(&assignment.spec_json).map_err(JobError::Spec)?;
        let inherited = inherited(&spec.storage.access);
        let stages = spec
            .stages
            .iter()
            .map(|stage| Stage::prepare(stage, &inherited))
            .collect::<Result<_, _>>()?;
        let remote = host.open(assignment, &spec).map_err(JobError::Remote)?;
        let output = remote
            .as_ref()
            .and_then(|remote| remote.root())
            .unwrap_or(Path::new(&spec.storage.output));
        let committer = Committer::open(output)?;
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
            remote,
        })
    }

    /// Where an attempt finds what it works on.
    ///
    /// # Errors
    /// What came of the attempt: it can't start.
    pub(crate) fn places(
        &self,
        lease: &Lease,
        stage: &Stage,
        switch: &StopSwitch,
    ) -> Result<Places, Box<AttemptResult>> {
        match &self.remote {
            Some(remote) => remote.places(lease, switch),
            None => Places::local(&self.spec.storage, lease, stage.reads_files),
        }
    }

    /// What an attempt does before it starts, where outputs go to blob storage. A result: there is nothing to run.
    pub(crate) fn claim(
        &self,
        lease: &Lease,
        name: AttemptName<'_>,
        switch: &StopSwitch,
    ) -> Option<AttemptResult> {
        self.remote
            .as_ref()
            .and_then(|remote| remote.claim(lease, name, switch))
    }

    /// Whether outputs are sent to blob storage.
    pub(crate) fn sends(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.sends())
    }

    /// A lease that has not started will not run here.
    pub(crate) fn forget(&self, lease: &Lease) {
        if let Some(remote) = &self.remote {
            remote.forget(lease.lease_id);
        }
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
        let reads_shard_file = template.placeholders().contains(&&Placeholder::Shard);
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
            reads_shard_file,
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
pub(crate) fn inherited(access: &StorageAccess) -> BTreeMap<OsString, OsString> {
    without_own(std::env::vars_os(), access)
}

/// Everything but petctl's own settings, tokens among them, and the secrets of the storage.
fn without_own(
    variables: impl Iterator<Item = (OsString, OsString)>,
    access: &StorageAccess,
) -> BTreeMap<OsString, OsString> {
    let named: Vec<&str> = [&access.sas_token, &access.account_key]
        .into_iter()
        .flatten()
        .filter_map(|secret| match secret {
            SecretRef::Env(name) => Some(name.as_str()),
            SecretRef::File(_) => None,
        })
        .collect();
    let is_secret = |name: &OsString| {
        STORAGE_SECRETS
            .iter()
            .chain(&named)
            .any(|secret| name == secret)
    };
    variables
        .filter(|(name, _)| !name.as_encoded_bytes().starts_with(b"PETCTL_") && !is_secret(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_inherit_no_setting_no_token_and_no_secret_of_the_storage() {
        let variables = [
            ("PATH", "/bin"),
            ("PETCTL_TOKEN", "secret"),
            ("PETCTL_HOME", "/x"),
            ("MY_PETCTL_X", "1"),
            ("AZURE_STORAGE_KEY", "secret"),
            ("AZURE_STORAGE_SAS_TOKEN", "secret"),
            ("AZURE_STORAGE_CONNECTION_STRING", "secret"),
            ("AZURE_STORAGE_ACCOUNT", "name"),
            ("MY_SAS", "secret"),
            ("MY_KEY", "secret"),
        ];
        let access = StorageAccess {
            sas_token: Some(SecretRef::Env("MY_SAS".to_owned())),
            account_key: Some(SecretRef::Env("MY_KEY".to_owned())),
            ..StorageAccess::default()
        };
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        let inherited = without_own(variables, &access);
        let names: Vec<_> = inherited
            .keys()
            .map(|name| name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["AZURE_STORAGE_ACCOUNT", "MY_PETCTL_X", "PATH"]);
    }
}
