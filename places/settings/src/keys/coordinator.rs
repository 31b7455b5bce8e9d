//! Keys of the coordinator's pod, and of the pods that it keeps.

use super::{BYTES, MAX_ITEMS, NAMES, RESOURCES, TOLERATION, WORDS};
use petctl_keyed::{Choice, Key, Shape, default, optional};

/// Most pods that a coordinator may be told to keep.
const MAX_PODS: u64 = 1_000_000;

static SHARINGS: &[Choice] = &[
    Choice {
        value: "fair",
        doc: "every job its minimum in the order of submission, then whoever has the fewest",
    },
    Choice {
        value: "in-order",
        doc: "jobs keep what they have, and what is free goes to the one that was submitted first",
    },
];

/// Of `coordinator`.
pub(super) static COORDINATOR: &[Key] = &[
    optional(
        "namespace",
        Shape::Text,
        "\"petctl\"",
        "The namespace in which it is, and keeps pods of several. Without it: that of the place.",
    ),
    default(
        "namespaces",
        NAMES,
        "[]",
        "[\"team-a\", \"team-b\"]",
        "Other namespaces in which it keeps pods: places there name its namespace.",
    ),
    optional(
        "max_pods",
        Shape::Integer {
            min: 1,
            max: MAX_PODS,
        },
        "16",
        "Most pods of workers at a time, of all its jobs together. Without it: as many as the cluster takes.",
    ),
    default(
        "sharing",
        Shape::Choice(SHARINGS),
        "\"fair\"",
        "\"in-order\"",
        "Who gets them where `max_pods` are too few for all jobs.",
    ),
    default(
        "storage",
        BYTES,
        "\"1GiB\"",
        "\"10GiB\"",
        "Size of the claim that is made for its state.",
    ),
    optional(
        "storage_class",
        Shape::Text,
        "\"managed-csi\"",
        "Class of that claim. Without it: the cluster's default.",
    ),
    optional(
        "claim",
        Shape::Text,
        "\"petctl-state\"",
        "A claim that is there, instead of one that is made.",
    ),
    default(
        "ephemeral",
        Shape::Switch,
        "false",
        "true",
        "No claim at all: when the pod is gone, so is the state, and jobs start anew from their outputs.",
    ),
    optional(
        "resources",
        Shape::Table(RESOURCES),
        "{ cpu = 1, memory = \"1GiB\" }",
        "What it may use, and asks for.",
    ),
    default(
        "node_selector",
        WORDS,
        "{}",
        "{ agentpool = \"system\" }",
        "Labels that its node has.",
    ),
    default(
        "tolerations",
        Shape::Items {
            keys: TOLERATION,
            max: MAX_ITEMS,
        },
        "[]",
        "[{ key = \"CriticalAddonsOnly\", operator = \"Exists\" }]",
        "Taints of nodes that it bears.",
    ),
    default(
        "labels",
        WORDS,
        "{}",
        "{ team = \"avs\" }",
        "Labels of its pod, beside petctl's own.",
    ),
    default(
        "annotations",
        WORDS,
        "{}",
        "{ \"example.com/cost-center\" = \"17\" }",
        "Annotations of its pod.",
    ),
    optional(
        "priority_class",
        Shape::Text,
        "\"system\"",
        "Its priority class.",
    ),
];
