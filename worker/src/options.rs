//! What a worker is started with, and how it ends.

use std::time::Duration;

use petctl_codes::Code;
use petctl_output::logs::Echo;
use petctl_text::Secret;
use petctl_tls::{TlsError, Trust};
use tokio_util::sync::CancellationToken;

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the coordinator listens: `host:port`, `http://host:port`, or `https://host:port` with somebody to trust.
    pub address: String,
    /// Goes with every stream, where set.
    pub token: Option<Secret>,
    /// The coordinator's CA, where it speaks TLS.
    pub trust: Option<Trust>,
    /// 32 hex digits, chosen at random where `None`. Children carry it as `PETCTL_WORKER_ID`, so that whoever chose it
    /// can find them with [`crate::sweep`] after this process was killed.
    pub worker_id: Option<String>,
    /// For people: `local-1`. Unique among living workers.
    pub name: String,
    /// The machine's name; the system's own where `None`.
    pub host: Option<String>,
    /// Serve only this job, and end when it needs this worker no more; empty: any job.
    pub job: String,
    /// Shards at a time.
    pub slots: u32,
    /// GPUs of this worker.
    pub gpus: u32,
    /// CPUs that shards may ask for, in thousandths; all that this process may use where `None`.
    pub cpu_milli: Option<u32>,
    /// Memory that shards may ask for, in MiB; all of the machine's where `None`.
    pub memory_mib: Option<u64>,
    /// Of the program, for people.
    pub program_version: String,
    /// How long to look for a coordinator while nothing runs.
    pub coordinator_grace: Duration,
    /// What attempts do.
    pub execution: Execution,
    /// A training command that this worker's user gave it, instead of the job file's.
    pub external_command: Option<petctl_group::ExternalCommand>,
    /// How other workers reach this one (torchrun's `--local-addr`); found by itself where `None`.
    pub advertise: Option<String>,
    /// Its place among the ranks, where its user chose one.
    pub node_rank: Option<u32>,
    /// Its number among the workers of its place, where that takes the highest away first.
    pub index: Option<u32>,
    /// Where the code of jobs that bring it is unpacked: such a job's folder is one in there that bears the code's digest.
    pub code: Option<std::path::PathBuf>,
    /// The folder in which commands run, instead of the job's.
    pub folder: Option<std::path::PathBuf>,
    /// It runs stages with `run_mode = "local"` only, and is a member of no pool.
    pub local_stages: bool,
    /// Where inputs and outputs of jobs in blob storage are kept while they are worked on; `None`: a folder of its own
    /// below the system's folder for temporary files.
    pub scratch: Option<std::path::PathBuf>,
    /// Where what commands print is shown, line by line, beside being kept. `None`: nowhere.
    pub echo: Option<Echo>,
    /// Program and arguments of a command that calls [`crate::guard`] with its last argument: started with the first
    /// training group, it kills what a killed worker leaves behind. `None`: somebody else does so.
    pub guard: Option<Vec<std::ffi::OsString>>,
}

impl Options {
    /// The usual settings: one slot, any job, a minute's patience.
    pub fn new(address: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            token: None,
            trust: None,
            worker_id: None,
            name: name.into(),
            host: None,
            job: String::new(),
            slots: 1,
            gpus: 0,
            cpu_milli: None,
            memory_mib: None,
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            coordinator_grace: Duration::from_secs(60),
            execution: Execution::Processes,
            external_command: None,
            advertise: None,
            node_rank: None,
            index: None,
            code: None,
            folder: None,
            local_stages: false,
            scratch: None,
            echo: None,
            guard: None,
        }
    }
}

/// What attempts do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// Run the stage's command.
    #[default]
    Processes,
    /// Answer at once that the shard is committed, without touching the disk: for measuring how fast shards are handed
    /// out. Nothing is committed in truth.
    Nothing,
}

/// How the caller ends a worker. Both may be cancelled, `drain` first.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Say that this worker leaves, hand back what is queued, stop what runs (SIGTERM, grace, SIGKILL), tell the
    /// coordinator, and end.
    pub drain: CancellationToken,
    /// Kill everything and end.
    pub now: CancellationToken,
}

/// Why a worker ended without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The coordinator drained it: it finished what it ran.
    Drained {
        /// The coordinator's reason.
        reason: String,
    },
    /// The only job that it serves needs it no more.
    Released {
        /// Stable code.
        code: String,
        /// One sentence.
        message: String,
    },
    /// [`Shutdown::drain`]: it said that it leaves, and handed back what it had.
    Left,
    /// [`Shutdown::now`].
    Stopped,
}

/// Why a worker could not go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A setting that can't be.
    #[error("{what}; {fix}")]
    BadOption {
        /// What is wrong.
        what: String,
        /// What to do.
        fix: &'static str,
    },
    /// The coordinator does not want this worker.
    #[error("the coordinator at {address} refused this worker: {message} ({code})")]
    Refused {
        /// Where it is.
        address: String,
        /// Its code, or the name of the gRPC status.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// Whoever answers is not the coordinator of the CA that was given, or does not speak as it should.
    #[error("the coordinator at {address} is not trusted: {why}")]
    Untrusted {
        /// Where it is.
        address: String,
        /// What is wrong.
        why: TlsError,
    },
    /// There was no coordinator for too long.
    #[error(
        "no coordinator at {address} for {} s ({cause}); check that it runs and that the address is right",
        waited.as_secs()
    )]
    CoordinatorLost {
        /// Where it should be.
        address: String,
        /// For how long it was looked for.
        waited: Duration,
        /// What the last try said.
        cause: String,
    },
    /// The system has no means to run a worker.
    #[error("can't {verb}")]
    System {
        /// What was tried.
        verb: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl WorkerError {
    /// Stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::BadOption { .. } => Code::WorkerBadOption.as_str(),
            Self::Refused { code, .. } => code,
            Self::Untrusted { why, .. } => why.code().as_str(),
            Self::CoordinatorLost { .. } => Code::CoordinatorLost.as_str(),
            Self::System { .. } => Code::WorkerSystem.as_str(),
        }
    }
}
