//! A job as this worker runs it: what can be made ready once per stage is.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use petctl_attempt::AttemptPaths;
use petctl_codes::Code;
use petctl_commit::{CommitError, Committer, Syncer};
use petctl_data::{Hold, Host, Origin, Problem, RemoteJob};
use petctl_process::{SpawnError, StopSwitch, inherited, resolve};
use petctl_proto::v1::{Assignment, AttemptResult, Lease};
use petctl_spec::{
    JobSpec, Placeholder, SpecError, StageSpec, Template, TemplateError, parse_spec_json,
};

use petctl_output::layout::{AttemptName, NamedLease};
use petctl_output::logs::Echo;

/// Programs whose files are remembered per stage.
const MAX_PROGRAMS: usize = 64;

/// The job that this worker is a member of.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) spec: JobSpec,
    pub(crate) stages: Vec<Stage>,
    pub(crate) committer: Arc<Committer>,
    /// Results wait here until their outputs are durable.
    pub(crate) syncer: Syncer<(NamedLease, AttemptResult)>,
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
    /// Where what its commands print is shown, beside being kept.
    pub(crate) echo: Option<Echo>,
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
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Spec(error) => error.code(),
            Self::Command { source, .. } => source.code(),
            Self::Output(error) => error.code(),
            Self::Remote(problem) => problem.code,
            Self::Thread(_) => Code::SpawnFailed,
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
        let committer = Arc::new(Committer::open(output)?);
        let settled = Arc::clone(&committer);
        let folder = committer.layout().root().to_owned();
        let syncer = Syncer::start(
            &folder.clone(),
            move |results: Vec<(NamedLease, AttemptResult)>, synced| {
                let failure = synced
                    .err()
                    .map(|error| CommitError::io("sync", &folder, error));
                for (lease, result) in results {
                    if failure.is_none() {
                        settled.settle(lease);
                    }
                    report(match &failure {
                        None => result,
                        Some(error) => petctl_attempt::outcome::not_durable(result, error),
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

    /// Where an attempt finds what it works on. What was staged for it stays as long as the [`Hold`] lives.
    ///
    /// # Errors
    /// What came of the attempt: it can't start.
    pub(crate) fn paths(
        &self,
        lease: &Lease,
        stage: &Stage,
        switch: &StopSwitch,
    ) -> Result<(AttemptPaths, Option<Hold>), Box<AttemptResult>> {
        match &self.remote {
            Some(remote) => {
                let (paths, hold) = remote.paths(lease, switch)?;
                Ok((paths, Some(hold)))
            }
            None => {
                let paths = AttemptPaths::local(&self.spec.storage, lease, stage.reads_files)?;
                Ok((paths, None))
            }
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

    /// From where outputs are uploaded, if they are.
    pub(crate) fn origin(&self) -> Option<Origin> {
        let remote = self.remote.as_ref().filter(|remote| remote.sends())?;
        Some(Origin {
            remote: Arc::clone(remote),
            committer: Arc::clone(&self.committer),
            worker: self.worker.name.clone(),
        })
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
            reads_files: spec.kind.reads_files(),
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
