//! Keys of how GPUs of nodes are offered.

use petctl_keyed::{Choice, Key, NameRule, Shape, default, optional};

/// Most workers that may share a GPU.
pub(crate) const MAX_SHARING: u32 = 64;

static PLUGINS: &[Choice] = &[
    Choice {
        value: "device-plugin",
        doc: "NVIDIA's device plugin: `petctl setup` installs it where no other is",
    },
    Choice {
        value: "operator",
        doc: "NVIDIA's operator: `petctl setup` prints its values and commands, and runs them with `--yes`",
    },
    Choice {
        value: "none",
        doc: "none by petctl: one that it has installed is taken away",
    },
];

/// Of `gpu`.
pub(super) static GPU: &[Key] = &[
    optional(
        "plugin",
        Shape::Choice(PLUGINS),
        "\"device-plugin\"",
        "Who offers the GPUs of nodes. Without it: that is left as it is.",
    ),
    default(
        "sharing",
        Shape::Integer {
            min: 1,
            max: MAX_SHARING as u64,
        },
        "1",
        "4",
        "So many workers share each GPU by time slicing; its memory is not divided. Each asks for one.",
    ),
    optional(
        "image",
        Shape::Text,
        "\"registry.example/k8s-device-plugin:v0.19.3\"",
        "Image of the device plugin. Without it: NVIDIA's own, of the version that this petctl knows.",
    ),
    default(
        "node_selector",
        Shape::Scalars(NameRule::Foreign),
        "{}",
        "{ agentpool = \"gpu\" }",
        "Labels of the nodes on which the device plugin runs. Without it: on all, where it does nothing without GPUs.",
    ),
    default(
        "driver",
        Shape::Switch,
        "true",
        "false",
        "The operator installs the driver: for pools that were made without one. Without it: the nodes have one.",
    ),
    optional(
        "operator_version",
        Shape::Text,
        "\"v26.3.2\"",
        "Version of the operator's chart. Without it: the one that this petctl knows.",
    ),
];
