//! One worker process: started, watched, found again.

use super::gpus::{self, Gpus};
use petctl_core::WorkerId;
use petctl_job::home::{JobFolder, Lock, read_bounded, state_error};
use petctl_job::log::rotate;
use petctl_output::write_whole_unsynced;
use petctl_rendezvous::Handle;
use petctl_spec::{JobSpec, RunMode};
use petctl_text::Secret;
use petctl_ui::error::{Code, Error, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long an orphan has between SIGTERM and SIGKILL.
const ORPHAN_GRACE: Duration = Duration::from_secs(15);
/// Bytes of a worker's log that an error shows.
const TAIL_BYTES: usize = 2_000;

/// Who a worker is, kept beside its lock so that a later run knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub name: String,
    /// 32 hex digits.
    pub id: String,
    pub pid: u32,
}

impl Identity {
    pub fn worker_id(&self) -> Option<WorkerId> {
        u128::from_str_radix(&self.id, 16).ok().map(WorkerId)
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _gone = kill_process(pid, signal);
        }
    }

    /// Kills what it left running; for a worker that is dead.
    pub fn sweep(&self) {
        let killed = petctl_worker::sweep(&self.id);
        if killed > 0 {
            tracing::info!(worker = %self.name, killed, "killed what a dead worker left running");
        }
    }
}

/// Files of a job's workers.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(crate) fn of(folder: &JobFolder) -> Self {
        Self {
            folder: folder.workers(),
        }
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    pub(crate) fn lock(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.lock"))
    }

    fn identity(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// Workers of earlier runs, with whether they live.
    pub(crate) fn earlier(&self) -> Result<Vec<(Identity, bool)>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(state_error(&self.folder, "read", &error)),
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let identity = read_bounded(&path).ok().flatten();
            let identity: Option<Identity> =
                identity.and_then(|text| serde_json::from_slice(&text).ok());
            let Some(identity) = identity else { continue };
            let lives = Lock::is_taken(&self.lock(&identity.name));
            found.push((identity, lives));
        }
        found.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Forgets a worker that is dead.
    pub(crate) fn forget(&self, name: &str) {
        for path in [self.identity(name), self.lock(name)] {
            let _gone = std::fs::remove_file(path);
        }
    }

    /// The end of a worker's log, for an error.
    pub(crate) fn tail(&self, name: &str) -> String {
        let text = read_bounded(&self.log(name))
            .ok()
            .flatten()
            .unwrap_or_default();
        let tail = &text[text.len().saturating_sub(TAIL_BYTES)..];
        String::from_utf8_lossy(tail)
            .lines()
            .rev()
            .take(5)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join("\n    ")
    }
}

/// Name of the worker of the stages that run in the launcher's own process tree.
pub(crate) const LOCAL_STAGES: &str = "local-stages";
/// Where it finds the token of a coordinator elsewhere. Workers keep such variables from what they run.
const TOKEN_VARIABLE: &str = "PETCTL_LOCAL_STAGES_TOKEN";

/// Whom workers serve.
#[derive(Clone, Debug)]
pub enum Coordinator {
    /// That of this process.
    Here {
        /// Where it is.
        address: String,
        /// Where its token is.
        token_file: PathBuf,
    },
    /// That of `--coordinator`.
    Elsewhere {
        /// Where it is.
        address: String,
        /// Its token.
        token: Secret,
        /// Its CA, where it speaks TLS.
        ca_file: Option<PathBuf>,
        /// The folder in which the job's commands run here, where that is not the job's own.
        folder: Option<PathBuf>,
    },
}

impl Coordinator {
    /// The coordinator of this process.
    pub fn here(folder: &JobFolder, handle: &Handle) -> Self {
        Self::Here {
            address: format!("http://{}", handle.address()),
            token_file: folder.coordinator().join("token"),
        }
    }
}

/// What every worker of a job is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    pub(crate) files: Files,
    program: PathBuf,
    coordinator: Coordinator,
    job: String,
    slots: u32,
    gpus: u32,
    /// Of the worker of the local stages.
    local_stage_gpus: u32,
    devices: Gpus,
    /// `None`: the job is in local folders.
    scratch: Option<PathBuf>,
}

impl Launch {
    /// What the workers of this job are started with.
    pub fn new(folder: &JobFolder, coordinator: Coordinator, spec: &JobSpec) -> Self {
        let sizes = &spec.workers;
        let mut local = spec
            .stages
            .iter()
            .filter(|stage| stage.dispatch.run_mode == RunMode::Local);
        let local_gpus = local.any(|stage| stage.dispatch.gpu_milli > 0);
        Self {
            files: Files::of(folder),
            program: petctl_ui::program::own_program(),
            coordinator,
            job: spec.name.clone(),
            slots: sizes.slots,
            gpus: sizes.gpus,
            local_stage_gpus: if local_gpus { sizes.gpus } else { 0 },
            devices: Gpus::find(),
            scratch: spec.storage.is_remote().then(|| folder.scratch()),
        }
    }

    /// What is short on this machine for so many workers.
    pub fn shortage(&self, workers: u32) -> Option<String> {
        self.devices.shortage(workers, self.gpus)
    }

