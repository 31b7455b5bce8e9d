//! What is said of GPUs must fit together.

use super::{Rules, Way, names};
use crate::keys::MAX_SHARING;
use crate::kube::{DEFAULT_GPU_RESOURCE, GpuPlugin, KubePlace};

impl Rules {
    pub(super) fn gpu(&mut self, at: &Way, kube: &KubePlace) {
        let gpu = &kube.gpu;
        self.named(&at.key("image"), &gpu.image, names::image);
        self.words(&at.key("node_selector"), &gpu.node_selector);
        let version = &gpu.operator_version;
        if names::value(version).is_err() || version.is_empty() {
            let fix = "write it such as \"v26.3.2\"";
            self.add(&at.key("operator_version"), "is no version", fix);
        }
        if !(1..=MAX_SHARING).contains(&gpu.sharing) {
            let fix = format!("use 1 to {MAX_SHARING}");
            self.add(&at.key("sharing"), "is out of range", fix);
        }
        let installs = matches!(
            gpu.plugin,
            Some(GpuPlugin::DevicePlugin | GpuPlugin::Operator)
        );
        if installs && kube.gpu_resource != DEFAULT_GPU_RESOURCE {
            let what =
                format!("offers `{DEFAULT_GPU_RESOURCE}`, and workers ask for `gpu_resource`");
            self.add(
                &at.key("plugin"),
                what,
                "take `gpu_resource` out, or `plugin`",
            );
        }
        if gpu.sharing > 1 && !installs {
            let fix = "write plugin = \"device-plugin\" or \"operator\" beside it";
            self.add(
                &at.key("sharing"),
                "is for a plugin that petctl installs, and none is named",
                fix,
            );
        }
    }
}
