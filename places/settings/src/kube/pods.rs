//! What pods of a place are made of.

use super::{Blob, DEFAULT_STORAGE_BYTES};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Where the node does not have it.
    #[default]
    IfNotPresent,
    /// At every start.
    Always,
    /// Never: the node has it.
    Never,
}

impl PullPolicy {
    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IfNotPresent => "IfNotPresent",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}

/// Over what a job's workers are spread, where there is room for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Over nodes where workers have no GPUs: the loss of one costs few of them. With GPUs not at all: processes that
    /// train together are nearer to each other on one node.
    #[default]
    Auto,
    /// Over nodes.
    Nodes,
    /// Over zones, and in each over nodes.
    Zones,
    /// Not at all: as the cluster's scheduler likes it.
    Never,
}

/// CPU and memory of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// CPUs in thousandths; `None`: nothing is said of them.
    pub cpu_milli: Option<u32>,
    /// Memory in bytes; `None`: nothing is said of it.
    pub memory_bytes: Option<u64>,
}

/// How a toleration looks at a taint's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The taint has this value.
    #[default]
    Equal,
    /// The taint is there.
    Exists,
}

impl Operator {
    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "Equal",
            Self::Exists => "Exists",
        }
    }
}

/// What a taint does to pods that do not bear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// They are not put there.
    NoSchedule,
    /// They are put there last.
    PreferNoSchedule,
    /// They are taken away.
    NoExecute,
}

impl Effect {
    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// A taint that is borne.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Toleration {
    /// The taint's key; `None`: any, with [`Operator::Exists`].
    pub key: Option<String>,
    /// How its value is looked at.
    pub operator: Operator,
    /// Its value; only with [`Operator::Equal`].
    pub value: Option<String>,
    /// Its effect; `None`: any.
    pub effect: Option<Effect>,
    /// How long it is borne; only with [`Effect::NoExecute`].
    pub seconds: Option<u64>,
}

/// Something that is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Where: absolute.
    pub path: String,
    /// What.
    pub source: VolumeSource,
    /// Whether nothing may be written there.
    #[serde(default)]
    pub read_only: bool,
    /// The folder of it that is mounted; `None`: all of it.
    #[serde(default)]
    pub sub_path: Option<String>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeSource {
    /// A claim of this name.
    Claim(String),
    /// A folder of the node.
    HostPath(String),
    /// The keys of a Secret, as files.
    Secret(String),
    /// The keys of a ConfigMap, as files.
    ConfigMap(String),
    /// Memory of the pod, at most so many bytes.
    Memory(u64),
    /// A blob container, by a claim that `petctl setup` makes or that is there.
    Blob(Blob),
}

/// Where a coordinator keeps its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StateStorage {
    /// A claim that is made for it.
    New {
        /// Its size.
        bytes: u64,
        /// Its class; `None`: the cluster's default.
        class: Option<String>,
    },
    /// A claim that is there.
    Claim(String),
    /// Nowhere: state is lost with the pod.
    Ephemeral,
}

impl Default for StateStorage {
    fn default() -> Self {
        Self::New {
            bytes: DEFAULT_STORAGE_BYTES,
            class: None,
        }
    }
}

/// Who gets pods where there are not enough for all jobs of a coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Every job its minimum in the order of submission, then whoever has the fewest.
    #[default]
    Fair,
    /// Jobs keep what they have; what is free goes to the one that was submitted first.
    InOrder,
}

impl Sharing {
    /// As files and command lines have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fair => "fair",
            Self::InOrder => "in-order",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The coordinator's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Coordinator {
    /// Where it is; `None`: in the place's own namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Other namespaces in which it keeps pods of jobs, where they let it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Most pods of workers at a time, of all its jobs; `None`: as many as the cluster takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pods: Option<u32>,
    /// Who gets them where they are too few for all.
    #[serde(skip_serializing_if = "Sharing::is_default")]
    pub sharing: Sharing,
    /// Where its state is.
    pub state: StateStorage,
    /// What it may use, and asks for.
    pub resources: Resources,
    /// Labels that its node has.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that it bears.
    pub tolerations: Vec<Toleration>,
    /// Labels of its pod, beside petctl's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations of its pod.
    pub annotations: BTreeMap<String, String>,
    /// Its priority class.
    pub priority_class: Option<String>,
}
