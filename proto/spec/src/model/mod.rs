//! The resolved job file: every default filled in, every duration in milliseconds.

mod fingerprint;
pub(crate) mod root;

pub use fingerprint::{canonical_json, canonical_stage_json};
pub use petctl_keyed::SecretRef;
pub use root::{MAX_PREFIX_CHARS, RootProblem, StorageRoot, check_container, is_container_name};

use crate::shards::{ONCE_KEY, TRAIN_KEY};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most shards one job may have, over all its stages.
pub const MAX_SHARDS: u64 = 1_000_000;
/// Most members a pool may have.
pub const MAX_WORKERS: u32 = 10_000;
/// Most shards a worker may run at a time.
pub const MAX_SLOTS: u32 = 1_024;
/// Most training processes a worker may start.
pub const MAX_PROCESSES: u32 = 1_024;
/// Most stages a job may have.
pub const MAX_STAGES: usize = 1_000;

/// A job, as `petctl run` sends it to a coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// `[job] name`: 1 to 63 characters of a-z, 0-9 and `-`, a letter first.
    pub name: String,
    /// Absolute folder of the job file: commands run there.
    pub folder: String,
    /// `[job] image`: the container image that workers run, with its digest; counts for what must run again.
    #[serde(default)]
    pub image: Option<String>,
    /// `[job] code`: globs, relative to `folder`, of the files that decide what must run again. Empty: the files that a
    /// stage's command names.
    #[serde(default)]
    pub code: Vec<String>,
    /// `[setup]`: what a worker does once, before it joins.
    #[serde(default)]
    pub setup: Option<SetupSpec>,
    /// `[workers]`.
    pub workers: WorkersSpec,
    /// `[storage]`.
    pub storage: StorageSpec,
    /// `[[stage]]`, in the order of the file.
    pub stages: Vec<StageSpec>,
}

/// How many workers, and what each of them offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkersSpec {
    /// Fewest members with which the job goes on.
    pub min: u32,
    /// Most members at a time.
    pub max: u32,
    /// Members wanted at the start; between `min` and `max`.
    pub wanted: u32,
    /// The number of members is a multiple of this.
    pub unit: u32,
    /// Shards at a time per worker.
    pub slots: u32,
    /// GPUs per worker, divided among its slots or training processes.
    pub gpus: u32,
    /// Hot spares: workers started above `wanted`, who wait outside and take a lost member's place.
    pub spares: u32,
    /// How long a training group that has `min` members waits for the rest of `wanted`, in ms.
    pub settle_timeout_ms: u64,
    /// Checks that a worker must pass before it joins.
    pub preflight: Option<PreflightSpec>,
}

/// Checks that a worker runs before it joins; what is 0 or empty is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreflightSpec {
    /// Free disk space in MiB, in the output folder's file system.
    pub disk_mib: u64,
    /// Free memory in MiB.
    pub memory_mib: u64,
    /// GPUs that the worker must see.
    pub gpus: u32,
    /// A command that must exit 0, run in the job file's folder.
    pub command: Vec<String>,
    /// How long that command may take, in ms.
    pub timeout_ms: u64,
}

/// What a worker does once, before it joins a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupSpec {
    /// Must exit 0; run in the job file's folder, without a shell.
    pub command: Vec<String>,
    /// How long it may take, in ms.
    pub timeout_ms: u64,
}

/// Where inputs are and outputs go. Read the two places with [`StorageSpec::input_root`] and
/// [`StorageSpec::output_root`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageSpec {
    /// Where the inputs are: an absolute local folder or `az://container/prefix`; `None` where no stage reads files.
    pub input: Option<String>,
    /// Where the committed outputs go: an absolute local folder or `az://container/prefix`.
    pub output: String,
    /// The launcher puts the date of the job's first start behind `output`; it has been put there in a job that is
    /// submitted.
    #[serde(default)]
    pub dated: bool,
    /// Most bytes of inputs that a worker keeps staged.
    #[serde(default)]
    pub stage_bytes: u64,
    /// Names below `input` that can't be looked at are left out. For the launcher alone: no part of a submitted job.
    #[serde(skip)]
    pub incomplete_input: bool,
    /// Containers that are mounted on every worker, by name, with the folder where: their inputs are not staged.
    #[serde(default)]
    pub mounts: BTreeMap<String, String>,
    /// How blob storage is reached.
    #[serde(default)]
    pub access: StorageAccess,
}

/// How blob storage is reached. Holds no secret: it says where each process finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageAccess {
    /// Name of the storage account; `None`: `AZURE_STORAGE_ACCOUNT` of the environment.
    pub account: Option<String>,
    /// Address of the blob service, such as `http://127.0.0.1:10000/devstoreaccount1`; `None`: Azure's own, made of
    /// `account`.
    pub endpoint: Option<String>,
    /// A SAS token (without its `?`).
    pub sas_token: Option<SecretRef>,
    /// The account's key, in base64.
    pub account_key: Option<SecretRef>,
    /// Client id of the managed or workload identity to use where there is more than one.
    pub client_id: Option<String>,
}

