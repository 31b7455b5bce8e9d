//! The one table of the keys of `petctl.toml`: what reads it, its schema and its reference are made from it.

mod azure;
mod blob;
mod choices;
mod coordinator;
mod gpu;

use crate::kube::MAX_ITEMS;
use azure::AZURE;
pub(crate) use azure::POOL;
use blob::BLOB;
use choices::{BACKENDS, PULL_POLICIES, SPREADS};
use coordinator::COORDINATOR;
use gpu::GPU;
pub(crate) use gpu::MAX_SHARING;
use petctl_codes::Code;
use petctl_keyed::{Choice, Key, Kind, NameRule, Shape, default, optional, required};
use petctl_keyed::{MAX_CPU_MILLI, MAX_DURATION_MS, MAX_MEMORY_MIB};

/// Largest file of settings in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// What is read.
pub(crate) static KIND: Kind = Kind {
    name: "the file",
    root: ROOT,
    tables: "[place.NAME]",
    code: Some(Code::BadPlace),
    max_bytes: MAX_FILE_BYTES,
    larger: "keep in it what says where jobs run, and nothing else",
};

const BYTES: Shape = Shape::Bytes {
    min: 1,
    max: MAX_MEMORY_MIB << 20,
};
const NAMES: Shape = Shape::Texts { max: MAX_ITEMS };
const WORDS: Shape = Shape::Scalars(NameRule::Foreign);
const CPUS: Shape = Shape::Thousandths { max: MAX_CPU_MILLI };

/// The whole file.
pub(crate) static ROOT: &[Key] = &[
    optional(
        "default",
        Shape::Name,
        "\"gpu\"",
        "The place of jobs for which no other is named. Without it: what the user's file says, else `local`.",
    ),
    optional(
        "place",
        Shape::Named(KUBE),
        "",
        "A place, under a name of 1 to 63 characters of a-z, 0-9 and `-`, a letter first. `local` is always there: \
         this machine.",
    ),
];

/// A place on Kubernetes.
pub(crate) static KUBE: &[Key] = &[
    required(
        "backend",
        Shape::Choice(BACKENDS),
        "\"kube\"",
        "What kind of place it is.",
    ),
    optional(
        "context",
        Shape::Text,
        "\"aks-gpu\"",
        "Context of the kubeconfig. Without it: its current one.",
    ),
    optional(
        "kubeconfig",
        Shape::Text,
        "\"../kube/config\"",
        "The kubeconfig, relative to this file. Without it: `$KUBECONFIG`, else `~/.kube/config`.",
    ),
    default(
        "namespace",
        Shape::Text,
        "\"petctl\"",
        "\"ml\"",
        "Where all objects of jobs are.",
    ),
    optional(
        "image",
        Shape::Text,
        "\"registry.example/train:v7\"",
        "Container image of the workers, with a tag or, better, a digest. petctl need not be in it. Without it: \
         `image` of the job.",
    ),
    optional(
        "petctl_image",
        Shape::Text,
        "\"registry.example/petctl:0.1.0\"",
        "Image of petctl, for the coordinator and for what brings petctl into the workers' pods. Without it: \
         `petctl:` and the version of petctl.",
    ),
    default(
        "pull_policy",
        Shape::Choice(PULL_POLICIES),
        "\"IfNotPresent\"",
        "\"Always\"",
        "When images are pulled.",
    ),
    default(
        "pull_secrets",
        NAMES,
        "[]",
        "[\"registry\"]",
        "Secrets of the namespace by which images are pulled.",
    ),
    optional(
        "resources",
        Shape::Table(RESOURCES),
        "{ cpu = 4, memory = \"16GiB\" }",
        "What a worker may use, and asks for. GPUs come from the job's `[workers]`.",
    ),
    optional(
        "requests",
        Shape::Table(RESOURCES),
        "{ cpu = 2 }",
        "What a worker asks for where that is less than `resources`.",
    ),
    default(
        "gpu_resource",
        Shape::Text,
        "\"nvidia.com/gpu\"",
        "\"amd.com/gpu\"",
        "The resource that a GPU is.",
    ),
    default(
        "node_selector",
        WORDS,
        "{}",
        "{ agentpool = \"gpu\" }",
        "Labels that a worker's node has.",
    ),
    default(
        "tolerations",
        Shape::Items {
            keys: TOLERATION,
            max: MAX_ITEMS,
        },
        "[]",
        "[{ key = \"sku\", value = \"gpu\", effect = \"NoSchedule\" }]",
        "Taints of nodes that workers bear.",
    ),
    default(
        "spot",
        Shape::Switch,
        "false",
        "true",
        "Workers may run on spot nodes: they bear the taints that spot and GPU pools have.",
    ),
    default(
        "spread",
        Shape::Choice(SPREADS),
        "\"auto\"",
        "\"zones\"",
        "Over what a job's workers are spread, where there is room; none waits for it.",
    ),
    default(
        "volumes",
        Shape::Items {
            keys: VOLUME,
            max: MAX_ITEMS,
        },
        "[]",
        "[{ path = \"/data\", claim = \"drives\", read_only = true }]",
        "What is mounted in workers.",
    ),
    default(
        "env",
        Shape::Scalars(NameRule::Environment),
        "{}",
        "{ NCCL_DEBUG = \"WARN\" }",
        "Environment of workers. Secrets have no place here: see `env_from_secrets`.",
    ),
    default(
        "env_from_secrets",
        NAMES,
        "[]",
        "[\"wandb\"]",
        "Secrets of the namespace whose keys become environment of workers.",
    ),
    default(
        "service_account",
        Shape::Text,
        "\"petctl-worker\"",
        "\"trainer\"",
        "Service account of workers.",
    ),
    default(
        "labels",
        WORDS,
        "{}",
        "{ team = \"avs\" }",
        "Labels of workers' pods, beside petctl's own.",
    ),
    default(
        "annotations",
        WORDS,
        "{}",
        "{ \"example.com/cost-center\" = \"17\" }",
        "Annotations of workers' pods.",
    ),
    optional(
        "priority_class",
        Shape::Text,
        "\"batch\"",
        "Priority class of workers.",
    ),
    optional(
        "queue",
        Shape::Text,
        "\"team-a\"",
        "Local queue of Kueue by which a job's workers are let in, and may be sent away again.",
    ),
    optional(
        "runtime_class",
        Shape::Text,
        "\"nvidia\"",
        "Runtime class of workers.",
    ),
    optional(
        "shm",
        BYTES,
        "\"2GiB\"",
        "Size of `/dev/shm`, which is memory of the worker. Without it: what the container runtime gives, mostly 64 MiB.",
    ),
    default(
        "user",
        Shape::Integer {
            min: 1,
            max: u32::MAX as u64,
        },
        "65532",
        "1000",
        "The user, and the group, as which workers run, whatever the image says; never 0.",
    ),
    default(
        "writable_root",
        Shape::Switch,
        "false",
        "true",
        "Commands may write into what the image brought. Without it: only into `/tmp`, `$HOME`, their folders and volumes.",
    ),
    default(
        "command_logs",
        Shape::Switch,
        "false",
        "true",
        "What commands print is on their pod's own output as well, for `kubectl logs` and what collects logs.",
    ),
    default(
        "start_timeout",
        Shape::Duration {
            max_ms: MAX_DURATION_MS,
        },
        "\"10m\"",
        "\"30m\"",
        "How long a worker's pod may take to start before the job is given up.",
    ),
    optional(
        "gpu",
        Shape::Table(GPU),
        "{ plugin = \"device-plugin\" }",
        "How the GPUs of nodes are offered: for `petctl setup`.",
    ),
    optional(
        "coordinator",
        Shape::Table(COORDINATOR),
        "{ storage = \"10GiB\" }",
        "The pod of the coordinator.",
    ),
    optional(
        "azure",
        Shape::Table(AZURE),
        "{ subscription = \"11111111-2222-3333-4444-555555555555\", resource_group = \"avs\", location = \"westeurope\" }",
        "What the cluster is made of in Azure: `petctl setup` makes it, `petctl delete-resources` removes it.",
    ),
];

