//! The key table itself: every key of every table of the job file.

use super::{
    LOG_BYTES, MAX_ARGUMENTS, MAX_BACKOFF_MS, MAX_CPU_MILLI, MAX_DURATION_MS, MAX_ENTRIES,
    MAX_GPUS, MAX_MEMORY_MIB, MAX_RETRIES, MIN_STAGE_BYTES,
};
use crate::model::{
    MAX_PROCESSES, MAX_SHARDS, MAX_SLOTS, MAX_STAGES, MAX_WORKERS, check_container,
};
use crate::shards::MAX_AXES;
use petctl_keyed::{Choice, Key, NameRule, Shape, default, optional, required};

const fn count(max: u32) -> Shape {
    Shape::Integer {
        min: 0,
        max: max as u64,
    }
}

const fn positive(max: u32) -> Shape {
    Shape::Integer {
        min: 1,
        max: max as u64,
    }
}

const LONG: Shape = Shape::Duration {
    max_ms: MAX_DURATION_MS,
};

const CONTAINERS: NameRule = NameRule::Folders {
    check: |name| {
        let problem = check_container(name).err()?;
        Some((problem.what, problem.fix))
    },
    pattern: "^[a-z0-9](-?[a-z0-9]){2,62}$",
    doc: "table of folders by container",
};

/// The whole file.
pub(crate) static ROOT: &[Key] = &[
    required(
        "job",
        Shape::Table(JOB),
        "",
        "What the job is called, and what its commands are made of.",
    ),
    optional(
        "workers",
        Shape::Table(WORKERS),
        "",
        "How many workers, and what each of them offers.",
    ),
    required(
        "storage",
        Shape::Table(STORAGE),
        "",
        "Where inputs are and outputs go.",
    ),
    required(
        "stage",
        Shape::Tables {
            keys: STAGE,
            max: MAX_STAGES,
        },
        "",
        "One stage of work; the file has one or more.",
    ),
    optional(
        "setup",
        Shape::Table(SETUP),
        "",
        "What a worker does once, before its first shard.",
    ),
];

static JOB: &[Key] = &[
    required(
        "name",
        Shape::Name,
        "\"us101\"",
        "Name of the job: 1 to 63 characters of a-z, 0-9 and `-`, a letter first.",
    ),
    optional(
        "image",
        Shape::Text,
        "\"registry.example/replay@sha256:<64 hex digits>\"",
        "Container image of the workers, with its digest. Another digest makes all shards run again.",
    ),
    default(
        "code",
        Shape::Texts { max: MAX_ENTRIES },
        "[]",
        "[\"*.py\", \"lib/**\"]",
        "Patterns of files in the job file's folder: when one of them changes, shards run again. Without it: the files that a stage's command names.",
    ),
];

static WORKERS: &[Key] = &[
    optional(
        "min",
        positive(MAX_WORKERS),
        "1",
        "Fewest workers with which the job goes on. Without it: 1.",
    ),
    optional(
        "max",
        positive(MAX_WORKERS),
        "8",
        "Most workers at a time. Without it: `wanted` if that is given, else `min`, else 1.",
    ),
    optional(
        "wanted",
        positive(MAX_WORKERS),
        "4",
        "Workers wanted at the start; from `min` to `max`. Without it: `max`.",
    ),
    default(
        "slots",
        positive(MAX_SLOTS),
        "1",
        "2",
        "Shards at a time per worker.",
    ),
    default(
        "gpus",
        count(MAX_GPUS),
        "0",
        "1",
        "GPUs per worker, divided among its slots or training processes; a command sees its own in `CUDA_VISIBLE_DEVICES`.",
    ),
    default(
        "unit",
        positive(MAX_WORKERS),
        "1",
        "2",
        "A training group's number of workers is a multiple of this.",
    ),
    default(
        "spares",
        count(MAX_WORKERS),
        "0",
        "1",
        "Hot spares: workers started above `wanted`, which take a lost worker's place at once.",
    ),
    default(
        "settle_timeout",
        LONG,
        "\"30s\"",
        "\"2m\"",
        "How long a training group that has `min` workers waits for the rest of `wanted`. It starts at once when all are there.",
    ),
    optional(
        "preflight",
        Shape::Table(PREFLIGHT),
        "{ disk = \"10GiB\" }",
        "Checks that a worker must pass before it joins; one that fails stays out, and the status says why.",
    ),
];

