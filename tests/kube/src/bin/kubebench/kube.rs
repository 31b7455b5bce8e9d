//! What a user would take instead: bare Jobs. And questions to the cluster.

use crate::place::{IMAGE, Place, REQUESTS};
use crate::time::{ASK, until_long};
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

/// kubectl's complaint as an error.
pub(crate) fn done(result: Result<String, String>) -> Result<String> {
    result.map_err(|error| anyhow!("kubectl: {error}"))
}

/// A Job of so many pods that run a shell's text, in the same image, with the same volume and requests as petctl's.
pub(crate) fn job(place: &Place, name: &str, count: usize, script: &str) -> Value {
    let data = place.data();
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": count,
            "template": {"spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 1,
                "volumes": [{"name": "data", "hostPath": {"path": data}}],
                "containers": [{
                    "name": "main",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "command": ["sh", "-c", script],
                    "resources": {"requests": {"cpu": REQUESTS.0, "memory": REQUESTS.1}},
                    "volumeMounts": [{"name": "data", "mountPath": data}],
                }],
            }},
        },
    })
}

/// The same Job, with petctl brought into its pods as into those of petctl's jobs, and left alone there.
pub(crate) fn with_program(place: &Place, mut job: Value) -> Value {
    let pod = &mut job["spec"]["template"]["spec"];
    pod["initContainers"] = json!([{
        "name": "petctl",
        "image": place.image,
        "imagePullPolicy": "Never",
        "args": ["install-program", "/petctl"],
        "volumeMounts": [{"name": "petctl", "mountPath": "/petctl"}],
    }]);
    if let Some(volumes) = pod["volumes"].as_array_mut() {
        volumes.push(json!({"name": "petctl", "emptyDir": {}}));
    }
    job
}

/// Makes it, as a user does: by kubectl.
pub(crate) fn create(place: &Place, job: &Value) -> Result<()> {
    let arguments = ["--namespace", place.namespace.name(), "create", "-f", "-"];
    done(place.bed.kubectl_reading(&arguments, &job.to_string())).map(drop)
}

/// Deletes it, and waits until its pods are gone.
pub(crate) fn delete(place: &Place, name: &str) -> Result<()> {
    done(
        place
            .namespace
            .kubectl(&["delete", "job", name, "--wait=false"]),
    )?;
    let label = format!("batch.kubernetes.io/job-name={name}");
    until_long("the pods of a bare Job are gone", ASK, || {
        let listed = place
            .namespace
            .kubectl(&["get", "pods", "-l", &label, "-o", "name"]);
        Ok(listed
            .is_ok_and(|listed| listed.trim().is_empty())
            .then_some(()))
    })
}

/// A pod, as far as rows ask for it.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) ready: bool,
}

/// The pods with this label, but for those that go.
pub(crate) fn pods(place: &Place, label: &str) -> Result<Vec<Pod>> {
    let listed = done(
        place
            .namespace
            .kubectl(&["get", "pods", "-l", label, "-o", "json"]),
    )?;
    let listed: Value = serde_json::from_str(&listed).context("read what kubectl prints")?;
    let items = listed["items"].as_array().into_iter().flatten();
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    Ok(items.filter(stays).map(pod).collect())
}

/// The coordinator's pod; none while there is none.
pub(crate) fn coordinator(place: &Place) -> Result<Option<Pod>> {
    Ok(pods(place, "app.kubernetes.io/component=coordinator")?.pop())
}

fn pod(pod: &Value) -> Pod {
    let text = |path: &str| {
        let text = pod.pointer(path).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    Pod {
        name: text("/metadata/name"),
        uid: text("/metadata/uid"),
        node: text("/spec/nodeName"),
        ready: conditions.any(|held| held["type"] == "Ready" && held["status"] == "True"),
    }
}

/// How many pods like those of a petctl job the nodes have room for, beside one other on each.
pub(crate) fn room(place: &Place, job: &str) -> Result<usize> {
    let get = |arguments: &[&str]| -> Result<Value> {
        let listed = done(
            place
                .namespace
                .kubectl(&[arguments, &["-o", "json"]].concat()),
        )?;
        serde_json::from_str(&listed).context("read what kubectl prints")
    };
    let label = format!("petctl.io/job={job}");
    let job = get(&["get", "jobs", "-l", &label])?;
    let pod = job
        .pointer("/items/0/spec/template/spec")
        .context("a petctl job has a Job")?;
    // Containers that only start a pod run before the others, not beside them.
    let asked = ["initContainers", "containers"]
        .iter()
        .filter_map(|kind| pod[*kind].as_array())
        .flatten()
        .map(|container| milli(&container["resources"]["requests"]["cpu"]));
    let asked = asked.max().unwrap_or(0).max(1);
    let nodes = get(&["get", "nodes"])?;
    let nodes = nodes["items"].as_array().into_iter().flatten();
    let room = nodes.map(|node| {
        let offered = &node["status"]["allocatable"];
        let pods = offered["pods"].as_str().and_then(|pods| pods.parse().ok());
        (milli(&offered["cpu"]) / asked)
            .min(pods.unwrap_or(110_usize))
            .saturating_sub(1)
    });
    Ok(room.sum())
}

/// `2` or `100m` of cores, in thousandths.
fn milli(quantity: &Value) -> usize {
    let text = quantity.as_str().unwrap_or_default();
    match text.strip_suffix('m') {
        Some(milli) => milli.parse().unwrap_or(0),
        None => text.parse::<usize>().unwrap_or(0) * 1_000,
    }
}
