//! Values of which a key takes one.

use petctl_keyed::Choice;

pub(super) static BACKENDS: &[Choice] = &[Choice {
    value: "kube",
    doc: "a Kubernetes cluster",
}];

pub(super) static SPREADS: &[Choice] = &[
    Choice {
        value: "auto",
        doc: "over nodes where workers have no GPUs, not at all where they do",
    },
    Choice {
        value: "nodes",
        doc: "over nodes: the loss of one costs few workers",
    },
    Choice {
        value: "zones",
        doc: "over zones, and in each over nodes",
    },
    Choice {
        value: "never",
        doc: "as the cluster's scheduler likes it",
    },
];

pub(super) static PULL_POLICIES: &[Choice] = &[
    Choice {
        value: "IfNotPresent",
        doc: "where the node does not have it",
    },
    Choice {
        value: "Always",
        doc: "at every start",
    },
    Choice {
        value: "Never",
        doc: "the node has it",
    },
];
