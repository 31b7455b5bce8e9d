//! The pods of a petctl job: one elastic Indexed Job.

use super::pod;
use super::pod::OWN;
use crate::names::{
    CA_KEY, JOB, KEPT_BY, PORT, QUEUE, TEMPLATE, TOKEN_KEY, WORKER, labels, of_job,
};
use petctl_settings::{KubePlace, Spread, Volume, VolumeSource};
use petctl_text::hex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The volume of the Secret by which a worker comes in.
pub(crate) const TOKEN_VOLUME: &str = "token";
/// Where a worker finds its token, and whom it is to trust.
const TOKEN: &str = "/var/run/petctl";
/// What a worker has beyond its commands' grace to announce its leave and hand back what it has, in seconds.
const LEAVE_S: u64 = 10;
/// How long a pod stays on a node that is not heard of, in seconds; Kubernetes' own default is 300.
const LOST_NODE_S: u64 = 2;
/// How long a worker looks for a coordinator that is away: its pod may have to move to another node.
const PATIENCE: &str = "30m";
/// Failures are petctl's to count, not the Job's.
const NO_LIMIT: u32 = 1_000_000;
/// By which Kueue lets a Job's number of pods change while it runs.
const ELASTIC: &str = "kueue.x-k8s.io/elastic-job";
/// Nodes of AKS' spot pools bear this taint.
const SPOT: (&str, &str) = ("kubernetes.azure.com/scalesetpriority", "spot");

/// What the pods of a job are made of.
#[derive(Clone, Debug)]
pub(crate) struct Workers<'a> {
    /// The job.
    pub(crate) job: &'a str,
    /// Where and of what.
    pub(crate) place: &'a KubePlace,
    /// The image in which commands run.
    pub(crate) image: &'a str,
    /// Shards at a time.
    pub(crate) slots: u32,
    /// GPUs of each.
    pub(crate) gpus: u32,
    /// The longest grace of the job's commands, in ms.
    pub(crate) grace_ms: u64,
    /// Host or address of the coordinator's Service.
    pub(crate) coordinator: &'a str,
    /// The Secret in which its token is.
    pub(crate) secret: String,
    /// Whether the coordinator speaks TLS.
    pub(crate) tls: bool,
    /// UID of the job's record, to which the pods belong.
    pub(crate) owner: &'a str,
    /// The release of the coordinator.
    pub(crate) release: &'a str,
}

/// The record of a job: where its workers run. What belongs to the job goes with it.
pub(crate) fn record(job: &str, namespace: &str, place_json: &str) -> Value {
    let mut labels = labels("job");
    labels.insert(JOB.to_owned(), job.to_owned());
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": of_job(job), "namespace": namespace, "labels": labels },
        "data": { "job": job, PLACE_KEY: place_json },
    })
}

/// By what something goes with the record of its job, which has this UID.
pub(super) fn of_record(job: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": of_job(job), "uid": uid,
        "controller": true, "blockOwnerDeletion": false,
    })
}

/// The key of a record under which the place stands.
pub(crate) const PLACE_KEY: &str = "place.json";

/// The Job of so many workers; its template never changes while it lives.
pub(crate) fn workers(how: &Workers<'_>, count: u32, suspended: bool) -> Value {
    let template = template(how);
    let name = of_job(how.job);
    let mut labels = labels("workers");
    labels.insert(JOB.to_owned(), how.job.to_owned());
    let mut digest = Sha256::new_with_prefix(template.to_string());
    let mut annotations = Map::new();
    if let Some(queue) = &how.place.queue {
        digest.update(queue);
        labels.insert(QUEUE.to_owned(), queue.clone());
        // Without it a change of size sends the whole job to the queue's end.
        annotations.insert(ELASTIC.to_owned(), json!("true"));
    }
    let digest = hex(&digest.finalize());
    annotations.insert(TEMPLATE.to_owned(), json!(digest.get(..16)));
    annotations.insert(KEPT_BY.to_owned(), json!(how.release));
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": how.place.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [of_record(how.job, how.owner)],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": count,
            "suspend": suspended,
            // By index: a failure of one does not hold up the others.
            "backoffLimitPerIndex": NO_LIMIT,
            // With a failure policy Kubernetes allows nothing else: no index has two pods.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": { "rules": [
                { "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] },
                { "action": "Ignore", "onExitCodes": {
                    "containerName": WORKER, "operator": "NotIn", "values": [0] } },
            ] },
            "template": template,
        },
    })
}