static PREFLIGHT: &[Key] = &[
    optional(
        "disk",
        Shape::Bytes {
            min: 1,
            max: MAX_MEMORY_MIB << 20,
        },
        "\"10GiB\"",
        "Free disk space where the output folder is.",
    ),
    optional(
        "memory",
        Shape::Bytes {
            min: 1,
            max: MAX_MEMORY_MIB << 20,
        },
        "\"8GiB\"",
        "Free memory.",
    ),
    optional("gpus", positive(MAX_GPUS), "1", "GPUs that are seen."),
    optional(
        "command",
        Shape::Texts { max: MAX_ARGUMENTS },
        "[\"./check.sh\"]",
        "A command that must exit 0; started in the job file's folder, without a shell or placeholders.",
    ),
    default(
        "timeout",
        LONG,
        "\"1m\"",
        "\"5m\"",
        "How long that command may take.",
    ),
];

static STORAGE: &[Key] = &[
    optional(
        "input",
        Shape::Text,
        "\"drives\"",
        "Where the inputs are: a local folder (relative to the job file), `file://`, or `az://CONTAINER/PREFIX`. Needed where a stage lists its shards by `glob`.",
    ),
    required(
        "output",
        Shape::Text,
        "\"results\"",
        "Where the committed outputs go: a local folder (relative to the job file), `file://`, or `az://CONTAINER/PREFIX`.",
    ),
    default(
        "dated",
        Shape::Switch,
        "false",
        "true",
        "Put the date of the job's first start behind `output`: `results_2026-01-31`; behind a container without a prefix, `raw-2026-01-31`.",
    ),
    default(
        "stage_bytes",
        Shape::Bytes {
            min: MIN_STAGE_BYTES,
            max: MAX_MEMORY_MIB << 20,
        },
        "\"10GiB\"",
        "\"200GiB\"",
        "Most bytes of inputs that a worker keeps staged, ahead of running shards and for later ones.",
    ),
    default(
        "incomplete_input",
        Shape::Switch,
        "false",
        "true",
        "Start although some of what a `glob` could list can't be looked at: links that lead nowhere or to folders, pipes, what you may not read. It is said, and left out.",
    ),
    default(
        "mounts",
        Shape::Scalars(CONTAINERS),
        "{}",
        "{ raw = \"/mnt/raw\" }",
        "Containers that are mounted on every worker, with the folder where: commands get their paths, and nothing of them is staged.",
    ),
    optional(
        "account",
        Shape::Text,
        "\"mystorage\"",
        "Name of the storage account of `az://`. Without it: `AZURE_STORAGE_ACCOUNT` of the environment.",
    ),
    optional(
        "endpoint",
        Shape::Text,
        "\"http://127.0.0.1:10000/devstoreaccount1\"",
        "Address of the blob service, where it is not Azure's own: an emulator, a private endpoint, another cloud.",
    ),
    optional(
        "sas_token",
        Shape::Secret,
        "\"env:MY_SAS\"",
        "Where each process finds a SAS token: `env:NAME` or `file:PATH`. The token itself has no place in a job file.",
    ),
    optional(
        "account_key",
        Shape::Secret,
        "\"file:secrets/key\"",
        "Where each process finds the account's key: `env:NAME` or `file:PATH`. Without a secret: those of the environment, then the identity of the machine.",
    ),
    optional(
        "client_id",
        Shape::Text,
        "\"6f1c9d3e-0000-4000-8000-000000000000\"",
        "Client id of the managed or workload identity to use, where there is more than one.",
    ),
];

