//! What to start for one epoch.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use petctl_process::inherited;
use petctl_process::strays::WORKER_VARIABLE;
use petctl_proto::v1::GroupStart;
use petctl_spec::{JobSpec, MAX_PROCESSES, Placeholders, StageSpec, Template};
use tokio::sync::mpsc::UnboundedSender;

use crate::checkpoints::checkpoint_folder;
use crate::environment::{Setting, contract};
use crate::external::{ExternalCommand, ExternalProcess, ExternalStream, News, StopSignal};
use petctl_output::layout::{AttemptName, Layout};
use petctl_output::logs::Echo;

/// The processes of one epoch at this worker, and all about them.
#[derive(Debug)]
pub struct Plan {
    /// What the coordinator ordered.
    pub start: GroupStart,
    pub(super) worker_id: String,
    pub(super) grace: Duration,
    pub(super) ranks: Vec<Rank>,
    /// The folder to be looked at for markers.
    pub(super) markers: Option<PathBuf>,
    /// The folder to be made first.
    pub(super) checkpoints: Option<PathBuf>,
    /// For files that live as long as the epoch.
    pub(super) scratch: PathBuf,
    pub(super) stop_signal: StopSignal,
    pub(super) news: Option<UnboundedSender<News>>,
    /// Of an external command: its attempt's folder, its filters.
    pub(super) attempt_folder: Option<PathBuf>,
    pub(super) filters: [Vec<String>; 2],
}

/// One process.
#[derive(Debug)]
pub(super) struct Rank {
    pub(super) rank: u32,
    pub(super) local_rank: u32,
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) folder: PathBuf,
    pub(super) environment: BTreeMap<OsString, OsString>,
    pub(super) sink: Sink,
    pub(super) error_file: Option<PathBuf>,
    pub(super) heartbeat: PathBuf,
}

/// Where its outputs go.
#[derive(Debug)]
pub(super) enum Sink {
    /// Both to a log of the job.
    Log {
        path: PathBuf,
        limit_bytes: u64,
        echo: Option<Echo>,
        title: String,
    },
    /// As an external command has it: stdout, stderr.
    External {
        streams: [ExternalStream; 2],
        files: Option<[PathBuf; 2]>,
        prefix: String,
    },
}

/// What a worker brings to its groups.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The job.
    pub spec: &'a JobSpec,
    /// What is started instead of the stage's command.
    pub external: Option<&'a ExternalCommand>,
    /// In the environment of all processes.
    pub worker_id: &'a str,
    /// For sockets, heartbeat files and their like.
    pub runtime: &'a Path,
    /// Where scripts reach this worker.
    pub socket: Option<&'a Path>,
    /// Where what ranks print is shown, beside being kept.
    pub echo: Option<&'a Echo>,
}

/// Why nothing can be started.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The order names a stage that trains nothing.
    #[error("the job has no training stage with the number {0}; run the same petctl on both sides")]
    NoStage(u32),
    /// Too many processes, or none.
    #[error("a worker can't start {0} processes; 1 to {MAX_PROCESSES} are possible")]
    Processes(u32),
    /// The external command has another number of processes.
    #[error("{wanted} processes were ordered, and this worker's own command has {have}")]
    ExternalProcesses {
        /// As ordered.
        wanted: u32,
        /// As the command has them.
        have: usize,
    },
    /// The stage's command can't be filled in.
    #[error("the command of stage {stage} can't be used: {why}")]
    Command {
        /// Name of the stage.
        stage: String,
        /// What is wrong.
        why: String,
    },
}

