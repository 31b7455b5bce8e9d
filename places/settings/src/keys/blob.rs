//! Keys of a blob container that is mounted.

use crate::kube::MAX_ITEMS;
use petctl_keyed::{Choice, Key, Shape, default, optional, required};

static PROTOCOLS: &[Choice] = &[
    Choice {
        value: "fuse2",
        doc: "blobfuse2, for every account",
    },
    Choice {
        value: "nfs",
        doc: "NFS 3, for accounts that have it, in a network that they let in",
    },
];

/// Of `blob` of `volumes`.
pub(super) static BLOB: &[Key] = &[
    required(
        "account",
        Shape::Text,
        "\"myaccount\"",
        "The storage account.",
    ),
    required("container", Shape::Text, "\"raw\"", "The container in it."),
    optional(
        "secret",
        Shape::Text,
        "\"petctl-storage\"",
        "The Secret that opens it: `petctl storage-secret` makes one. Without it and without `identity`: the nodes' own \
         identity fetches the account's key.",
    ),
    optional(
        "identity",
        Shape::Text,
        "\"00000000-0000-0000-0000-000000000000\"",
        "Client id of the workload identity that opens it, for the service account of workers. Driver 1.27 or later.",
    ),
    default(
        "protocol",
        Shape::Choice(PROTOCOLS),
        "\"fuse2\"",
        "\"nfs\"",
        "How it is spoken to.",
    ),
    default(
        "mount_options",
        Shape::Texts { max: MAX_ITEMS },
        "[]",
        "[\"--cache-size-mb=1000\"]",
        "Options of the mount, behind those that petctl sets.",
    ),
    optional(
        "claim",
        Shape::Text,
        "\"raw\"",
        "A claim that is there and has that container: nothing is made.",
    ),
];
