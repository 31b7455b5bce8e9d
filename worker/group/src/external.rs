//! An external command: a training command that the worker's own user gave it, instead of the job file's (`petctl
//! torchrun`).

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use petctl_proto::v1::RankFailure;
use tokio::sync::mpsc::UnboundedSender;

/// What this worker starts when its group starts. The job file's command, environment, processes and grace do not
/// count for it.
#[derive(Clone, Debug)]
pub struct ExternalCommand {
    /// One for each local rank, in their order; never empty. Their number is said in `Hello.processes`.
    pub processes: Vec<ExternalProcess>,
    /// Where they run.
    pub folder: PathBuf,
    /// The socket and the heartbeat files are in a folder of their own there.
    /// Private; whoever gave it removes it. A checkpoint folder there is only where the job names one.
    pub work_folder: PathBuf,
    /// `TORCHELASTIC_RUN_ID`.
    pub run_id: String,
    /// `ROLE_NAME`, and the name in the prefix of copied lines.
    pub role: String,
    /// Between the first signal and SIGKILL.
    pub grace: Duration,
    /// The run's folder: each start makes `attempt_<restarts>/<local rank>/` there with `error.json`, and with
    /// `stdout.log` and `stderr.log` where asked for. A start that finds its attempt's folder from an earlier epoch
    /// makes `attempt_<restarts>.epoch_<epoch>`. `None`: no files at all, and an empty `TORCHELASTIC_ERROR_FILE`.
    pub log_folder: Option<PathBuf>,
    /// Copies of lines that hold one of these words go to `filtered_stdout.log` in the attempt's folder.
    pub stdout_filters: Vec<String>,
    /// The same for stderr and `filtered_stderr.log`.
    pub stderr_filters: Vec<String>,
    /// Prefix of copied lines, with `${role_name}`, `${rank}` and `${local_rank}`; `None`: `[<role><local rank>]:`.
    pub prefix: Option<String>,
    /// What the processes are sent first when they are to stop.
    pub stop_signal: StopSignal,
    /// Hears what happens to the processes.
    pub news: Option<UnboundedSender<News>>,
}

/// One local rank's process.
#[derive(Clone, Debug)]
pub struct ExternalProcess {
    /// A path, or a name to be looked for on the PATH.
    pub program: OsString,
    /// Without the program's name.
    pub arguments: Vec<OsString>,
    /// Its whole environment, without what the group sets (`RANK` and its like), which wins.
    pub environment: Vec<(OsString, OsString)>,
    /// Wins over what the group sets: `LOCAL_RANK=0` of a virtual local rank.
    pub overrides: Vec<(OsString, OsString)>,
    /// Where its stdout goes.
    pub stdout: ExternalStream,
    /// Where its stderr goes.
    pub stderr: ExternalStream,
}

/// Where a stream of a process goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalStream {
    /// To this process's own, untouched.
    Inherit,
    /// To nowhere.
    Discard,
    /// To a file.
    File,
    /// To a file, and each line with a prefix to this process's own.
    FileAndConsole,
}

/// The signal with which processes are asked to stop: SIGTERM, unless this process was told to end by another.
#[derive(Clone, Debug)]
pub struct StopSignal(Arc<AtomicI32>);

impl Default for StopSignal {
    fn default() -> Self {
        Self(Arc::new(AtomicI32::new(15)))
    }
}

impl StopSignal {
    /// From now on this one.
    pub fn set(&self, number: i32) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Its number.
    pub fn number(&self) -> i32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happened to the processes of an external command.
#[derive(Clone, Debug)]
pub enum News {
    /// An epoch's processes are started.
    Started {
        /// The epoch.
        epoch: u64,
        /// Restarts charged so far.
        restart_count: u32,
    },
    /// A process failed by itself.
    Failed {
        /// The epoch.
        epoch: u64,
        /// As it is reported.
        failure: RankFailure,
        /// Its error file; it may not be there.
        error_file: Option<PathBuf>,
    },
    /// No process of the epoch is left, and the group is not done.
    Stopped {
        /// The epoch.
        epoch: u64,
    },
    /// All processes of the epoch exited 0.
    Succeeded {
        /// The epoch.
        epoch: u64,
    },
}