impl Plan {
    /// A plan for what the coordinator ordered; `start.master_addr` is filled in by now.
    ///
    /// # Errors
    /// [`PlanError`]: nothing of it can be started.
    pub fn new(source: Source<'_>, start: GroupStart) -> Result<Self, PlanError> {
        let index = usize::try_from(start.stage).unwrap_or(usize::MAX);
        let found = source.spec.stages.get(index);
        let Some(stage) = found.filter(|stage| stage.kind.training().is_some()) else {
            return Err(PlanError::NoStage(start.stage));
        };
        if start.processes == 0 || start.processes > MAX_PROCESSES {
            return Err(PlanError::Processes(start.processes));
        }
        let layout = Layout::new(&source.spec.storage.output);
        let checkpoints = checkpoint_folder(source.spec, start.stage, source.external.is_some());
        let draft = Draft {
            source,
            stage,
            start: &start,
            checkpoints: checkpoints.as_deref(),
            scratch: source.runtime.join(format!("epoch-{}", start.epoch)),
        };
        let attempt_folder = source
            .external
            .and_then(|external| attempt_folder(external, &start));
        let ranks = match source.external {
            Some(external) => draft.external_ranks(external, attempt_folder.as_deref())?,
            None => draft.job_ranks(&layout)?,
        };
        let scratch = draft.scratch;
        Ok(Self {
            worker_id: source.worker_id.to_owned(),
            grace: source
                .external
                .map_or(Duration::from_millis(stage.grace_ms), |external| {
                    external.grace
                }),
            ranks,
            // One of the workers is enough, or each would report every checkpoint of a shared folder.
            markers: checkpoints.clone().filter(|_| start.group_rank == 0),
            checkpoints,
            scratch,
            stop_signal: source
                .external
                .map(|external| external.stop_signal.clone())
                .unwrap_or_default(),
            news: source.external.and_then(|external| external.news.clone()),
            attempt_folder,
            filters: source
                .external
                .map(|external| {
                    [
                        external.stdout_filters.clone(),
                        external.stderr_filters.clone(),
                    ]
                })
                .unwrap_or_default(),
            start,
        })
    }
}

struct Draft<'a> {
    source: Source<'a>,
    stage: &'a StageSpec,
    start: &'a GroupStart,
    checkpoints: Option<&'a Path>,
    scratch: PathBuf,
}

