//! Who offers the GPUs of a cluster's nodes: looked at before anything is installed beside it.

pub mod operator;

use crate::cluster::{Cluster, answered, found};
use crate::manifests::gpu::{self, COMPONENT, PLUGIN};
use crate::names::{MANAGED, selector};
use crate::objects::{There, list};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use petctl_settings::{DEFAULT_GPU_RESOURCE, GpuPlugin, KubePlace};
use petctl_ui::error::{Code, Error, Result};
use serde_json::Value;

/// Nodes that are named of many.
const SHOWN: usize = 4;
/// What MIG's manager calls a node on which it is off.
const MIG_OFF: &str = "all-disabled";

/// What is to be done for the GPUs of a place.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Objects that are to be made.
    pub(crate) objects: Vec<Value>,
    /// Objects that go.
    pub(crate) gone: Vec<There>,
    /// Others offer GPUs already, which is said in a note.
    pub(crate) by_others: Option<String>,
}

/// The rights that it takes, beside looking at nodes and at DaemonSets everywhere: verb, group and resource.
pub(crate) fn access_needed(place: &KubePlace) -> Vec<(&'static str, &'static str, &'static str)> {
    let verbs: &[&str] = match place.gpu.plugin {
        Some(GpuPlugin::DevicePlugin) => &["get", "create", "patch"],
        Some(GpuPlugin::None) => &["list", "delete"],
        Some(GpuPlugin::Operator) | None => &[],
    };
    let verbs = verbs.iter();
    verbs.map(|verb| (*verb, "apps", "daemonsets")).collect()
}

/// Looks what there is for the GPUs of nodes, and what a place wants beside it.
///
/// # Errors
/// What stands in the way: MIG where GPUs are to be shared, rules of the namespace.
pub(crate) async fn look(cluster: &Cluster, place: &KubePlace) -> Result<Looked> {
    let mut looked = Looked::default();
    let Some(plugin) = place.gpu.plugin else {
        return Ok(looked);
    };
    if plugin == GpuPlugin::None {
        let own = list(cluster, &selector(COMPONENT)).await?;
        looked.gone = own
            .into_iter()
            .filter(|there| there.kind != "Pod")
            .collect();
        return Ok(looked);
    }
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let nodes = answered(&cluster.shown, nodes.list(&ListParams::default()))
        .await?
        .items;
    if place.gpu.sharing > 1 {
        divided_once(cluster, &nodes)?;
    }
    let sets: Api<DaemonSet> = Api::all(cluster.client.clone());
    let sets = answered(&cluster.shown, sets.list(&ListParams::default()))
        .await?
        .items;
    let other = sets.iter().find(|set| is_device_plugin(set));
    let own = sets.iter().any(|set| {
        set.name_any() == PLUGIN && set.namespace().as_deref() == Some(&place.namespace)
    });
    let is_operator = plugin == GpuPlugin::Operator;
    if let Some(other) = other {
        let whose = format!(
            "{}/{}",
            other.namespace().unwrap_or_default(),
            other.name_any()
        );
        let of_operator = other.namespace().as_deref() == Some(operator::NAMESPACE);
        if !(is_operator && of_operator) {
            let what = format!("DaemonSet {whose} offers GPUs");
            looked.by_others = Some(left_alone(place, &what));
        }
        return Ok(looked);
    }
    let offering: Vec<&Node> = nodes.iter().filter(|node| offers(node)).collect();
    if !own && !offering.is_empty() {
        let what = format!(
            "{} {DEFAULT_GPU_RESOURCE}",
            named(&offering, "offers", "offer")
        );
        looked.by_others = Some(left_alone(place, &what));
        return Ok(looked);
    }
    if is_operator {
        if own {
            let what = format!("petctl's own device plugin (DaemonSet {PLUGIN}) is there");
            return Err(Error::new(Code::BadGpuSetup, what).fix(
                "take it away first, two would contradict each other: petctl setup --gpu none",
            ));
        }
        return Ok(looked);
    }
    allowed_there(cluster, place).await?;
    looked.objects = gpu::device_plugin(place);
    if place.gpu.sharing <= 1 && own {
        // The time slicing of before.
        let own = list(cluster, &selector(COMPONENT)).await?;
        looked.gone = own
            .into_iter()
            .filter(|there| there.kind == "ConfigMap")
            .collect();
    }
    Ok(looked)
}