static SETUP: &[Key] = &[
    required(
        "command",
        Shape::Texts { max: MAX_ARGUMENTS },
        "[\"./prepare.sh\"]",
        "Runs once on each worker before it joins, in the job file's folder, without a shell or placeholders. A worker on which it fails stays out, and the status says why; no shard is charged.",
    ),
    default(
        "timeout",
        LONG,
        "\"30m\"",
        "\"1h\"",
        "How long that command may take.",
    ),
];

static KINDS: &[Choice] = &[
    Choice {
        value: "shards",
        doc: "the command runs once for each shard",
    },
    Choice {
        value: "once",
        doc: "the command runs once",
    },
    Choice {
        value: "train",
        doc: "the command runs as a group of training processes under torchrun's contract, over all workers",
    },
];

static RUN_MODES: &[Choice] = &[
    Choice {
        value: "workers",
        doc: "on the workers",
    },
    Choice {
        value: "local",
        doc: "in the launcher's own process tree",
    },
];

static GROW: &[Choice] = &[
    Choice {
        value: "checkpoint",
        doc: "when the next checkpoint is complete, so that no step is lost",
    },
    Choice {
        value: "now",
        doc: "at once",
    },
];

static PROCESSES: &[Choice] = &[
    Choice {
        value: "cpu",
        doc: "one per CPU",
    },
    Choice {
        value: "gpu",
        doc: "one per GPU",
    },
    Choice {
        value: "auto",
        doc: "one per GPU where there is one, else one per CPU",
    },
];

