//! GPUs of nodes: the device plugin that `petctl setup` brings, what it leaves alone, and where jobs with GPUs land.

use crate::harness::{Installed, Job, MINUTE, Pod, Storage, Until, alone, beside_others, missing};
use crate::leaving::{ends_at_no_cost, until_replaced};
use petctl_test_kube::Node;
use serde_json::{Value, json};

/// Something that runs for ever in the place of NVIDIA's image.
const IMAGE: &str = "petctl.local/pause:1";
const SETUP: [&str; 4] = ["setup", "--on", "kube", "--yes"];

fn kubectl(installed: &Installed, arguments: &[&str]) -> String {
    let ran = installed.bed.kubectl(arguments);
    ran.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// The nodes on which the plugin's pods run.
fn plugin_nodes(installed: &Installed) -> Vec<String> {
    let label = "app.kubernetes.io/component=device-plugin";
    let listed = installed
        .namespace
        .kubectl(&["get", "pods", "-l", label, "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed.expect("pods can be listed")).expect("JSON");
    let items = listed["items"].as_array().into_iter().flatten();
    let running = items.filter(|pod| Pod::of(pod).runs());
    let nodes = running.filter_map(|pod| pod["spec"]["nodeName"].as_str());
    nodes.map(str::to_owned).collect()
}

/// A job with one GPU for each worker.
fn job<'i>(installed: &'i Installed, name: &str) -> Job<'i> {
    Job::gated(installed, name, 1, "min = 1\nmax = 1\ngpus = 1")
}

#[test]
fn the_plugin_runs_on_spot_gpu_nodes_and_jobs_with_gpus_land_there() {
    let cluster = alone();
    let place = format!(
        "spot = true\ngpu = {{ plugin = \"device-plugin\", sharing = 4, image = \"{IMAGE}\", \
         node_selector = {{ \"petctl.test/gpu\" = \"true\" }} }}\n"
    );
    let installed = Installed::prepared(cluster.bed, "gpu", Storage::HostPath, &place);
    let node: Node = cluster.bed.nodes()[1];
    let taints = [
        "kubernetes.azure.com/scalesetpriority=spot:NoSchedule",
        "sku=gpu:NoSchedule",
    ];
    kubectl(
        &installed,
        &["label", "node", node.name(), "petctl.test/gpu=true"],
    );
    kubectl(
        &installed,
        &["taint", "node", node.name(), taints[0], taints[1]],
    );
    let pool = Until::back(|| {
        kubectl(
            &installed,
            &["label", "node", node.name(), "petctl.test/gpu-"],
        );
        let off = taints.map(|taint| format!("{taint}-"));
        kubectl(
            &installed,
            &["taint", "node", node.name(), &off[0], &off[1]],
        );
    });
    let made = installed.ok(&SETUP);
    let wanted = [
        "+ ConfigMap petctl-device-plugin",
        "+ DaemonSet petctl-device-plugin",
    ];
    assert!(missing(&made.stdout, &wanted).is_empty(), "{made}");
    installed.wait(
        "the plugin runs on the pool's node, and on no other",
        || (plugin_nodes(&installed) == [node.name()]).then_some(()),
    );
    let config = installed
        .namespace
        .get("configmap", "petctl-device-plugin")
        .expect("it was made");
    let config = config["data"]["config.yaml"].as_str().unwrap_or_default();
    assert!(
        missing(config, &["version: v1", "replicas: 4"]).is_empty(),
        "{config}"
    );

    // What the plugin would offer.
    node.gpus(1);
    let gpus = Until::back(|| node.gpus(0));
    // Its own plugin is not in its way.
    let again = installed.ok(&SETUP);
    assert!(
        again.stdout.contains("= DaemonSet petctl-device-plugin"),
        "{again}"
    );
    let first = job(&installed, "first");
    installed.ok(&["run", &first.path(), "-d"]);
    first.until_started(1);
    let nodes: Vec<String> = installed
        .pods("first")
        .into_iter()
        .map(|pod| pod.node)
        .collect();
    assert_eq!(nodes, [node.name()]);
    first.open();
    installed.ok(&["status", "first", "--wait"]);
    installed.until_no_pods("first");

    // The GPU turns unhealthy: the kubelet offers it no more.
    gpus.now();
    let second = job(&installed, "second");
    installed.ok(&["run", &second.path(), "-d"]);
    let why = installed.until_waits("second", "POD_UNSCHEDULABLE");
    assert!(why.contains("nvidia.com/gpu"), "{why}");
    node.gpus(1);
    let gpus = Until::back(|| node.gpus(0));
    second.until_started(1);
    second.open();
    installed.ok(&["status", "second", "--wait"]);
    gpus.now();

    // Sharing that ends takes its config along, and so does the plugin.
    let alone = installed.ok(&[
        &SETUP[..],
        &["--gpu", "device-plugin", "--gpu-sharing", "1"],
    ]
    .concat());
    assert!(
        alone.stdout.contains("- ConfigMap petctl-device-plugin"),
        "{alone}"
    );
    let gone = installed.ok(&[&SETUP[..], &["--gpu", "none"]].concat());
    assert!(
        gone.stdout.contains("- DaemonSet petctl-device-plugin"),
        "{gone}"
    );
    installed.wait("the plugin is gone", || {
        plugin_nodes(&installed).is_empty().then_some(())
    });
    installed.ok(&SETUP);
    let removed = installed.ok(&["uninstall", "--on", "kube", "--yes"]);
    assert!(
        removed
            .stderr
            .contains("removed DaemonSet petctl-device-plugin"),
        "{removed}"
    );
    pool.now();
}

#[test]
fn what_offers_gpus_already_is_left_alone_and_what_can_not_be_is_refused() {
    let cluster = alone();
    let installed = Installed::prepared(cluster.bed, "gpus", Storage::HostPath, "");
    let node: Node = cluster.bed.nodes()[1];
    let plugin = [&SETUP[..], &["--gpu", "device-plugin"]].concat();
    let set = |kind: &str| format!("--set=place.kube.{kind}");
    let image = set(&format!("gpu.image={IMAGE}"));
    let shared = [&plugin[..], &["--gpu-sharing", "4", &image]].concat();

    // Of a cloud, in another namespace; on no node here.
    let other = cluster.bed.namespace("cloud");
    let labels = json!({ "app": "cloud" });
    let cloud = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "nvidia-device-plugin" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "nodeSelector": { "petctl.test/none": "true" },
                    "containers": [{ "name": "c", "image": IMAGE }],
                },
            },
        },
    });
    other.apply(&cloud).expect("a DaemonSet");
    let whose = format!("{}/nvidia-device-plugin", other.name());
    let ran = installed.ok(&shared);
    let words = [whose.as_str(), "is left alone", "whether GPUs are shared"];
    assert!(missing(&ran.stderr, &words).is_empty(), "{ran}");
    assert!(!ran.stdout.contains("DaemonSet"), "{ran}");
    other
        .kubectl(&["delete", "daemonset", "nvidia-device-plugin"])
        .expect("it can be deleted");

    node.gpus(2);
    let gpus = Until::back(|| node.gpus(0));
    let ran = installed.ok(&plugin);
    let words = [node.name(), "offers nvidia.com/gpu", "is left alone"];
    assert!(missing(&ran.stderr, &words).is_empty(), "{ran}");
    assert!(!ran.stdout.contains("DaemonSet"), "{ran}");
    gpus.now();

    kubectl(
        &installed,
        &[
            "label",
            "node",
            node.name(),
            "nvidia.com/mig.config=all-1g.10gb",
        ],
    );
    let mig = Until::back(|| {
        kubectl(
            &installed,
            &["label", "node", node.name(), "nvidia.com/mig.config-"],
        );
    });
    installed
        .petctl(&shared)
        .refuses(78, "BAD_GPU_SETUP", &["MIG", node.name(), "all-disabled"]);
    mig.now();

    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(
        &installed,
        &[
            "label",
            "namespace",
            installed.namespace.name(),
            "--overwrite",
            enforce,
        ],
    );
    installed
        .petctl(&plugin)
        .refuses(78, "BAD_GPU_SETUP", &["restricted", "--gpu operator"]);
}

