//! Starts a process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use petctl_codes::Code;
use petctl_proto::v1::Outcome;
use rustix::io::Errno;

/// What to start.
#[derive(Debug)]
pub struct Launch<'a, A = String> {
    /// Absolute.
    pub program: &'a Path,
    /// Without the program's name.
    pub arguments: &'a [A],
    /// Where it runs.
    pub folder: &'a Path,
    /// Its environment, but for what is set on top.
    pub stage_environment: &'a [(OsString, OsString)],
    /// What is set on top of it.
    pub attempt_environment: &'a [(&'static str, OsString)],
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No such file.
    #[error(
        "program {program:?} was not found (folder {}, PATH {search_path}); install it, or name it by its path",
        folder.display()
    )]
    NotFound {
        /// As the job file has it.
        program: String,
        /// What was searched.
        search_path: String,
        /// Where relative paths begin.
        folder: PathBuf,
    },
    /// A file that can't be run.
    #[error("can't run {}: {why}", path.display())]
    NotExecutable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The folder to run it in is not there.
    #[error("the job's folder {} is not there on this worker", .0.display())]
    NoFolder(PathBuf),
    /// The arguments and environment are too long for the system.
    #[error("the arguments and environment of {} are longer than the system allows; shorten them", .0.display())]
    TooLong(PathBuf),
    /// The system has no means for another process.
    #[error("can't start {}: {reason}", path.display())]
    System {
        /// What was started.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

impl SpawnError {
    /// Stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::CommandNotFound,
            Self::NotExecutable { .. } => Code::CommandNotExecutable,
            Self::NoFolder(_) => Code::JobFolderMissing,
            Self::TooLong(_) => Code::CommandTooLong,
            Self::System { .. } => Code::SpawnFailed,
        }
    }

    /// Whose fault it is.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NotFound { .. } | Self::NotExecutable { .. } | Self::TooLong(_) => {
                Outcome::Failed
            }
            Self::NoFolder(_) | Self::System { .. } => Outcome::Infrastructure,
        }
    }

    /// What a shell would exit with.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::NotFound { .. } => Some(127),
            Self::NotExecutable { .. } | Self::TooLong(_) => Some(126),
            Self::NoFolder(_) | Self::System { .. } => None,
        }
    }
}

/// Where its outputs go: stdout, stderr.
#[derive(Debug)]
pub struct Outputs(pub Stdio, pub Stdio);

impl Default for Outputs {
    fn default() -> Self {
        Self(Stdio::piped(), Stdio::piped())
    }
}

/// Starts it in a process group of its own, with nothing to read.
///
/// # Errors
/// [`SpawnError`]: it was not started.
pub fn spawn<A: AsRef<OsStr>>(
    launch: &Launch<'_, A>,
    outputs: Outputs,
) -> Result<Child, SpawnError> {
    start(launch, Stdio::null(), outputs)
}

/// Starts it in a process group of its own, with a pipe to read from.
///
/// # Errors
/// [`SpawnError`]: it was not started.
pub fn spawn_reader<A: AsRef<OsStr>>(launch: &Launch<'_, A>) -> Result<Child, SpawnError> {
    start(launch, Stdio::piped(), Outputs::default())
}

fn start<A: AsRef<OsStr>>(
    launch: &Launch<'_, A>,
    input: Stdio,
    outputs: Outputs,
) -> Result<Child, SpawnError> {
    let mut command = Command::new(launch.program);
    command
        .args(launch.arguments)
        .current_dir(launch.folder)
        .env_clear()
        .envs(
            launch
                .stage_environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .envs(
            launch
                .attempt_environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(input)
        .stdout(outputs.0)
        .stderr(outputs.1)
        .process_group(0);
    command.spawn().map_err(|error| explain(launch, error))
}

fn explain<A>(launch: &Launch<'_, A>, error: io::Error) -> SpawnError {
    let path = launch.program.to_owned();
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) if !launch.folder.is_dir() => {
            SpawnError::NoFolder(launch.folder.to_owned())
        }
        Some(Errno::NOENT) if path.exists() => {
            let why = "the interpreter named in its first line is not installed".to_owned();
            SpawnError::NotExecutable { path, why }
        }
        Some(Errno::NOENT | Errno::NOTDIR) => SpawnError::NotFound {
            program: path.display().to_string(),
            search_path: String::new(),
            folder: launch.folder.to_owned(),
        },
        Some(Errno::NOEXEC) => {
            let why =
                "it is not a program; a script's first line must be like #!/bin/sh".to_owned();
            SpawnError::NotExecutable { path, why }
        }
        Some(Errno::ACCESS | Errno::PERM) => SpawnError::NotExecutable {
            why: format!("no permission; try: chmod +x {}", path.display()),
            path,
        },
        Some(Errno::TOOBIG) => SpawnError::TooLong(path),
        Some(_) | None => SpawnError::System {
            path,
            reason: error,
        },
    }
}