static STAGE: &[Key] = &[
    required(
        "name",
        Shape::Name,
        "\"resim\"",
        "Name of the stage, unique in the job: 1 to 63 characters of a-z, 0-9 and `-`, a letter first.",
    ),
    required(
        "kind",
        Shape::Choice(KINDS),
        "\"shards\"",
        "What kind of work it is.",
    ),
    optional(
        "shards",
        Shape::Table(SHARDS),
        "{ glob = \"**/*.xml\" }",
        "Where the shards come from; needed if `kind` is `shards`.",
    ),
    default(
        "needs",
        Shape::Texts { max: MAX_STAGES },
        "[]",
        "[\"extract\"]",
        "Stages that come first. Between two stages with the same `shards` it is shard by shard; else the whole stage is waited for.",
    ),
    required(
        "command",
        Shape::Texts { max: MAX_ARGUMENTS },
        "[\"python3\", \"replay.py\", \"{input}\", \"{output}\"]",
        "Program and arguments, with placeholders; started in the job file's folder, without a shell.",
    ),
    default(
        "env",
        Shape::Scalars(NameRule::Environment),
        "{}",
        "{ OMP_NUM_THREADS = 1 }",
        "Environment of the command, on top of the worker's.",
    ),
    default(
        "params",
        Shape::Scalars(NameRule::Parameter),
        "{}",
        "{ v0 = 30.0 }",
        "Constants of the stage, for the placeholders `{param.NAME}`; those of a shard stand above them.",
    ),
    default(
        "timeout",
        LONG,
        "\"0s\"",
        "\"10m\"",
        "How long one attempt may run; `0s` is without limit. Not in `train` stages.",
    ),
    default(
        "grace",
        Shape::Duration { max_ms: 3_600_000 },
        "\"10s\"",
        "\"30s\"",
        "How long a process has between SIGTERM and SIGKILL, and how long what a command left running may take to end.",
    ),
    default(
        "retries",
        count(MAX_RETRIES),
        "3",
        "1",
        "How often a shard that failed by itself, or ran into `timeout`, is tried again; 0 is one attempt. Not in `train` stages.",
    ),
    optional(
        "budgets",
        Shape::Table(BUDGETS),
        "{ worker_lost = 10 }",
        "Retries for each kind of failure. In `train` stages only `worker_lost`.",
    ),
    default(
        "backoff",
        Shape::Duration {
            max_ms: MAX_BACKOFF_MS,
        },
        "\"1s\"",
        "\"5s\"",
        "Wait before the first retry; doubled each time up to a minute, with jitter. Not in `train` stages.",
    ),
    default(
        "log_bytes",
        Shape::Bytes {
            min: LOG_BYTES.0,
            max: LOG_BYTES.1,
        },
        "\"16MiB\"",
        "\"64MiB\"",
        "Most bytes of log kept per attempt, or per training process and epoch: the first half and the last.",
    ),
    default(
        "cpus",
        Shape::Thousandths { max: MAX_CPU_MILLI },
        "0",
        "2.5",
        "CPUs that one attempt asks for; only used to choose a worker. 0: not counted. Not in `train` stages.",
    ),
    default(
        "memory",
        Shape::Bytes {
            min: 0,
            max: MAX_MEMORY_MIB << 20,
        },
        "0",
        "\"2GiB\"",
        "Memory that one attempt asks for and may use, in whole MiB; one that uses more is killed, and fails by itself. Held by the kernel where a worker may make control groups (v2), else looked at four times a second. 0: not counted. Not in `train` stages.",
    ),
    default(
        "gpus",
        Shape::Thousandths {
            max: MAX_GPUS * 1_000,
        },
        "0",
        "0.5",
        "GPUs that one attempt asks for: a part of one, or whole ones; it sees its own in `CUDA_VISIBLE_DEVICES`. 0: `workers.gpus` is divided among the slots. Not in `train` stages.",
    ),
    default(
        "run_mode",
        Shape::Choice(RUN_MODES),
        "\"workers\"",
        "\"local\"",
        "Where the stage runs. Not in `train` stages.",
    ),
    default(
        "serve",
        Shape::Switch,
        "false",
        "true",
        "One warm process per slot reads shards as JSON lines and answers: see docs/serve.md. Only in `shards` stages.",
    ),
    default(
        "start_timeout",
        LONG,
        "\"10m\"",
        "\"2m\"",
        "How long a warm process has until it says that it is ready. Only with `serve = true`.",
    ),
    default(
        "speculative",
        Shape::Switch,
        "false",
        "true",
        "Stragglers get a second attempt on another worker while the first one runs; the first commit stands. Only in `shards` stages.",
    ),
    optional(
        "retry_on",
        Shape::ExitCodes,
        "[75]",
        "Exit codes that are worth a retry; any other fails the shard at once. Without it: all are. Not in `train` stages.",
    ),
    optional(
        "skip_on",
        Shape::ExitCodes,
        "[77]",
        "Exit codes that mean: nothing to do for this shard. It is done, with the verdict skipped. Not in `train` stages.",
    ),
    default(
        "allow_failed",
        Shape::Share,
        "0",
        "0.02",
        "Share of failed shards with which stages that need this one as a whole may still start. The job fails all the same. Only in `shards` stages.",
    ),
    optional(
        "min_done",
        Shape::CountOrPercent { max: MAX_SHARDS },
        "\"80%\"",
        "Fewest shards of the stage that must be really done, as a number or as a percentage of them; skipped and failed ones are not. With fewer the job fails, and what needs the stage as a whole does not run. Not in `train` stages.",
    ),
    default(
        "run_after_skip",
        Shape::Switch,
        "false",
        "true",
        "A shard runs although the shard that it needs was skipped; otherwise it is skipped as well. Only in `shards` stages.",
    ),
    default(
        "deadline",
        LONG,
        "\"0s\"",
        "\"6h\"",
        "How long the stage may take as a whole, from when its `needs` are met; `0s` is without limit.",
    ),
    default(
        "processes_per_worker",
        Shape::Count {
            max: MAX_PROCESSES,
            words: PROCESSES,
        },
        "1",
        "4",
        "Training processes that each worker starts. Only in `train` stages.",
    ),
    default(
        "max_restarts",
        count(MAX_RETRIES),
        "3",
        "10",
        "How often the group is started again after one of its processes failed; a worker that leaves costs nothing, and one that is lost counts in `budgets.worker_lost`. Only in `train` stages.",
    ),
    default(
        "restart_window",
        LONG,
        "\"1h\"",
        "\"30m\"",
        "A group that ran this long without a failure has all its restarts back. Only in `train` stages.",
    ),
    default(
        "grow",
        Shape::Choice(GROW),
        "\"checkpoint\"",
        "\"now\"",
        "When new workers join a running group. Only in `train` stages.",
    ),
    default(
        "progress_timeout",
        LONG,
        "\"0s\"",
        "\"10m\"",
        "A group that wrote no output, reported no step and touched no heartbeat file for this long has failed; `0s`: never. Only in `train` stages.",
    ),
    optional(
        "checkpoints",
        Shape::Text,
        "\"/shared/checkpoints\"",
        "Folder of the checkpoints, relative to the job file, on storage that every worker sees. Without it: `checkpoints` in the stage's folder of the output. Only in `train` stages.",
    ),
    default(
        "keep_checkpoints",
        positive(MAX_RETRIES),
        "3",
        "5",
        "Newest complete checkpoints that are kept; older ones inside the folder are removed. Only in `train` stages.",
    ),
    default(
        "exclude_after",
        count(MAX_RETRIES),
        "3",
        "2",
        "A worker whose processes failed first this often is left out while others can take its place; 0: never. Only in `train` stages.",
    ),
];