#[test]
fn the_operator_is_printed_and_helm_is_called_where_it_is_confirmed() {
    let cluster = alone();
    let installed = Installed::new(cluster.bed, "helm");
    let operator = [
        "setup",
        "--on",
        "kube",
        "--gpu",
        "operator",
        "--gpu-sharing",
        "4",
    ];
    let dry = installed.ok(&[&operator[..], &["--dry-run"]].concat());
    let words = [
        "helm upgrade --install gpu-operator",
        "kubectl apply -f gpu-rule.yaml",
        "kind: NodeFeatureRule",
        "10de",
        "kubernetes.azure.com/scalesetpriority",
        "replicas: 4",
    ];
    assert!(missing(&dry.stdout, &words).is_empty(), "{dry}");

    // A helm of the test's, which makes the kind that the chart would bring.
    let folder = installed.folder().join("bin");
    let said = installed.folder().join("helm.said");
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "nodefeaturerules.nfd.k8s-sigs.io" },
        "spec": {
            "group": "nfd.k8s-sigs.io", "scope": "Cluster",
            "names": { "kind": "NodeFeatureRule", "plural": "nodefeaturerules", "singular": "nodefeaturerule" },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    });
    installed.bed.apply(&crd).expect("a kind");
    let kind = Until::back(|| {
        let name = "nodefeaturerules.nfd.k8s-sigs.io";
        kubectl(
            &installed,
            &["delete", "customresourcedefinition", name, "--wait=false"],
        );
    });
    std::fs::create_dir_all(&folder).expect("a folder of the test");
    let helm = folder.join("helm");
    let script = format!("#!/bin/sh\necho \"$@\" > {0}\ncat >> {0}\n", said.display());
    std::fs::write(&helm, script).expect("a program of the test");
    let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&helm, runs).expect("it is ours");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = installed.command(&[&operator[..], &["--yes"]].concat());
    command.env("PATH", format!("{}:{path}", folder.display()));
    let ran = installed
        .start_command(&mut command)
        .ends_within(MINUTE)
        .exits(0);
    assert!(
        ran.stdout.contains("NVIDIA's operator is installed"),
        "{ran}"
    );
    let told = std::fs::read_to_string(&said).expect("helm was called");
    let words = [
        "upgrade --install gpu-operator",
        "--values -",
        "replicas: 4",
        "petctl-time-slicing",
    ];
    assert!(missing(&told, &words).is_empty(), "{told}");
    let rule = kubectl(
        &installed,
        &["get", "nodefeaturerule", "petctl-nvidia-gpus", "-o", "json"],
    );
    assert!(rule.contains("pci-10de.present"), "{rule}");
    kind.now();
}