    /// Starts a worker in a process group of its own, so that Ctrl-C in the terminal does not reach it.
    pub fn spawn(&self, name: &str) -> Result<(Identity, Child)> {
        let failed = |what: &str, error: &std::io::Error| {
            Error::new(Code::WorkerStart, format!("can't start worker `{name}`: {what}"))
                .because(error)
                .fix("look at the limits on processes (`ulimit -u`) and the free space in petctl's folder")
        };
        let log = self.files.log(name);
        rotate(&log).map_err(|error| failed("its log", &error))?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&log);
        let file = file.map_err(|error| failed("its log", &error))?;
        let other = file
            .try_clone()
            .map_err(|error| failed("its log", &error))?;
        let id = random_id().map_err(|error| failed("its identity", &error))?;
        // The lock is the worker's stdin: held from its first moment to its last, however it ends.
        let lock =
            Lock::try_take(&self.files.lock(name)).map_err(|error| failed("its lock", &error))?;
        let lock = lock
            .ok_or_else(|| failed("its lock is taken", &std::io::ErrorKind::WouldBlock.into()))?;
        let mut command = Command::new(&self.program);
        command
            .arg0("petctl")
            .args(self.arguments(name, &id))
            // Settings for the program that the user types are none for its workers.
            .env_remove("PETCTL_COORDINATOR")
            .env_remove("PETCTL_TOKEN_FILE")
            .env_remove("PETCTL_CA_FILE")
            .stdin(Stdio::from(lock.into_file()))
            .stdout(file)
            .stderr(other)
            .process_group(0)
            .kill_on_drop(false);
        if let Coordinator::Elsewhere { token, .. } = &self.coordinator {
            command.env(TOKEN_VARIABLE, token.expose());
        }
        if let Some(devices) = self.devices.of_worker(number(name), self.gpus_of(name)) {
            command.env(gpus::VARIABLE, devices);
        }
        let mut identity = Identity {
            name: name.to_owned(),
            id,
            pid: 0,
        };
        let path = self.files.identity(name);
        let write = |identity: &Identity| {
            let text = serde_json::to_vec(identity).map_err(std::io::Error::from);
            text.and_then(|text| write_whole_unsynced(&path, &text))
                .map_err(|error| state_error(&path, "write", &error))
        };
        // Before it is there: a run that is killed in between must not leave one that the next run does not know.
        write(&identity)?;
        let child = command
            .spawn()
            .map_err(|error| failed("its process", &error))?;
        identity.pid = child.id().unwrap_or(0);
        write(&identity)?;
        Ok((identity, child))
    }

    fn gpus_of(&self, name: &str) -> u32 {
        if name == LOCAL_STAGES {
            self.local_stage_gpus
        } else {
            self.gpus
        }
    }

    fn arguments(&self, name: &str, id: &str) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["worker".into()];
        if name == LOCAL_STAGES {
            arguments.push("--local-stages".into());
        }
        let mut option = |name: &str, value: OsString| {
            arguments.push(name.into());
            arguments.push(value);
        };
        match &self.coordinator {
            Coordinator::Here {
                address,
                token_file,
            } => {
                option("--coordinator", address.into());
                option("--token-file", token_file.into());
            }
            Coordinator::Elsewhere {
                address,
                folder,
                ca_file,
                ..
            } => {
                if let Some(ca_file) = ca_file {
                    option("--ca-file", ca_file.into());
                }
                if let Some(folder) = folder {
                    option("--folder", folder.into());
                }
                option("--coordinator", address.into());
                option("--token", format!("env:{TOKEN_VARIABLE}").into());
            }
        }
        option("--job", (&self.job).into());
        option("--name", self.shown(name).into());
        option("--id", id.into());
        option("--slots", self.slots.to_string().into());
        option("--gpus", self.gpus_of(name).to_string().into());
        if let Some(scratch) = &self.scratch {
            option("--scratch", scratch.into());
        }
        arguments
    }

    /// What the coordinator knows it by: unique among workers of many machines.
    fn shown(&self, name: &str) -> String {
        match &self.coordinator {
            Coordinator::Here { .. } => name.to_owned(),
            Coordinator::Elsewhere { .. } => {
                let system = rustix::system::uname();
                let host = system.nodename().to_string_lossy();
                format!("{name}-{host}-{}", std::process::id())
            }
        }
    }
}

/// `local-3` is number 2.
fn number(name: &str) -> u32 {
    let number: Option<u32> = name
        .rsplit('-')
        .next()
        .and_then(|digits| digits.parse().ok());
    number.unwrap_or(1).saturating_sub(1)
}

fn random_id() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(petctl_text::hex(&bytes))
}

/// How a worker's process ended, for people.
pub(crate) fn describe(status: &std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => format!("its end can't be told: {error}"),
    }
}

/// Ends workers that outlived their `petctl run`, and what dead ones left running. They are not forgotten: the next
/// coordinator is to be told of them.
pub async fn stop_orphans(folder: &JobFolder) -> Result<()> {
    let files = Files::of(folder);
    for (identity, lives) in files.earlier()? {
        if lives {
            identity.signal(Signal::TERM);
            let path = files.lock(&identity.name);
            let ended = tokio::task::spawn_blocking(move || Lock::wait(&path).map(drop));
            if tokio::time::timeout(ORPHAN_GRACE, ended).await.is_err() {
                identity.signal(Signal::KILL);
            }
        }
        let dead = identity.clone();
        let _panicked = tokio::task::spawn_blocking(move || dead.sweep()).await;
    }
    Ok(())
}

/// Tells the coordinator of workers that are dead, so that it does not wait for them.
pub async fn tell_dead(folder: &JobFolder, handle: &Handle) -> Result<()> {
    let files = Files::of(folder);
    for (identity, lives) in files.earlier()? {
        if let (false, Some(id)) = (lives, identity.worker_id()) {
            handle.worker_gone(id).await;
            files.forget(&identity.name);
        }
    }
    Ok(())
}