/// One stage: many shards, one command, or a training group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// Unique in the job; same characters as a job's name.
    pub name: String,
    /// What kind of work it is.
    pub kind: StageKind,
    /// Indexes of the stages it needs, all smaller or larger than its own but free of cycles.
    pub needs: Vec<Need>,
    /// Program and arguments, with placeholders such as `{input}`.
    pub command: Vec<String>,
    /// Environment of the command, on top of the worker's.
    pub env: BTreeMap<String, String>,
    /// Constants of the stage, reachable as `{param.NAME}`.
    pub params: BTreeMap<String, String>,
    /// How long one attempt may run, in ms; 0: without limit.
    pub timeout_ms: u64,
    /// How long a process has between SIGTERM and SIGKILL, in ms.
    pub grace_ms: u64,
    /// How often each kind of failure may happen to one shard before it is quarantined.
    pub budgets: Budgets,
    /// First backoff of a retry in ms; doubled each time up to a minute, with jitter.
    pub backoff_ms: u64,
    /// Most bytes of log kept per attempt: the first half and the last.
    pub log_bytes: u64,
    /// CPUs one attempt asks for, in thousandths; 0: not counted. Only used to choose a worker.
    pub cpu_milli: u32,
    /// Memory one attempt asks for and may use, in MiB; 0: not counted.
    pub memory_mib: u64,
    /// How long the stage as a whole may take, from when its needs were met, in ms; 0: without limit.
    pub deadline_ms: u64,
    /// How its shards are handed out and judged. All at rest for `train` stages.
    #[serde(default)]
    pub dispatch: DispatchSpec,
}

/// How shards are handed out and judged, beyond timeouts and budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchSpec {
    /// Where the stage runs.
    pub run_mode: RunMode,
    /// One warm process per slot reads shards as JSON lines; `None`: one process per shard.
    pub serve: Option<ServeSpec>,
    /// Stragglers get a second attempt elsewhere while the first one runs.
    pub speculative: bool,
    /// GPUs that one attempt asks for, in thousandths; 0: none of its own (then `workers.gpus` is divided among slots).
    pub gpu_milli: u32,
    /// Exit codes that are worth a retry; empty: all are. Others quarantine the shard at once.
    pub retry_on: Vec<u8>,
    /// Exit codes that mean: nothing to do for this shard. It is committed with the verdict skipped.
    pub skip_on: Vec<u8>,
    /// Failed shards with which a stage that needs this one as a whole may still start, in millionths of its shards.
    pub allow_failed_ppm: u32,
    /// Fewest shards that must be really done.
    pub min_done: MinDone,
    /// Shards run although one that they need was skipped.
    pub run_after_skip: bool,
}

/// Fewest shards of a stage that must be committed with a verdict other than skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MinDone {
    /// None need be.
    #[default]
    Nothing,
    /// So many.
    Shards(u64),
    /// So many millionths of them.
    Ppm(u32),
}

impl MinDone {
    /// How many of so many shards that are; a part of one counts as one.
    #[must_use]
    pub fn of(self, shards: u64) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Shards(count) => count,
            Self::Ppm(ppm) => shards.saturating_mul(u64::from(ppm)).div_ceil(1_000_000),
        }
    }
}

/// Where a stage runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunMode {
    /// On the job's workers.
    #[default]
    Workers,
    /// In the launcher's own process tree: on a worker that belongs to no pool and that `petctl run` starts.
    Local,
}

/// A warm process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeSpec {
    /// How long it has from its start until it says that it is ready, in ms.
    pub start_timeout_ms: u64,
}

/// What a stage needs of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Index of the stage that is needed.
    pub stage: u32,
    /// Shard by shard (same keys) rather than the whole stage.
    pub per_shard: bool,
}

/// Failures allowed per shard, each kind with a budget of its own. The budget counts retries: 0 means one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// The command's own failures: `retries` of the job file.
    pub failed: u32,
    /// Attempts that ran into `timeout`; `retries` too unless set.
    pub timed_out: u32,
    /// Workers that died or went silent under it.
    pub worker_lost: u32,
    /// Disk full, process not startable.
    pub infrastructure: u32,
    /// Departures that were announced.
    pub preempted: u32,
}

/// The kinds of stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// One attempt per shard.
    Shards(ShardSource),
    /// One command, once.
    Once,
    /// One group of processes under torchrun's contract, over all members of the pool.
    Train(TrainSpec),
}