fn template(how: &Workers<'_>) -> Value {
    let place = how.place;
    let mut pod_labels = place.labels.clone();
    pod_labels.extend(labels("worker"));
    pod_labels.insert(JOB.to_owned(), how.job.to_owned());
    let mut annotations = place.annotations.clone();
    // An autoscaler that removes a node ends what runs there.
    let evict = "cluster-autoscaler.kubernetes.io/safe-to-evict";
    annotations
        .entry(evict.to_owned())
        .or_insert_with(|| "false".to_owned());
    let mut spec = json!({
        "restartPolicy": "Never",
        "serviceAccountName": place.service_account,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": how.grace_ms.div_ceil(1_000) + LEAVE_S,
        "securityContext": pod::pod_security(place.user, false),
        "imagePullSecrets": pod::pull_secrets(place),
        "nodeSelector": place.node_selector,
        "tolerations": tolerations(how),
        "topologySpreadConstraints": spread(how),
        "initContainers": [install(place)],
        "containers": [container(how)],
        "volumes": volumes(how),
    });
    if let Some(class) = &place.priority_class {
        spec["priorityClassName"] = json!(class);
    }
    if let Some(class) = &place.runtime_class {
        spec["runtimeClassName"] = json!(class);
    }
    json!({ "metadata": { "labels": pod_labels, "annotations": annotations }, "spec": spec })
}

/// Brings petctl into the pod, whatever the image of the commands is. It needs no network and next to nothing else.
fn install(place: &KubePlace) -> Value {
    // A pod counts with the most that one of its containers asks for: no more than its worker does. Where that asks for
    // nothing, as little as quotas still take for an answer.
    let or_few = |given: Map<String, Value>, few: Value| match given.is_empty() {
        true => few,
        false => Value::Object(given),
    };
    let requests = or_few(
        pod::quantities(place.requested()),
        json!({ "cpu": "10m", "memory": "16Mi" }),
    );
    let limits = or_few(
        pod::quantities(place.resources),
        json!({ "cpu": "1", "memory": "128Mi" }),
    );
    json!({
        "name": "petctl",
        "image": place.petctl_image,
        "imagePullPolicy": place.pull_policy.as_str(),
        "args": ["install-program", OWN],
        "resources": { "requests": requests, "limits": limits },
        "securityContext": pod::container_security(true),
        "volumeMounts": [{ "name": "petctl", "mountPath": OWN }],
    })
}

fn container(how: &Workers<'_>) -> Value {
    let place = how.place;
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let mut env = vec![
        field("PETCTL_POD_NAME", "metadata.name"),
        field("PETCTL_POD_IP", "status.podIP"),
        field("PETCTL_NODE_NAME", "spec.nodeName"),
    ];
    let mut set = |name: &str, value: String| {
        if !place.env.contains_key(name) {
            env.push(json!({ "name": name, "value": value }));
        }
    };
    set("HOME", format!("{OWN}/home"));
    set("TMPDIR", "/tmp".to_owned());
    if let Some(milli) = place.resources.cpu_milli {
        // Libraries count the node's cores otherwise, and are many times slower with too many threads.
        set("OMP_NUM_THREADS", milli.div_ceil(1_000).to_string());
    }
    for (name, value) in &place.env {
        env.push(json!({ "name": name, "value": value }));
    }
    let scheme = if how.tls { "https" } else { "http" };
    let coordinator = if how.coordinator.contains(':') {
        format!("{scheme}://[{}]:{PORT}", how.coordinator)
    } else {
        format!("{scheme}://{}:{PORT}", how.coordinator)
    };
    let mut command = vec![
        format!("{OWN}/bin/petctl"),
        "worker".to_owned(),
        "--stay".to_owned(),
    ];
    if place.command_logs {
        command.push("--echo".to_owned());
    }
    let mut option = |name: &str, value: String| command.extend([name.to_owned(), value]);
    option("--coordinator", coordinator);
    if how.tls {
        option("--ca-file", format!("{TOKEN}/{CA_KEY}"));
    }
    option("--token-file", format!("{TOKEN}/{TOKEN_KEY}"));
    option("--job", how.job.to_owned());
    option("--name", "$(PETCTL_POD_NAME)".to_owned());
    option("--host", "$(PETCTL_NODE_NAME)".to_owned());
    option("--address", "$(PETCTL_POD_IP)".to_owned());
    option("--index", "$(JOB_COMPLETION_INDEX)".to_owned());
    option("--slots", how.slots.to_string());
    option("--gpus", how.gpus.to_string());
    option("--code", format!("{OWN}/code"));
    option("--scratch", format!("{OWN}/scratch"));
    option("--patience", PATIENCE.to_owned());
    if let Some(milli) = place.resources.cpu_milli {
        option("--cpu-milli", milli.to_string());
    }
    if let Some(bytes) = place.resources.memory_bytes {
        option("--memory-mib", (bytes / (1 << 20)).max(1).to_string());
    }
    let mut limits = pod::quantities(place.resources);
    let mut requests = pod::quantities(place.requested());
    if how.gpus > 0 {
        for map in [&mut limits, &mut requests] {
            map.insert(place.gpu_resource.clone(), json!(how.gpus.to_string()));
        }
    }
    let from = place.env_from_secrets.iter();
    let mut container: Map<String, Value> = Map::new();
    container.insert("name".to_owned(), json!(WORKER));
    container.insert("image".to_owned(), json!(how.image));
    let policy = place.pull_policy.as_str();
    container.insert("imagePullPolicy".to_owned(), json!(policy));
    container.insert("command".to_owned(), json!(command));
    container.insert("workingDir".to_owned(), json!(format!("{OWN}/home")));
    container.insert("env".to_owned(), json!(env));
    container.insert(
        "envFrom".to_owned(),
        from.map(|name| json!({ "secretRef": { "name": name } }))
            .collect(),
    );
    container.insert(
        "resources".to_owned(),
        json!({ "requests": requests, "limits": limits }),
    );
    container.insert(
        "securityContext".to_owned(),
        pod::container_security(!place.writable_root),
    );
    container.insert("volumeMounts".to_owned(), json!(mounts(place)));
    // What it said last is kept with the pod, where its log is gone.
    let policy = "FallbackToLogsOnError";
    container.insert("terminationMessagePolicy".to_owned(), json!(policy));
    Value::Object(container)
}