/// A device of which nobody else's pods have any.
const DEVICE: &str = "petctl.test/gpu";

/// The device that a pod has, and how the kubelet says that it is.
fn device(installed: &Installed, pod: &Pod) -> Option<(String, String)> {
    let pod = installed.namespace.get("pod", &pod.name)?;
    let statuses = pod["status"]["containerStatuses"].as_array()?;
    let mut all = statuses
        .iter()
        .filter_map(|status| status["allocatedResourcesStatus"].as_array())
        .flatten();
    let own = all.find(|told| told["name"] == DEVICE)?;
    let text = |name: &str| Some(own["resources"][0][name].as_str()?.to_owned());
    Some((text("resourceID")?, text("health")?))
}

/// A job of six shards whose commands save on SIGTERM, with a device for each of its two workers; those have begun.
fn with_devices<'i>(installed: &'i Installed, name: &str) -> (Job<'i>, Vec<Pod>) {
    let job = Job::gated(installed, name, 6, "max = 2\ngpus = 1").file(
        "work.sh",
        "set -eu\necho \"$1 $2\" >> @NOTES@/started\n\
         trap 'echo \"$1\" >> @NOTES@/told; sleep 3; echo \"$1\" >> @NOTES@/saved; exit 1' TERM\n\
         until [ -e @NOTES@/open ]; do sleep 0.05; done\necho done > \"$2/out.txt\"\n",
    );
    let more = [
        "--set",
        "stage.work.retries=0",
        "--set",
        "stage.work.grace=8s",
    ];
    installed.ok(&[&["run", &job.path(), "-d"][..], &more].concat());
    let pods = installed.until_pods(name, 2);
    job.until_started(2);
    (job, pods)
}