impl StageKind {
    /// Its word, in the job file and wherever the kind is shown.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Shards(_) => "shards",
            Self::Once => "once",
            Self::Train(_) => "train",
        }
    }

    /// Where its shards come from, if it has more than one.
    #[must_use]
    pub fn source(&self) -> Option<&ShardSource> {
        match self {
            Self::Shards(source) => Some(source),
            Self::Once | Self::Train(_) => None,
        }
    }

    /// The key of its one shard, for kinds that have one.
    #[must_use]
    pub fn single_key(&self) -> Option<&'static str> {
        match self {
            Self::Shards(_) => None,
            Self::Once => Some(ONCE_KEY),
            Self::Train(_) => Some(TRAIN_KEY),
        }
    }

    /// The training, if it is one.
    #[must_use]
    pub fn training(&self) -> Option<&TrainSpec> {
        match self {
            Self::Train(train) => Some(train),
            Self::Shards(_) | Self::Once => None,
        }
    }

    /// Whether its shards are files below the input.
    #[must_use]
    pub fn reads_files(&self) -> bool {
        matches!(self.source(), Some(ShardSource::Glob(_)))
    }
}

/// A training group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainSpec {
    /// Processes per worker.
    pub processes: Processes,
    /// Failures of the group's processes after which it is started again.
    pub max_restarts: u32,
    /// A group that ran this long without a failure has its restarts back, in ms.
    pub restart_window_ms: u64,
    /// When new workers join a running group.
    pub grow: Grow,
    /// A group in which nothing was seen to happen for this long has failed, in ms; 0: never.
    pub progress_timeout_ms: u64,
    /// Newest complete checkpoints that are kept; at least 1.
    pub keep_checkpoints: u32,
    /// A worker that was the first cause this often is left out while others can take its place; 0: never.
    pub exclude_after: u32,
    /// Absolute folder of the checkpoints; `None`: `<output>/<stage>/checkpoints`.
    pub checkpoints: Option<String>,
}

/// How many training processes a worker starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Processes {
    /// As many as this.
    Number(u32),
    /// One per CPU.
    Cpu,
    /// One per GPU.
    Gpu,
    /// One per GPU where there is one, else one per CPU.
    Auto,
}

impl Processes {
    /// The count on a worker with these GPUs and CPUs; at least 1.
    #[must_use]
    pub fn on(self, gpus: u32, cpus: u32) -> u32 {
        let count = match self {
            Self::Number(count) => count,
            Self::Cpu => cpus,
            Self::Gpu => gpus,
            Self::Auto if gpus > 0 => gpus,
            Self::Auto => cpus,
        };
        count.max(1)
    }
}

/// When new workers join a running training group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grow {
    /// When the next checkpoint is complete: no step is lost.
    Checkpoint,
    /// At once.
    Now,
}

/// Where a stage's shard keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardSource {
    /// Files below the input folder; keys are their paths relative to it. Listed by the launcher.
    Glob(String),
    /// Lines of a file, one JSON object with a `key` each. Read by the launcher.
    Manifest(String),
    /// The integers from `start` to `end`, without `end`; keys are the numbers, padded with zeros to one width.
    Range {
        /// First number.
        start: u64,
        /// One past the last number.
        end: u64,
    },
    /// Every date from `first` to `last`, both included, `step` apart; keys are ISO dates.
    Dates {
        /// First date, `YYYY-MM-DD`.
        first: String,
        /// No date is later than this, `YYYY-MM-DD`.
        last: String,
        /// Distance, such as `1d`, `1w` or `1mo`.
        step: String,
    },
    /// The keys themselves.
    Values(Vec<String>),
    /// Every combination of its axes' keys; a shard's key is `axis=key` of each axis, joined by `/`, and each axis is a
    /// parameter of the shard.
    Matrix(Vec<Axis>),
}

/// One axis of a matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// An identifier; `{param.NAME}` in the command.
    pub name: String,
    /// `Range`, `Dates` or `Values`.
    pub source: ShardSource,
}

/// What is known of one shard beside its key: a line of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardDetail {
    /// Names below the input; empty: the key, where shards are listed by `glob`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// Parameters of this shard, on top of the stage's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// Bytes of its inputs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// How long it is expected to run, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_ms: Option<u64>,
}

impl ShardDetail {
    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// 128 bits of SHA-256 over something that decides whether a shard must run again; zeros: there is no such thing.
pub type ContentDigest = [u8; 16];

/// What decides for a whole stage whether its shards must run again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageContent {
    /// Command, environment and parameters of the stage, and what else of the job file counts.
    pub command: ContentDigest,
    /// The code files.
    pub code: ContentDigest,
    /// The container image.
    pub image: ContentDigest,
}

/// What decides for one shard whether it must run again, beside its stage's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardContent {
    /// Its inputs: names with SHA-256 of the bytes, or ETag.
    pub input: ContentDigest,
    /// Its own parameters.
    pub params: ContentDigest,
}