fn tolerations(how: &Workers<'_>) -> Vec<Value> {
    let place = how.place;
    let mut all: Vec<Value> = place.tolerations.iter().map(pod::toleration).collect();
    if place.spot {
        all.push(
            json!({ "key": SPOT.0, "operator": "Equal", "value": SPOT.1, "effect": "NoSchedule" }),
        );
    }
    if how.gpus > 0 {
        all.push(
            json!({ "key": place.gpu_resource, "operator": "Exists", "effect": "NoSchedule" }),
        );
        all.push(
            json!({ "key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule" }),
        );
    }
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let given =
            |toleration: &petctl_settings::Toleration| toleration.key.as_deref() == Some(key);
        if !place.tolerations.iter().any(given) {
            all.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_S,
            }));
        }
    }
    all
}

/// Over what workers are spread: where there is room, none waits for it.
fn spread(how: &Workers<'_>) -> Vec<Value> {
    const NODE: &str = "kubernetes.io/hostname";
    const ZONE: &str = "topology.kubernetes.io/zone";
    let over: &[&str] = match how.place.spread {
        Spread::Auto if how.gpus > 0 => &[],
        Spread::Auto | Spread::Nodes => &[NODE],
        Spread::Zones => &[ZONE, NODE],
        Spread::Never => &[],
    };
    let constraint = |key: &&str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": { JOB: how.job } },
        })
    };
    over.iter().map(constraint).collect()
}

fn volumes(how: &Workers<'_>) -> Vec<Value> {
    let place = how.place;
    let mut volumes = vec![
        json!({ "name": "petctl", "emptyDir": {} }),
        json!({ "name": "tmp", "emptyDir": {} }),
        // Read by whatever user the image or the place names.
        json!({ "name": TOKEN_VOLUME, "secret": { "secretName": how.secret, "defaultMode": 0o444 } }),
    ];
    volumes.extend(
        all_volumes(place)
            .enumerate()
            .map(|(n, v)| pod::volume(n, &v).0),
    );
    volumes
}

fn mounts(place: &KubePlace) -> Vec<Value> {
    let mut mounts = vec![
        json!({ "name": "petctl", "mountPath": OWN }),
        json!({ "name": "tmp", "mountPath": "/tmp" }),
        json!({ "name": TOKEN_VOLUME, "mountPath": TOKEN, "readOnly": true }),
    ];
    mounts.extend(
        all_volumes(place)
            .enumerate()
            .map(|(n, v)| pod::volume(n, &v).1),
    );
    mounts
}

/// Those of the place, with the shared memory that training processes talk through.
fn all_volumes(place: &KubePlace) -> impl Iterator<Item = Volume> {
    let shm = place.shm_bytes.map(|bytes| Volume {
        path: "/dev/shm".to_owned(),
        source: VolumeSource::Memory(bytes),
        read_only: false,
        sub_path: None,
    });
    place.volumes.iter().cloned().chain(shm)
}