/// Of `shards`: exactly one source.
static SHARDS: &[Key] = &[
    optional(
        "glob",
        Shape::Text,
        "\"**/*.xml\"",
        "Files below the input folder; keys are their paths relative to it.",
    ),
    optional(
        "range",
        Shape::Range,
        "[0, 1000]",
        "Whole numbers from the first to the last, without the last; keys are padded with zeros to one width.",
    ),
    optional(
        "dates",
        Shape::Dates,
        "[\"2024-01-01\", \"2024-12-31\"]",
        "Dates from the first to the last, both included, `step` apart.",
    ),
    optional(
        "step",
        Shape::Step,
        "\"1mo\"",
        "Distance of `dates`: `1d`, `1w`, `1mo` or `1y`, or more of them. Without it: `1d`.",
    ),
    optional(
        "values",
        Shape::Keys { max: MAX_SHARDS },
        "[\"alpha\", \"beta\"]",
        "The keys themselves.",
    ),
    optional(
        "manifest",
        Shape::Text,
        "\"shards.jsonl\"",
        "A file (relative to the job file, or `az://`) with one JSON object per line: `key`, and if wanted `inputs`, `params`, `size` and `expected_s`.",
    ),
    optional(
        "matrix",
        Shape::Matrix {
            keys: AXIS,
            max: MAX_AXES,
        },
        "{ place = [\"a\", \"b\"], seed = { range = [0, 10] } }",
        "Every combination of its axes, each a list, a `range` or `dates`; keys are such as `place=a/seed=0`, and each axis is a parameter.",
    ),
];

/// Of an axis of `matrix` that is a table: exactly one source.
static AXIS: &[Key] = &[
    optional("range", Shape::Range, "[0, 10]", "As `range` of `shards`."),
    optional(
        "dates",
        Shape::Dates,
        "[\"2024-01-01\", \"2024-12-31\"]",
        "As `dates` of `shards`.",
    ),
    optional("step", Shape::Step, "\"1mo\"", "As `step` of `shards`."),
    optional(
        "values",
        Shape::Keys { max: MAX_SHARDS },
        "[\"alpha\", \"beta\"]",
        "The same as the list itself.",
    ),
];

static BUDGETS: &[Key] = &[
    optional(
        "failed",
        count(MAX_RETRIES),
        "3",
        "The command's own failures. Without it: `retries`.",
    ),
    optional(
        "timed_out",
        count(MAX_RETRIES),
        "0",
        "Attempts that ran into `timeout`. Without it: `retries`.",
    ),
    default(
        "worker_lost",
        count(MAX_RETRIES),
        "5",
        "10",
        "Workers that died or went silent under it.",
    ),
    default(
        "infrastructure",
        count(MAX_RETRIES),
        "3",
        "5",
        "Disk full, process not startable.",
    ),
    default(
        "preempted",
        count(MAX_RETRIES),
        "100",
        "1000",
        "Departures that were announced.",
    ),
];
