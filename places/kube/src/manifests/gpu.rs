//! NVIDIA's device plugin, as its own static deployment has it, with the tolerations that spot and GPU pools need.

use super::pod;
use crate::names::{TEMPLATE, labels};
use petctl_settings::{DEFAULT_GPU_RESOURCE, KubePlace};
use petctl_text::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The DaemonSet, and the ConfigMap of its time slicing.
pub(crate) const PLUGIN: &str = "petctl-device-plugin";
/// Label of both.
pub(crate) const COMPONENT: &str = "device-plugin";
/// Where kubelets look for plugins.
const PLUGINS: &str = "/var/lib/kubelet/device-plugins";
/// Where the plugin finds its time slicing.
const CONFIG: &str = "/config";
/// The file in there.
const FILE: &str = "config.yaml";

/// The taints that GPU and spot pools have, and those that the place names.
pub(crate) fn tolerations(place: &KubePlace) -> Vec<Value> {
    let equal = |key: &str, value: &str| json!({ "key": key, "operator": "Equal", "value": value, "effect": "NoSchedule" });
    let mut all = vec![
        json!({ "key": DEFAULT_GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule" }),
        equal("sku", "gpu"),
        equal("kubernetes.azure.com/scalesetpriority", "spot"),
    ];
    for toleration in place.tolerations.iter().map(pod::toleration) {
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    all
}

/// The plugin's configuration for time slicing, in its version `v1`. A worker that asks for two shares would get no
/// more than with one, and is refused.
pub(crate) fn time_slicing(sharing: u32) -> String {
    format!(
        "version: v1\nsharing:\n  timeSlicing:\n    renameByDefault: false\n    failRequestsGreaterThanOne: true\n    \
         resources:\n    - name: {DEFAULT_GPU_RESOURCE}\n      replicas: {sharing}\n"
    )
}

/// The device plugin of a place.
pub(crate) fn device_plugin(place: &KubePlace) -> Vec<Value> {
    let gpu = &place.gpu;
    let meta = json!({
        "name": PLUGIN, "namespace": place.namespace, "labels": labels(COMPONENT),
    });
    let mut objects = Vec::new();
    let mut env = vec![json!({ "name": "FAIL_ON_INIT_ERROR", "value": "false" })];
    let mut mounts = vec![json!({ "name": "plugins", "mountPath": PLUGINS })];
    let mut volumes =
        vec![json!({ "name": "plugins", "hostPath": { "path": PLUGINS, "type": "Directory" } })];
    let mut annotations = json!({});
    if gpu.sharing > 1 {
        let config = time_slicing(gpu.sharing);
        // The plugin reads it at its start: another one is another pod.
        let digest = hex(&Sha256::digest(config.as_bytes()));
        annotations[TEMPLATE] = json!(digest.get(..16).unwrap_or_default());
        env.push(json!({ "name": "CONFIG_FILE", "value": format!("{CONFIG}/{FILE}") }));
        mounts.push(json!({ "name": "config", "mountPath": CONFIG, "readOnly": true }));
        volumes.push(json!({ "name": "config", "configMap": { "name": PLUGIN } }));
        objects.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": { FILE: config },
        }));
    }
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "priorityClassName": "system-node-critical",
        "imagePullSecrets": pod::pull_secrets(place),
        "nodeSelector": gpu.node_selector,
        "tolerations": tolerations(place),
        "volumes": volumes,
        "containers": [{
            "name": "nvidia-device-plugin",
            "image": gpu.image,
            "imagePullPolicy": place.pull_policy.as_str(),
            "env": env,
            "resources": {
                "requests": { "cpu": "10m", "memory": "32Mi" },
                "limits": { "cpu": "500m", "memory": "256Mi" },
            },
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            "volumeMounts": mounts,
        }],
    });
    if let Some(class) = &place.runtime_class {
        spec["runtimeClassName"] = json!(class);
    }
    objects.push(json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": meta,
        "spec": {
            "selector": { "matchLabels": labels(COMPONENT) },
            "updateStrategy": { "type": "RollingUpdate" },
            "template": {
                "metadata": { "labels": labels(COMPONENT), "annotations": annotations },
                "spec": spec,
            },
        },
    }));
    objects.iter_mut().for_each(pod::without_empty);
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_settings::{Gpu, Toleration};

    fn place(gpu: Gpu) -> KubePlace {
        KubePlace {
            namespace: "ml".to_owned(),
            gpu,
            ..KubePlace::default()
        }
    }

    fn keys(tolerations: &Value) -> Vec<&str> {
        let all = tolerations.as_array().unwrap().iter();
        all.filter_map(|toleration| toleration["key"].as_str())
            .collect()
    }

    #[test]
    fn the_plugin_bears_the_taints_of_spot_and_gpu_pools_and_those_of_the_place() {
        let mut place = place(Gpu::default());
        let spot = Toleration {
            key: Some("cloud.google.com/gke-spot".to_owned()),
            value: Some("true".to_owned()),
            ..Toleration::default()
        };
        place.tolerations = vec![spot];
        let objects = device_plugin(&place);
        let [plugin] = objects.as_slice() else {
            panic!("{objects:?}")
        };
        let pod = &plugin["spec"]["template"]["spec"];
        let expected = [
            "nvidia.com/gpu",
            "sku",
            "kubernetes.azure.com/scalesetpriority",
            "cloud.google.com/gke-spot",
        ];
        assert_eq!(keys(&pod["tolerations"]), expected);
        assert_eq!(
            pod["containers"][0]["image"],
            petctl_settings::DEFAULT_PLUGIN_IMAGE
        );
        assert_eq!(
            pod["volumes"][0]["hostPath"]["path"],
            "/var/lib/kubelet/device-plugins"
        );
        assert_eq!(pod["nodeSelector"], Value::Null);
        assert_eq!(plugin["metadata"]["labels"]["petctl.io/managed"], "true");
    }

    #[test]
    fn time_slicing_is_a_config_of_the_plugin_and_another_one_another_pod() {
        let shared = |sharing| {
            let gpu = Gpu {
                sharing,
                image: "registry.example/plugin:1".to_owned(),
                node_selector: [("agentpool".to_owned(), "gpu".to_owned())].into(),
                ..Gpu::default()
            };
            device_plugin(&place(gpu))
        };
        let objects = shared(4);
        let [config, plugin] = objects.as_slice() else {
            panic!("{objects:?}")
        };
        let text = config["data"]["config.yaml"].as_str().unwrap();
        let expected = "version: v1\nsharing:\n  timeSlicing:\n    renameByDefault: false\n    \
                        failRequestsGreaterThanOne: true\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n";
        assert_eq!(text, expected);
        let template = &plugin["spec"]["template"];
        let container = &template["spec"]["containers"][0];
        let file = json!({ "name": "CONFIG_FILE", "value": "/config/config.yaml" });
        assert_eq!(container["env"][1], file);
        assert_eq!(container["image"], "registry.example/plugin:1");
        assert_eq!(
            template["spec"]["volumes"][1]["configMap"]["name"],
            config["metadata"]["name"]
        );
        assert_eq!(
            template["spec"]["nodeSelector"],
            json!({ "agentpool": "gpu" })
        );
        let annotations = &template["metadata"]["annotations"];
        assert_ne!(annotations, &Value::Null);
        let eight = shared(8);
        assert_ne!(
            annotations,
            &eight[1]["spec"]["template"]["metadata"]["annotations"]
        );
    }
}