fn left_alone(place: &KubePlace, what: &str) -> String {
    let sharing = match place.gpu.sharing {
        0 | 1 => "",
        _ => "; whether GPUs are shared is told to that one, and not done here",
    };
    format!("{what} already, and is left alone: no other device plugin is installed{sharing}")
}

/// GPUs that MIG has divided are not divided again.
fn divided_once(cluster: &Cluster, nodes: &[Node]) -> Result<()> {
    let divided: Vec<&Node> = nodes.iter().filter(|node| has_mig(node)).collect();
    let Some(first) = divided.first() else {
        return Ok(());
    };
    let what = format!(
        "GPUs can't be shared by time slicing ({}): MIG is on, {} GPUs that it has divided",
        cluster.shown,
        named(&divided, "has", "have")
    );
    Err(Error::new(Code::BadGpuSetup, what).fix(format!(
        "leave sharing out, and let workers ask for parts: gpu_resource = \"nvidia.com/mig-…\" as `kubectl describe node \
         {0}` names them; or switch MIG off: kubectl label node {0} nvidia.com/mig.config={MIG_OFF} --overwrite",
        first.name_any()
    )))
}

/// A device plugin wants a folder of its node, which stricter pod security forbids.
async fn allowed_there(cluster: &Cluster, place: &KubePlace) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = match found(&cluster.shown, namespaces.get(&place.namespace)).await {
        Err(error) if error.is(Code::ClusterDenied) => return Ok(()),
        namespace => namespace?,
    };
    let labels = namespace.and_then(|namespace| namespace.metadata.labels);
    let level = labels.and_then(|mut labels| labels.remove("pod-security.kubernetes.io/enforce"));
    match level.as_deref() {
        Some(level @ ("baseline" | "restricted")) => {
            let what = format!(
                "a device plugin can't run in namespace {}: its pod security is `{level}`, and the plugin needs a folder \
                 of its node ({})",
                place.namespace, cluster.shown
            );
            Err(Error::new(Code::BadGpuSetup, what).fix(
                "let NVIDIA's operator do it, in a namespace of its own: petctl setup --gpu operator; or apply the plugin \
                 in another namespace yourself: petctl setup --print --gpu device-plugin",
            ))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether it is a device plugin of NVIDIA's that somebody else has installed: by its name, or by that of its image.
fn is_device_plugin(set: &DaemonSet) -> bool {
    if set.labels().contains_key(MANAGED) {
        return false;
    }
    let names = |text: &str| {
        text.contains("device-plugin") && (text.contains("nvidia") || text.contains("gpu"))
    };
    let spec = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let mut images = spec
        .into_iter()
        .flat_map(|spec| &spec.containers)
        .filter_map(|container| container.image.as_deref());
    names(&set.name_any())
        || images.any(|image| names(image) || image.contains("/k8s-device-plugin"))
}

fn quantities(node: &Node) -> impl Iterator<Item = (&str, &str)> {
    let status = node.status.as_ref();
    let capacity = status.and_then(|status| status.capacity.as_ref());
    let all = capacity.into_iter().flatten();
    all.map(|(name, quantity)| (name.as_str(), quantity.0.as_str()))
}

fn offers(node: &Node) -> bool {
    quantities(node).any(|(name, count)| name == DEFAULT_GPU_RESOURCE && count != "0")
}

fn has_mig(node: &Node) -> bool {
    let labels = node.labels();
    if let Some(config) = labels.get("nvidia.com/mig.config") {
        return config != MIG_OFF;
    }
    let strategy = labels.get("nvidia.com/mig.strategy").map(String::as_str);
    matches!(strategy, Some("single" | "mixed"))
        || quantities(node).any(|(name, count)| name.starts_with("nvidia.com/mig-") && count != "0")
}

/// `node a has`, `nodes a, b and 3 more have`.
fn named(nodes: &[&Node], one: &str, many: &str) -> String {
    let names: Vec<String> = nodes
        .iter()
        .take(SHOWN)
        .map(|node| node.name_any())
        .collect();
    let more = match nodes.len().saturating_sub(names.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match nodes.len() {
        1 => format!("node {} {one}", names.join(", ")),
        _ => format!("nodes {}{more} {many}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(labels: Value, capacity: Value) -> Node {
        let node = json!({
            "metadata": { "name": "n1", "labels": labels }, "status": { "capacity": capacity },
        });
        serde_json::from_value(node).unwrap()
    }

    fn set(name: &str, image: &str, labels: Value) -> DaemonSet {
        let set = json!({
            "metadata": { "name": name, "namespace": "kube-system", "labels": labels },
            "spec": {
                "selector": {},
                "template": { "spec": { "containers": [{ "name": "c", "image": image }] } },
            },
        });
        serde_json::from_value(set).unwrap()
    }

    #[test]
    fn mig_is_told_by_what_its_manager_and_its_plugin_say_of_a_node() {
        for (labels, capacity, expected) in [
            (json!({}), json!({ "nvidia.com/gpu": "8" }), false),
            (
                json!({ "nvidia.com/mig.config": "all-1g.10gb" }),
                json!({}),
                true,
            ),
            (
                json!({ "nvidia.com/mig.config": "all-disabled", "nvidia.com/mig.strategy": "single" }),
                json!({}),
                false,
            ),
            (
                json!({ "nvidia.com/mig.strategy": "mixed" }),
                json!({}),
                true,
            ),
            (
                json!({ "nvidia.com/mig.strategy": "none" }),
                json!({}),
                false,
            ),
            (json!({}), json!({ "nvidia.com/mig-1g.10gb": "7" }), true),
            (json!({}), json!({ "nvidia.com/mig-1g.10gb": "0" }), false),
        ] {
            assert_eq!(
                has_mig(&node(labels.clone(), capacity.clone())),
                expected,
                "{labels} {capacity}"
            );
        }
    }

    #[test]
    fn plugins_of_others_are_known_by_their_names_or_images() {
        for (name, image, expected) in [
            (
                "nvidia-device-plugin-daemonset",
                "registry.example/x:1",
                true,
            ),
            ("nvidia-gpu-device-plugin", "gke.gcr.io/x:1", true),
            ("gpus", "nvcr.io/nvidia/k8s-device-plugin:v0.17.1", true),
            (
                "gpus",
                "mcr.microsoft.com/oss/v2/nvidia/k8s-device-plugin:v0.17.0",
                true,
            ),
            ("rdma-shared-device-plugin", "mellanox/rdma:1", false),
            (
                "nvidia-dcgm-exporter",
                "nvcr.io/nvidia/k8s/dcgm-exporter:4",
                false,
            ),
        ] {
            assert_eq!(
                is_device_plugin(&set(name, image, json!({}))),
                expected,
                "{name} {image}"
            );
        }
        let own = set(
            PLUGIN,
            "nvcr.io/nvidia/k8s-device-plugin:v1",
            json!({ MANAGED: "true" }),
        );
        assert!(!is_device_plugin(&own));
    }

    #[test]
    fn nodes_that_offer_gpus_are_named_but_not_all_of_many() {
        let gpus = node(json!({}), json!({ "nvidia.com/gpu": "4" }));
        assert!(offers(&gpus));
        assert!(!offers(&node(json!({}), json!({ "nvidia.com/gpu": "0" }))));
        assert_eq!(named(&[&gpus], "offers", "offer"), "node n1 offers");
        assert_eq!(
            named(&[&gpus; 6], "offers", "offer"),
            "nodes n1, n1, n1, n1 and 2 more offer"
        );
    }
}