impl Draft<'_> {
    fn job_ranks(&self, layout: &Layout) -> Result<Vec<Rank>, PlanError> {
        let (program, arguments) = self.command()?;
        let mut base = inherited(&self.source.spec.storage.access);
        base.extend(
            self.stage
                .env
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        let rank = |local_rank: u32| {
            let rank = self.start.first_rank.saturating_add(local_rank);
            let log = layout.log(AttemptName {
                stage: &self.stage.name,
                key: &format!("epoch-{}/rank-{rank}", self.start.epoch),
                attempt: self.start.restart_count.saturating_add(1),
                // Groups have epochs, not leases.
                lineage: 0,
                lease_id: self.start.epoch,
            });
            let error_file = log.with_file_name("error.json");
            let mut environment = base.clone();
            let setting = Setting {
                local_rank,
                role: "default",
                run_id: &self.source.spec.name,
                error_file: error_file.as_os_str(),
            };
            self.set(&mut environment, setting);
            Rank {
                rank,
                local_rank,
                program: program.clone(),
                arguments: arguments.clone(),
                folder: PathBuf::from(&self.source.spec.folder),
                environment,
                sink: Sink::Log {
                    path: log,
                    limit_bytes: self.stage.log_bytes,
                    echo: self.source.echo.cloned(),
                    title: format!("{}/rank {rank}", self.stage.name),
                },
                error_file: Some(error_file),
                heartbeat: self.heartbeat(rank),
            }
        };
        Ok((0..self.start.processes).map(rank).collect())
    }

    fn external_ranks(
        &self,
        external: &ExternalCommand,
        folder: Option<&Path>,
    ) -> Result<Vec<Rank>, PlanError> {
        let have = external.processes.len();
        if usize::try_from(self.start.processes) != Ok(have) {
            let wanted = self.start.processes;
            return Err(PlanError::ExternalProcesses { wanted, have });
        }
        let ranks = external.processes.iter().zip(0..);
        Ok(ranks
            .map(|(process, local)| self.external_rank(external, process, local, folder))
            .collect())
    }

    fn external_rank(
        &self,
        external: &ExternalCommand,
        process: &ExternalProcess,
        local_rank: u32,
        folder: Option<&Path>,
    ) -> Rank {
        let rank = self.start.first_rank.saturating_add(local_rank);
        let folder = folder.map(|folder| folder.join(local_rank.to_string()));
        let error_file = folder.as_ref().map(|folder| folder.join("error.json"));
        let mut environment: BTreeMap<OsString, OsString> = process
            .environment
            .iter()
            .filter(|(name, _)| !is_own(name))
            .cloned()
            .collect();
        let setting = Setting {
            local_rank,
            role: &external.role,
            run_id: &external.run_id,
            error_file: error_file
                .as_ref()
                .map_or(OsStr::new(""), |path| path.as_os_str()),
        };
        self.set(&mut environment, setting);
        environment.extend(process.overrides.iter().cloned());
        let prefix = match &external.prefix {
            None => format!("[{}{local_rank}]:", external.role),
            Some(template) => template
                .replace("${role_name}", &external.role)
                .replace("${local_rank}", &local_rank.to_string())
                .replace("${rank}", &rank.to_string()),
        };
        Rank {
            rank,
            local_rank,
            program: process.program.clone(),
            arguments: process.arguments.clone(),
            folder: external.folder.clone(),
            environment,
            sink: Sink::External {
                streams: [process.stdout, process.stderr],
                files: folder
                    .map(|folder| ["stdout.log", "stderr.log"].map(|name| folder.join(name))),
                prefix,
            },
            error_file,
            heartbeat: self.heartbeat(rank),
        }
    }

    fn command(&self) -> Result<(OsString, Vec<OsString>), PlanError> {
        let refuse = |why: String| PlanError::Command {
            stage: self.stage.name.clone(),
            why,
        };
        let storage = &self.source.spec.storage;
        let checkpoints = self.checkpoints.map(Path::to_string_lossy);
        // Where it is mounted here; its address where it is not.
        let mounted = storage.input_root();
        let mounted = mounted.and_then(|root| root.path(&storage.mounts));
        let values = Placeholders {
            input: None,
            inputs: &[],
            shard: None,
            input_root: mounted.as_deref().or(storage.input.as_deref()),
            output: &storage.output,
            output_root: &storage.output,
            key: petctl_spec::TRAIN_KEY,
            index: 0,
            attempt: self.start.restart_count.saturating_add(1),
            job: &self.source.spec.name,
            stage: &self.stage.name,
            params: &self.stage.params,
            shard_params: None,
            checkpoints: checkpoints.as_deref(),
        };
        let command = Template::parse(&self.stage.command)
            .and_then(|template| template.render(&values))
            .map_err(|error| refuse(error.to_string()))?;
        let mut words = command.into_iter().map(OsString::from);
        let program = words
            .next()
            .ok_or_else(|| refuse("it is empty".to_owned()))?;
        Ok((program, words.collect()))
    }

    /// torchrun's variables, then petctl's own.
    fn set(&self, environment: &mut BTreeMap<OsString, OsString>, setting: Setting<'_>) {
        let rank = self.start.first_rank.saturating_add(setting.local_rank);
        let given = contract(self.start, setting, |name| {
            environment.contains_key(OsStr::new(name))
        });
        environment.extend(given.into_iter().map(|(name, value)| (name.into(), value)));
        let mut own: Vec<(&str, OsString)> = vec![
            ("PETCTL_JOB", (&self.source.spec.name).into()),
            ("PETCTL_STAGE", (&self.stage.name).into()),
            ("PETCTL_EPOCH", self.start.epoch.to_string().into()),
            ("PETCTL_HEARTBEAT_FILE", self.heartbeat(rank).into()),
            (WORKER_VARIABLE, self.source.worker_id.into()),
        ];
        if let Some(folder) = self.checkpoints {
            own.push(("PETCTL_CHECKPOINT_DIR", folder.into()));
        }
        if let Some(socket) = self.source.socket {
            own.push(("PETCTL_AGENT_SOCKET", socket.into()));
        }
        if let Some(resume) = &self.start.resume {
            own.push(("PETCTL_RESUME_FROM", (&resume.path).into()));
            own.push(("PETCTL_RESUME_STEP", resume.step.to_string().into()));
        }
        environment.extend(own.into_iter().map(|(name, value)| (name.into(), value)));
    }

    fn heartbeat(&self, rank: u32) -> PathBuf {
        self.scratch.join(format!("heartbeat-{rank}"))
    }
}

/// petctl's own settings, a token among them perhaps, are none of the processes' business.
fn is_own(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"PETCTL_")
}

/// As torchrun names it; of an epoch that cost no restart, the number is taken already.
fn attempt_folder(external: &ExternalCommand, start: &GroupStart) -> Option<PathBuf> {
    let root = external.log_folder.as_ref()?;
    let folder = root.join(format!("attempt_{}", start.restart_count));
    if folder.exists() {
        return Some(root.join(format!(
            "attempt_{}.epoch_{}",
            start.restart_count, start.epoch
        )));
    }
    Some(folder)
}