#[test]
fn a_worker_whose_gpu_turns_unhealthy_is_drained_at_no_cost_and_its_pod_comes_back_on_another_gpu()
{
    let cluster = beside_others();
    let place = format!("gpu_resource = \"{DEVICE}\"\n");
    let installed = Installed::with(cluster.bed, "health", &place);
    let node: Node = cluster.bed.nodes()[1];
    let devices = node.devices(DEVICE, 3);
    let (job, pods) = with_devices(&installed, "health");
    assert!(pods.iter().all(|pod| pod.node == node.name()), "{pods:?}");
    let of = |pod: &Pod| {
        installed.wait("the kubelet says which device it is", || {
            device(&installed, pod)
        })
    };
    let (sick, well) = (of(&pods[1]), of(&pods[0]));
    assert_eq!([&sick.1, &well.1], ["Healthy"; 2]);

    devices.unhealthy(&[&sick.0]);
    let said = installed.until_waits("health", "GPU_UNHEALTHY");
    let which = format!(
        "a GPU of node {} is unhealthy ({DEVICE} {})",
        node.name(),
        sick.0
    );
    let told = format!("worker {} is drained: {which}", pods[1].name);
    assert_eq!(said, told);
    // Its command has its grace, as on a drained node.
    let replaced = until_replaced(&installed, "health", &pods[1]);
    assert_eq!([job.noted("told").len(), job.noted("saved").len()], [1, 1]);
    let (new, health) = of(&replaced);
    assert!(
        new != sick.0 && new != well.0 && health == "Healthy",
        "{new} is {health}"
    );
    let other = installed
        .pods("health")
        .into_iter()
        .find(|pod| pod.uid == pods[0].uid);
    assert!(
        other.is_some_and(|pod| pod.runs()),
        "a worker whose GPU is well stays"
    );
    ends_at_no_cost(&installed, &job, &[&pods[1]], &which);
}

/// Kubelets before 1.36 say nothing of the devices of pods, and neither does that of the third node.
#[test]
fn where_pods_say_nothing_of_their_gpus_the_node_does_to_a_coordinator_that_may_look() {
    let cluster = alone();
    let place = format!("gpu_resource = \"{DEVICE}\"\n");
    let installed = Installed::with(cluster.bed, "silent", &place);
    let node: Node = cluster.bed.nodes()[2];
    let devices = node.devices(DEVICE, 4);
    let (job, pods) = with_devices(&installed, "silent");
    assert!(
        pods.iter().all(|pod| device(&installed, pod).is_none()),
        "{pods:?}"
    );
    devices.unhealthy(&["d0", "d1", "d2"]);
    installed.wait("it is said that a right is missing", || {
        let log = installed
            .namespace
            .kubectl(&["logs", "petctl-coordinator-0"])
            .ok()?;
        log.contains("GPU_UNHEALTHY.md").then_some(())
    });
    let name = format!("petctl-nodes-{}", installed.namespace.name());
    let account = format!(
        "--serviceaccount={}:petctl-coordinator",
        installed.namespace.name()
    );
    let role = [
        "create",
        "clusterrole",
        &name,
        "--verb=list,watch",
        "--resource=nodes",
    ];
    let binding = [
        "create",
        "clusterrolebinding",
        &name,
        "--clusterrole",
        &name,
        &account,
    ];
    kubectl(&installed, &role);
    kubectl(&installed, &binding);
    let right = Until::back(|| {
        kubectl(
            &installed,
            &["delete", "clusterrole,clusterrolebinding", &name],
        );
    });
    // The right is asked for anew, and then the node is given its time.
    let said = installed.wait_within("its workers are drained", MINUTE * 3, || {
        let mut all = installed.waiting("silent").into_iter();
        all.find(|(code, _)| code == "GPU_UNHEALTHY")
    });
    let which = format!(
        "a GPU of node {} is unhealthy: the node offers 1 {DEVICE}",
        node.name()
    );
    assert!(said.1.contains(&which), "{said:?}");
    // One finds a healthy device there, and the other waits for one.
    let waits = installed.until_waits("silent", "POD_UNSCHEDULABLE");
    assert!(waits.contains("was drained: a GPU of node"), "{waits}");
    devices.unhealthy(&[]);
    ends_at_no_cost(&installed, &job, &[&pods[0], &pods[1]], &which);
    right.now();
}