static RESOURCES: &[Key] = &[
    optional("cpu", CPUS, "4", "CPUs; `0.5` is half of one."),
    optional("memory", BYTES, "\"16GiB\"", "Memory."),
];

static OPERATORS: &[Choice] = &[
    Choice {
        value: "Equal",
        doc: "the taint has that `value`",
    },
    Choice {
        value: "Exists",
        doc: "the taint is there",
    },
];

static EFFECTS: &[Choice] = &[
    Choice {
        value: "NoSchedule",
        doc: "pods are not put there",
    },
    Choice {
        value: "PreferNoSchedule",
        doc: "pods are put there last",
    },
    Choice {
        value: "NoExecute",
        doc: "pods are taken away",
    },
];

/// Of `tolerations`.
pub(crate) static TOLERATION: &[Key] = &[
    optional(
        "key",
        Shape::Text,
        "\"sku\"",
        "The taint's key. Without it: every taint, with `operator = \"Exists\"`.",
    ),
    default(
        "operator",
        Shape::Choice(OPERATORS),
        "\"Equal\"",
        "\"Exists\"",
        "How the taint's value is looked at.",
    ),
    optional("value", Shape::Text, "\"gpu\"", "The taint's value."),
    optional(
        "effect",
        Shape::Choice(EFFECTS),
        "\"NoSchedule\"",
        "The taint's effect. Without it: every effect.",
    ),
    optional(
        "seconds",
        Shape::Integer {
            min: 0,
            max: MAX_DURATION_MS / 1_000,
        },
        "300",
        "How long `NoExecute` is borne. Without it: for ever.",
    ),
];

/// Of `volumes`.
pub(crate) static VOLUME: &[Key] = &[
    required(
        "path",
        Shape::Text,
        "\"/data\"",
        "Where it is mounted: an absolute path.",
    ),
    optional(
        "claim",
        Shape::Text,
        "\"drives\"",
        "A PersistentVolumeClaim.",
    ),
    optional(
        "host_path",
        Shape::Text,
        "\"/mnt/nvme\"",
        "A folder of the node.",
    ),
    optional(
        "secret",
        Shape::Text,
        "\"certificates\"",
        "A Secret: its keys are files.",
    ),
    optional(
        "config_map",
        Shape::Text,
        "\"maps\"",
        "A ConfigMap: its keys are files.",
    ),
    optional(
        "memory",
        BYTES,
        "\"2GiB\"",
        "Memory of the worker: an empty folder of that size.",
    ),
    optional(
        "blob",
        Shape::Table(BLOB),
        "{ account = \"myaccount\", container = \"raw\", secret = \"petctl-storage\" }",
        "A blob container, mounted by the Blob CSI driver: `petctl setup` makes the volume and the claim.",
    ),
    default(
        "read_only",
        Shape::Switch,
        "false",
        "true",
        "Nothing may be written there.",
    ),
    optional(
        "sub_path",
        Shape::Text,
        "\"2024\"",
        "The folder of it that is mounted. Without it: all of it.",
    ),
];
