//! Keys of what a place in Azure is made of.

use super::{MAX_ITEMS, NAMES, WORDS};
use petctl_keyed::{Choice, Key, Shape, default, optional, required};

/// Most nodes of a pool: Azure's own limit.
const MAX_NODES: u64 = 1_000;

static CLOUDS: &[Choice] = &[
    Choice {
        value: "public",
        doc: "the Azure of everybody",
    },
    Choice {
        value: "us-government",
        doc: "that of the government of the United States",
    },
    Choice {
        value: "china",
        doc: "that in China, run by 21Vianet",
    },
];

static TIERS: &[Choice] = &[
    Choice {
        value: "Free",
        doc: "the control plane costs nothing, and nothing is promised",
    },
    Choice {
        value: "Standard",
        doc: "the control plane costs a little, and its uptime is promised",
    },
];

static WAYS: &[Choice] = &[
    Choice {
        value: "cli",
        doc: "what `az login` has left",
    },
    Choice {
        value: "secret",
        doc: "a service principal: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET`",
    },
    Choice {
        value: "certificate",
        doc: "the same with `AZURE_CLIENT_CERTIFICATE_PATH`, a PEM file",
    },
    Choice {
        value: "managed-identity",
        doc: "the identity of this machine",
    },
    Choice {
        value: "workload-identity",
        doc: "the identity of this pod",
    },
    Choice {
        value: "device-code",
        doc: "a code that is typed into a browser on any machine",
    },
];

/// Of `azure`.
pub(crate) static AZURE: &[Key] = &[
    required(
        "subscription",
        Shape::Text,
        "\"11111111-2222-3333-4444-555555555555\"",
        "The subscription that pays.",
    ),
    optional(
        "tenant",
        Shape::Text,
        "\"66666666-7777-8888-9999-000000000000\"",
        "The directory in which to sign in. Without it: `AZURE_TENANT_ID`, else that of the login.",
    ),
    optional(
        "sign_in",
        Shape::Choice(WAYS),
        "\"cli\"",
        "How to sign in. Without it: the first way for which everything is there.",
    ),
    required(
        "resource_group",
        Shape::Text,
        "\"avs\"",
        "The resource group that holds everything; it is made where it is missing.",
    ),
    required("location", Shape::Text, "\"westeurope\"", "The region."),
    default(
        "cluster",
        Shape::Text,
        "\"petctl\"",
        "\"avs\"",
        "The name of the cluster.",
    ),
    optional(
        "dns_prefix",
        Shape::Text,
        "\"avs\"",
        "How the host name of its API server begins. Without it: the name of the cluster.",
    ),
    default(
        "tier",
        Shape::Choice(TIERS),
        "\"Free\"",
        "\"Standard\"",
        "What is paid for the control plane.",
    ),
    optional(
        "kubernetes_version",
        Shape::Text,
        "\"1.34\"",
        "The version of Kubernetes. Without it: the region's default, and what is there stays.",
    ),
    default(
        "system_size",
        Shape::Text,
        "\"Standard_D4ds_v5\"",
        "\"Standard_D8ds_v5\"",
        "The size of the nodes of the cluster's own pods, and of the coordinator's.",
    ),
    default(
        "system_nodes",
        Shape::Integer {
            min: 1,
            max: MAX_NODES,
        },
        "1",
        "3",
        "How many of them.",
    ),
    default(
        "pools",
        Shape::Items {
            keys: POOL,
            max: MAX_ITEMS,
        },
        "[]",
        "[{ name = \"t4\", size = \"Standard_NC4as_T4_v3\", max = 8, spot = true }]",
        "Pools of nodes for workers, in the order in which they are liked.",
    ),
    optional(
        "storage_account",
        Shape::Text,
        "\"avsdata\"",
        "The storage account: a name that is there once in the whole of Azure. Without it: none is made.",
    ),
    default(
        "containers",
        NAMES,
        "[\"input\", \"output\", \"code\"]",
        "[\"raw\", \"extracted\"]",
        "Its containers.",
    ),
    optional(
        "registry",
        Shape::Text,
        "\"avsimages\"",
        "The registry of images, from which nodes may pull: a name that is there once in the whole of Azure. Without \
         it: none is made.",
    ),
    optional(
        "identity",
        Shape::Text,
        "\"avs-worker\"",
        "The managed identity of workers, which may read and write the storage account. Without it: they have none.",
    ),
    default(
        "tags",
        WORDS,
        "{}",
        "{ team = \"avs\" }",
        "Tags of everything that is made, beside petctl's own.",
    ),
    default(
        "cloud",
        Shape::Choice(CLOUDS),
        "\"public\"",
        "\"us-government\"",
        "Which Azure.",
    ),
    optional(
        "resource_manager",
        Shape::Text,
        "\"https://management.region.example\"",
        "The address of the control plane, where it is none of Microsoft's own (Azure Stack).",
    ),
    optional(
        "authority",
        Shape::Text,
        "\"https://login.region.example\"",
        "The address of the sign-in, where it is none of Microsoft's own.",
    ),
];

/// Of `azure.pools`.
pub(crate) static POOL: &[Key] = &[
    required(
        "name",
        Shape::Text,
        "\"t4\"",
        "Its name: 1 to 12 small letters and digits, a letter first.",
    ),
    required(
        "size",
        Shape::Text,
        "\"Standard_NC4as_T4_v3\"",
        "The size of its machines.",
    ),
    default(
        "min",
        Shape::Integer {
            min: 0,
            max: MAX_NODES,
        },
        "0",
        "1",
        "Fewest nodes.",
    ),
    required(
        "max",
        Shape::Integer {
            min: 0,
            max: MAX_NODES,
        },
        "8",
        "Most nodes: the autoscaler makes as many as pods ask for.",
    ),
    default(
        "spot",
        Shape::Switch,
        "false",
        "true",
        "Spare machines at a lower price, which may be taken away.",
    ),
    default(
        "driver",
        Shape::Switch,
        "true",
        "false",
        "Azure installs the driver of its GPUs; not where NVIDIA's operator does.",
    ),
    optional("mig", Shape::Text, "\"MIG1g\"", "How MIG divides each GPU."),
    default(
        "zones",
        NAMES,
        "[]",
        "[\"1\", \"2\"]",
        "Availability zones. Without any: as Azure likes it.",
    ),
    default(
        "labels",
        WORDS,
        "{}",
        "{ team = \"avs\" }",
        "Labels of its nodes.",
    ),
    optional(
        "taints",
        NAMES,
        "[\"sku=gpu:NoSchedule\"]",
        "Taints of its nodes, beside the one of spot nodes. Without it: `sku=gpu:NoSchedule` where its size has GPUs.",
    ),
];
