//! What all pods of petctl have in common.

use petctl_settings::{KubePlace, Resources, Toleration, Volume, VolumeSource};
use serde_json::{Map, Value, json};

/// Where petctl's own volume is mounted in pods of workers.
pub(super) const OWN: &str = "/petctl";

/// Nothing that the restricted Pod Security Standard forbids, whatever the image says of its user.
pub(super) fn pod_security(user: u32, owns_volumes: bool) -> Value {
    let mut security = json!({
        "runAsNonRoot": true,
        "runAsUser": user,
        "runAsGroup": user,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    if owns_volumes {
        security["fsGroup"] = json!(user);
        security["fsGroupChangePolicy"] = json!("OnRootMismatch");
    }
    security
}

/// The same of a container.
pub(super) fn container_security(read_only_root: bool) -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": read_only_root,
    })
}

/// CPU and memory as Kubernetes writes them.
pub(super) fn quantities(resources: Resources) -> Map<String, Value> {
    let mut map = Map::new();
    if let Some(milli) = resources.cpu_milli {
        map.insert("cpu".to_owned(), json!(format!("{milli}m")));
    }
    if let Some(bytes) = resources.memory_bytes {
        map.insert("memory".to_owned(), json!(bytes.to_string()));
    }
    map
}

pub(super) fn toleration(toleration: &Toleration) -> Value {
    let mut value = json!({ "operator": toleration.operator.as_str() });
    let mut set = |name: &str, given: Option<Value>| {
        if let Some(given) = given {
            value[name] = given;
        }
    };
    set("key", toleration.key.as_ref().map(|key| json!(key)));
    set("value", toleration.value.as_ref().map(|text| json!(text)));
    let effect = toleration.effect.map(|effect| json!(effect.as_str()));
    set("effect", effect);
    set("tolerationSeconds", toleration.seconds.map(|s| json!(s)));
    value
}

/// A volume and its mount.
pub(super) fn volume(number: usize, volume: &Volume) -> (Value, Value) {
    let name = format!("volume-{number}");
    let source = match &volume.source {
        VolumeSource::Claim(claim) => {
            json!({ "persistentVolumeClaim": { "claimName": claim, "readOnly": volume.read_only } })
        }
        VolumeSource::Blob(blob) => {
            let name = blob.claim_name();
            json!({ "persistentVolumeClaim": { "claimName": name, "readOnly": volume.read_only } })
        }
        VolumeSource::HostPath(path) => json!({ "hostPath": { "path": path } }),
        VolumeSource::Secret(secret) => json!({ "secret": { "secretName": secret } }),
        VolumeSource::ConfigMap(map) => json!({ "configMap": { "name": map } }),
        VolumeSource::Memory(bytes) => {
            json!({ "emptyDir": { "medium": "Memory", "sizeLimit": bytes.to_string() } })
        }
    };
    let mut mount = json!({ "name": name, "mountPath": volume.path, "readOnly": volume.read_only });
    if let Some(sub_path) = &volume.sub_path {
        mount["subPath"] = json!(sub_path);
    }
    let mut volume = source;
    volume["name"] = json!(name);
    (volume, mount)
}

/// Leaves empty tables and lists out: they say nothing, and would be fields that petctl owns.
pub(super) fn without_empty(value: &mut Value) {
    let is_empty = |value: &Value| match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(without_empty);
            map.retain(|_, value| !is_empty(value));
        }
        Value::Array(list) => list.iter_mut().for_each(without_empty),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Secrets by which a place's images are pulled.
pub(super) fn pull_secrets(place: &KubePlace) -> Value {
    let secrets = place.pull_secrets.iter();
    secrets.map(|name| json!({ "name": name })).collect()
}
