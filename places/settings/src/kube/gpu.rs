//! How the GPUs of a cluster's nodes come to be offered.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// NVIDIA's device plugin, where no other image of it is named.
pub const DEFAULT_PLUGIN_IMAGE: &str = "nvcr.io/nvidia/k8s-device-plugin:v0.19.3";
/// The version of NVIDIA's operator, where no other is named.
pub const DEFAULT_OPERATOR_VERSION: &str = "v26.3.2";

/// Who offers the GPUs of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GpuPlugin {
    /// NVIDIA's device plugin, which `petctl setup` installs.
    DevicePlugin,
    /// NVIDIA's operator.
    Operator,
    /// Nobody whom petctl has installed.
    None,
}

/// How GPUs are offered: for `petctl setup` alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gpu {
    /// Who offers them; `None`: that is left as it is.
    pub plugin: Option<GpuPlugin>,
    /// So many workers share each, by time slicing; 1: none does.
    pub sharing: u32,
    /// Image of the device plugin.
    pub image: String,
    /// Labels of the nodes on which the device plugin runs; none: all nodes.
    pub node_selector: BTreeMap<String, String>,
    /// Whether the operator installs the driver; if not, the nodes have it.
    pub driver: bool,
    /// The version of the operator.
    pub operator_version: String,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            plugin: None,
            sharing: 1,
            image: DEFAULT_PLUGIN_IMAGE.to_owned(),
            node_selector: BTreeMap::new(),
            driver: true,
            operator_version: DEFAULT_OPERATOR_VERSION.to_owned(),
        }
    }
}

impl Gpu {
    /// Whether nothing is said of it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
