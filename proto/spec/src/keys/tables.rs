//! The key table itself: every key of every table of the job file.

use super::{
    Built, Choice, Key, LOG_BYTES, MAX_ARGUMENTS, MAX_BACKOFF_MS, MAX_CPU_MILLI, MAX_DURATION_MS,
    MAX_GPUS, MAX_MEMORY_MIB, MAX_RETRIES, NameRule, Presence, Shape,
};
use crate::model::{MAX_PROCESSES, MAX_SLOTS, MAX_STAGES, MAX_WORKERS};

const fn required(
    name: &'static str,
    shape: Shape,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        shape,
        presence: Presence::Required,
        built: Built::Now,
        example,
        doc,
    }
}

const fn optional(
    name: &'static str,
    shape: Shape,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        shape,
        presence: Presence::Optional,
        built: Built::Now,
        example,
        doc,
    }
}

const fn default(
    name: &'static str,
    shape: Shape,
    default: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        shape,
        presence: Presence::Default(default),
        built: Built::Now,
        example,
        doc,
    }
}

const fn only(
    name: &'static str,
    shape: Shape,
    only: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        shape,
        presence: Presence::Default(only),
        built: Built::Only(only),
        example,
        doc,
    }
}

const fn later(name: &'static str, shape: Shape, example: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        presence: Presence::Optional,
        built: Built::Later,
        example,
        doc,
    }
}

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

/// The whole file.
pub(crate) static ROOT: &[Key] = &[
    required("job", Shape::Table(JOB), "", "What the job is called."),
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
    later(
        "setup",
        Shape::Table(SETUP),
        "",
        "What a worker does once, before its first shard.",
    ),
    required(
        "stage",
        Shape::Tables(STAGE),
        "",
        "One stage of work; the file has one or more.",
    ),
];

static JOB: &[Key] = &[required(
    "name",
    Shape::Name,
    "\"us101\"",
    "Name of the job: 1 to 63 characters of a-z, 0-9 and `-`, a letter first.",
)];

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
        "Folder of the inputs: a local folder (relative to the job file) or `file://`. Needed where a stage lists its shards by `glob`. `az://` is not built yet.",
    ),
    required(
        "output",
        Shape::Text,
        "\"results\"",
        "Folder of the committed outputs: a local folder (relative to the job file) or `file://`. `az://` is not built yet.",
    ),
    only(
        "dated",
        Shape::Switch,
        "false",
        "true",
        "Put the date of the start behind the output folder's name.",
    ),
    later(
        "stage_bytes",
        Shape::Bytes {
            min: 0,
            max: u64::MAX,
        },
        "\"10GiB\"",
        "Most bytes of inputs staged ahead of running shards.",
    ),
];

static SETUP: &[Key] = &[later(
    "command",
    Shape::Texts { max: MAX_ARGUMENTS },
    "[\"./prepare.sh\"]",
    "Runs once per worker; its failure is not a shard's failure.",
)];

static KINDS: &[Choice] = &[
    Choice {
        value: "shards",
        built: true,
        doc: "the command runs once for each shard",
    },
    Choice {
        value: "once",
        built: true,
        doc: "the command runs once",
    },
    Choice {
        value: "train",
        built: true,
        doc: "the command runs as a group of training processes under torchrun's contract, over all workers",
    },
];

static RUN_MODES: &[Choice] = &[
    Choice {
        value: "workers",
        built: true,
        doc: "on the workers",
    },
    Choice {
        value: "local",
        built: false,
        doc: "in the launcher's own process tree",
    },
];

static GROW: &[Choice] = &[
    Choice {
        value: "checkpoint",
        built: true,
        doc: "when the next checkpoint is complete, so that no step is lost",
    },
    Choice {
        value: "now",
        built: true,
        doc: "at once",
    },
];

static PROCESSES: &[Choice] = &[
    Choice {
        value: "cpu",
        built: true,
        doc: "one per CPU",
    },
    Choice {
        value: "gpu",
        built: true,
        doc: "one per GPU",
    },
    Choice {
        value: "auto",
        built: true,
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
        "Constants of the stage, for the placeholders `{param.NAME}`.",
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
        "How long a process has between SIGTERM and SIGKILL.",
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
        "Memory that one attempt asks for, in whole MiB; only used to choose a worker. 0: not counted. Not in `train` stages.",
    ),
    only(
        "run_mode",
        Shape::Choice(RUN_MODES),
        "\"workers\"",
        "\"local\"",
        "Where the stage runs.",
    ),
    only(
        "serve",
        Shape::Switch,
        "false",
        "true",
        "One warm process per slot reads shards as JSON lines and answers.",
    ),
    only(
        "speculative",
        Shape::Switch,
        "false",
        "true",
        "Second attempts of stragglers.",
    ),
    later(
        "gpus",
        Shape::Number,
        "0.5",
        "GPUs per shard; may be a fraction.",
    ),
    later(
        "retry_on",
        Shape::Integers,
        "[75]",
        "Exit codes that are worth a retry; others are final.",
    ),
    later(
        "skip_on",
        Shape::Integers,
        "[77]",
        "Exit codes that mean: nothing to do for this shard.",
    ),
    later(
        "allow_failed",
        Shape::Number,
        "0.02",
        "Share of failed shards with which the stage still counts as done.",
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
        Shape::Keys,
        "[\"alpha\", \"beta\"]",
        "The keys themselves.",
    ),
    later(
        "manifest",
        Shape::Text,
        "\"shards.jsonl\"",
        "A file with one JSON object per line, each with a `key`.",
    ),
    later(
        "matrix",
        Shape::Open,
        "{ map = [\"a\", \"b\"], seed = [1, 2] }",
        "Every combination of some values.",
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
