//! NVIDIA's operator for GPU nodes: what its chart is told, and how it is installed. It is a cluster's, not petctl's:
//! `petctl uninstall` leaves it alone.

use crate::cluster::Cluster;
use crate::manifests::gpu::{time_slicing, tolerations};
use crate::objects::{Applying, apply};
use petctl_settings::KubePlace;
use petctl_ui::error::{Code, Error, Result};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Where it is installed.
pub const NAMESPACE: &str = "gpu-operator";
/// Where its chart is.
const REPOSITORY: &str = "https://helm.ngc.nvidia.com/nvidia";
/// PCI vendor of NVIDIA's cards.
const VENDOR: &str = "10de";
/// The label by which the operator knows its nodes.
const PRESENT: &str = "feature.node.kubernetes.io/pci-10de.present";
/// How long the kind of its rules may take to be there after the chart was installed.
const KIND_TIMEOUT: Duration = Duration::from_secs(30);
/// Two tries are this far apart.
const AGAIN: Duration = Duration::from_secs(1);

/// Values of the chart.
#[must_use]
pub fn values(place: &KubePlace) -> Value {
    let gpu = &place.gpu;
    let tolerations = tolerations(place);
    let mut values = json!({
        "driver": { "enabled": gpu.driver },
        // Images that have the driver have the container toolkit too.
        "toolkit": { "enabled": gpu.driver },
        "daemonsets": { "tolerations": tolerations },
        "node-feature-discovery": { "worker": { "tolerations": tolerations } },
    });
    if gpu.sharing > 1 {
        // The cluster policy names it, and its default stands for every node without the label
        // `nvidia.com/device-plugin.config`.
        values["devicePlugin"] = json!({ "config": {
            "create": true,
            "name": "petctl-time-slicing",
            "default": "petctl",
            "data": { "petctl": time_slicing(gpu.sharing) },
        } });
    }
    values
}

/// Azure's GPU machines show their cards under classes that node feature discovery does not always label: this rule does
/// by the vendor alone.
#[must_use]
pub fn rule() -> Value {
    json!({
        "apiVersion": "nfd.k8s-sigs.io/v1alpha1",
        "kind": "NodeFeatureRule",
        "metadata": { "name": "petctl-nvidia-gpus" },
        "spec": { "rules": [{
            "name": "NVIDIA GPUs",
            "labels": { PRESENT: "true" },
            "matchFeatures": [{
                "feature": "pci.device",
                "matchExpressions": { "vendor": { "op": "In", "value": [VENDOR] } },
            }],
        }] },
    })
}

/// The words of the command that installs the chart, or brings one that is there to these values, which it reads from
/// `values`.
#[must_use]
pub fn command(place: &KubePlace, values: &str) -> Vec<String> {
    let mut words = vec![
        "helm",
        "upgrade",
        "--install",
        "gpu-operator",
        "gpu-operator",
    ];
    words.extend(["--repo", REPOSITORY]);
    words.extend(["--version", &place.gpu.operator_version]);
    words.extend(["--namespace", NAMESPACE, "--create-namespace"]);
    words.extend(["--values", values]);
    if let Some(context) = &place.context {
        words.extend(["--kube-context", context]);
    }
    if let Some(kubeconfig) = &place.kubeconfig {
        words.extend(["--kubeconfig", kubeconfig]);
    }
    words.into_iter().map(str::to_owned).collect()
}

/// Applies the rule, when the cluster has come to know its kind.
///
/// # Errors
/// What the cluster says against it.
pub async fn apply_rule(place: &KubePlace) -> Result<()> {
    let cluster = Cluster::of_place(place).await?;
    let how = Applying {
        dry_run: false,
        force: false,
    };
    let start = Instant::now();
    loop {
        let error = match apply(&cluster, &rule(), how).await {
            Ok(_difference) => return Ok(()),
            Err(error) => error,
        };
        if !error.is(Code::NotInstalled) {
            return Err(error);
        }
        if start.elapsed() > KIND_TIMEOUT {
            let what = format!(
                "the cluster does not know NodeFeatureRules after {} s ({})",
                KIND_TIMEOUT.as_secs(),
                cluster.shown
            );
            return Err(Error::new(Code::BadGpuSetup, what)
                .because(&std::io::Error::other(error.sentence()))
                .fix("the chart brings node feature discovery, unless its values say otherwise; apply the rule when it is there"));
        }
        sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_settings::Gpu;

    fn place(gpu: Gpu) -> KubePlace {
        KubePlace {
            context: Some("aks-gpu".to_owned()),
            gpu,
            ..KubePlace::default()
        }
    }

    #[test]
    fn the_operators_pods_bear_the_taints_of_spot_pools_and_gpus_are_shared_by_its_policy() {
        let shared = values(&place(Gpu {
            sharing: 4,
            driver: false,
            ..Gpu::default()
        }));
        for tolerations in [
            &shared["daemonsets"]["tolerations"],
            &shared["node-feature-discovery"]["worker"]["tolerations"],
        ] {
            let spot = json!({
                "key": "kubernetes.azure.com/scalesetpriority", "operator": "Equal", "value": "spot",
                "effect": "NoSchedule",
            });
            assert!(
                tolerations.as_array().unwrap().contains(&spot),
                "{tolerations}"
            );
        }
        assert_eq!(shared["driver"]["enabled"], false);
        assert_eq!(shared["toolkit"]["enabled"], false);
        let config = &shared["devicePlugin"]["config"];
        let key = config["default"].as_str().unwrap();
        assert!(
            config["data"][key]
                .as_str()
                .unwrap()
                .contains("replicas: 4"),
            "{config}"
        );
        let alone = values(&place(Gpu::default()));
        assert_eq!(alone["driver"]["enabled"], true);
        assert_eq!(alone["devicePlugin"], Value::Null);
    }

    #[test]
    fn cards_are_known_by_their_vendor() {
        let rule = rule();
        let first = &rule["spec"]["rules"][0];
        assert_eq!(
            first["labels"]["feature.node.kubernetes.io/pci-10de.present"],
            "true"
        );
        let vendor = &first["matchFeatures"][0]["matchExpressions"]["vendor"];
        assert_eq!(vendor, &json!({ "op": "In", "value": ["10de"] }));
    }

    #[test]
    fn the_command_names_the_version_and_the_cluster() {
        let place = place(Gpu {
            operator_version: "v26.3.2".to_owned(),
            ..Gpu::default()
        });
        let expected = "helm upgrade --install gpu-operator gpu-operator --repo https://helm.ngc.nvidia.com/nvidia \
                        --version v26.3.2 --namespace gpu-operator --create-namespace --values - --kube-context aks-gpu";
        assert_eq!(command(&place, "-").join(" "), expected);
    }
}
