//! The nodes of a bed.

use serde_json::json;

use crate::{Bed, DevicePlugin};

/// A node: a machine of its own, as far as Kubernetes can tell.
#[derive(Clone, Copy)]
pub struct Node {
    pub(crate) bed: &'static Bed,
    pub(crate) name: &'static str,
}

impl Node {
    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Cuts its power: everything on it is gone at once, and nobody is told. Its disk stays.
    ///
    /// # Panics
    /// Where it is off, or can't be switched off.
    pub fn power_off(&self) {
        self.tell("power-off");
    }

    /// Switches it on again, and doesn't wait until it is ready.
    ///
    /// # Panics
    /// Where it is on.
    pub fn power_on(&self) {
        self.tell("power-on");
    }

    /// Takes its network cable out: all on it runs on, and can't be reached.
    ///
    /// # Panics
    /// Where it is off.
    pub fn cut(&self) {
        self.tell("cut");
    }

    /// Puts its cable in again.
    ///
    /// # Panics
    /// Where it is off.
    pub fn plug(&self) {
        self.tell("plug");
    }

    /// Whether the API server holds it for ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        let status = self.bed.kubectl(&["get", "node", self.name, "-o", path]);
        status.is_ok_and(|status| status == "True")
    }

    /// Has the scheduler see so many GPUs on it. Nothing is behind them; they stay over a power cut.
    ///
    /// # Panics
    /// Where the API server refuses.
    pub fn gpus(&self, count: u32) {
        let resources = json!({"nvidia.com/gpu": count.to_string()});
        let patch =
            json!({"status": {"capacity": resources, "allocatable": resources}}).to_string();
        let patched = self.bed.kubectl(&[
            "patch",
            "node",
            self.name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ]);
        if let Err(error) = patched {
            panic!("{} got no GPUs: {error}", self.name);
        }
    }

    /// Offers devices of this resource, such as `petctl.test/gpu`, as a device plugin does: called `d0`, `d1` and so
    /// on. The kubelet knows them, and says how they are; nothing is behind them. They go when this is dropped, and the
    /// node offers none a moment later.
    ///
    /// # Panics
    /// Where the kubelet does not take it.
    #[must_use]
    pub fn devices(&self, resource: &str, count: usize) -> DevicePlugin {
        let sockets = self
            .bed
            .folder()
            .join(self.name)
            .join("kubelet/device-plugins");
        let started = DevicePlugin::start(&sockets, resource, count);
        started.unwrap_or_else(|error| panic!("{} got no {resource}: {error}", self.name))
    }

    fn tell(&self, command: &str) {
        self.bed.tell(&format!("{command} {}", self.name));
    }
}
