//! The key table itself: every key of every table of the job file.

use super::{
    Built, Choice, Key, LOG_BYTES, MAX_ARGUMENTS, MAX_BACKOFF_MS, MAX_CPU_MILLI, MAX_DURATION_MS,
    MAX_GPUS, MAX_MEMORY_MIB, MAX_RETRIES, NameRule, Presence, Shape,
};
use crate::model::{MAX_SLOTS, MAX_STAGES, MAX_WORKERS};

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
        "GPUs per worker, divided among its slots; a command sees its own in `CUDA_VISIBLE_DEVICES`.",
    ),
    only(
        "unit",
        positive(MAX_WORKERS),
        "1",
        "2",
        "The number of workers is a multiple of this.",
    ),
    later("spares", count(MAX_WORKERS), "1", "Hot spares above `max`."),
    later(
        "settle_timeout",
        LONG,
        "\"30s\"",
        "How long a training group waits for workers that were promised.",
    ),
    later(
        "preflight",
        Shape::Open,
        "{ disk = \"10GiB\" }",
        "Checks a worker must pass before it joins.",
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
        built: false,
        doc: "a training group under torchrun's contract",
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
        built: false,
        doc: "new workers wait for the next checkpoint",
    },
    Choice {
        value: "now",
        built: false,
        doc: "the group re-forms at once",
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
        "How long one attempt may run; `0s` is without limit.",
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
        "How often a shard that failed by itself, or ran into `timeout`, is tried again; 0 is one attempt.",
    ),
    optional(
        "budgets",
        Shape::Table(BUDGETS),
        "{ worker_lost = 10 }",
        "Retries for each kind of failure.",
    ),
    default(
        "backoff",
        Shape::Duration {
            max_ms: MAX_BACKOFF_MS,
        },
        "\"1s\"",
        "\"5s\"",
        "Wait before the first retry; doubled each time up to a minute, with jitter.",
    ),
    default(
        "log_bytes",
        Shape::Bytes {
            min: LOG_BYTES.0,
            max: LOG_BYTES.1,
        },
        "\"16MiB\"",
        "\"64MiB\"",
        "Most bytes of log kept per attempt: the first half and the last.",
    ),
    default(
        "cpus",
        Shape::Thousandths { max: MAX_CPU_MILLI },
        "0",
        "2.5",
        "CPUs that one attempt asks for; only used to choose a worker. 0: not counted.",
    ),
    default(
        "memory",
        Shape::Bytes {
            min: 0,
            max: MAX_MEMORY_MIB << 20,
        },
        "0",
        "\"2GiB\"",
        "Memory that one attempt asks for, in whole MiB; only used to choose a worker. 0: not counted.",
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
    later(
        "deadline",
        LONG,
        "\"6h\"",
        "How long the stage may take as a whole.",
    ),
    later(
        "processes_per_worker",
        Shape::Open,
        "1",
        "Training processes per worker: a number, `cpu`, `gpu` or `auto`.",
    ),
    later(
        "max_restarts",
        count(MAX_RETRIES),
        "3",
        "Restarts of a training group.",
    ),
    later(
        "grow",
        Shape::Choice(GROW),
        "\"checkpoint\"",
        "When new workers join a training group.",
    ),
    later(
        "progress_timeout",
        LONG,
        "\"10m\"",
        "A training group without progress for this long has failed.",
    ),
    later(
        "keep_checkpoints",
        positive(MAX_RETRIES),
        "3",
        "Complete checkpoints that are kept.",
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
