//! A place on Kubernetes: what its workers and its coordinator are made of. Plain data that travels as JSON.

mod blob;
mod gpu;
mod names;
mod pods;
mod rules;

pub use blob::{Blob, BlobProtocol};
pub use gpu::{DEFAULT_OPERATOR_VERSION, DEFAULT_PLUGIN_IMAGE, Gpu, GpuPlugin};
pub use pods::{
    Coordinator, Effect, Operator, PullPolicy, Resources, Sharing, Spread, StateStorage,
    Toleration, Volume, VolumeSource,
};
pub(crate) use rules::Part;

/// Whether Kubernetes takes a text as the name of an object, such as a Secret.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence, and what to do.
pub fn check_object_name(text: &str) -> Result<(), (String, String)> {
    names::object(text)
}

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most entries of any list or table of a place.
pub const MAX_ITEMS: usize = 64;
/// Namespace where none is said.
pub const DEFAULT_NAMESPACE: &str = "petctl";
/// Service account of workers where none is said.
pub const DEFAULT_SERVICE_ACCOUNT: &str = "petctl-worker";
/// What a GPU is called where nothing else is said.
pub const DEFAULT_GPU_RESOURCE: &str = "nvidia.com/gpu";
/// How long a worker's pod may take to start where nothing else is said, in ms.
pub const DEFAULT_START_TIMEOUT_MS: u64 = 600_000;
/// The user as which workers run where no other is named: nobody's.
pub const DEFAULT_USER: u32 = 65_532;
/// Size of the claim for the coordinator's state where nothing else is said, in bytes.
pub const DEFAULT_STORAGE_BYTES: u64 = 1 << 30;

/// A place on Kubernetes, with every default filled in.
///
/// What arrives as JSON has the right types and no unknown fields; [`KubePlace::check`] asks for the rest. It is sent as
/// [`KubePlace::to_json`] has it, so a default never changes: the other side may be of another release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubePlace {
    /// Context of the kubeconfig; `None`: its current one.
    pub context: Option<String>,
    /// Absolute path of the kubeconfig; `None`: `$KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<String>,
    /// Where all objects are.
    pub namespace: String,
    /// Image of the workers; `None`: the job names one.
    pub image: Option<String>,
    /// Image of petctl itself: the coordinator's, and the one that brings petctl into the workers' pods.
    pub petctl_image: String,
    /// When images are pulled.
    pub pull_policy: PullPolicy,
    /// Secrets by which images are pulled.
    pub pull_secrets: Vec<String>,
    /// What a worker may use: its limits.
    pub resources: Resources,
    /// What a worker asks for; what is not said is as in `resources`, see [`Self::requested`].
    pub requests: Resources,
    /// The resource that a GPU is.
    pub gpu_resource: String,
    /// Labels that a worker's node has.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that workers bear.
    pub tolerations: Vec<Toleration>,
    /// Whether workers may run on spot nodes.
    pub spot: bool,
    /// Over what they are spread.
    pub spread: Spread,
    /// What is mounted in workers.
    pub volumes: Vec<Volume>,
    /// Environment of workers.
    pub env: BTreeMap<String, String>,
    /// Secrets whose keys become environment of workers.
    pub env_from_secrets: Vec<String>,
    /// Service account of workers.
    pub service_account: String,
    /// Labels of workers' pods, beside petctl's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations of workers' pods.
    pub annotations: BTreeMap<String, String>,
    /// Priority class of workers.
    pub priority_class: Option<String>,
    /// Queue of Kueue that lets a job's workers in; `None`: nobody has to.
    pub queue: Option<String>,
    /// Runtime class of workers.
    pub runtime_class: Option<String>,
    /// Size of `/dev/shm` in bytes; `None`: what the container runtime gives.
    pub shm_bytes: Option<u64>,
    /// The user as which workers run, and their group: not 0.
    pub user: u32,
    /// Whether commands may write beside their folders: into what the image brought.
    pub writable_root: bool,
    /// Whether what commands print is on their pod's own output as well.
    pub command_logs: bool,
    /// How long a worker's pod may take to start before the job is given up, in ms.
    pub start_timeout_ms: u64,
    /// How GPUs of nodes are offered. A coordinator has nothing to do with it.
    pub gpu: Gpu,
    /// The coordinator's pod.
    pub coordinator: Coordinator,
}

impl Default for KubePlace {
    fn default() -> Self {
        Self {
            context: None,
            kubeconfig: None,
            namespace: DEFAULT_NAMESPACE.to_owned(),
            image: None,
            petctl_image: Self::default_petctl_image(),
            pull_policy: PullPolicy::default(),
            pull_secrets: Vec::new(),
            resources: Resources::default(),
            requests: Resources::default(),
            gpu_resource: DEFAULT_GPU_RESOURCE.to_owned(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            spot: false,
            spread: Spread::default(),
            volumes: Vec::new(),
            env: BTreeMap::new(),
            env_from_secrets: Vec::new(),
            service_account: DEFAULT_SERVICE_ACCOUNT.to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            priority_class: None,
            queue: None,
            runtime_class: None,
            shm_bytes: None,
            user: DEFAULT_USER,
            writable_root: false,
            command_logs: false,
            start_timeout_ms: DEFAULT_START_TIMEOUT_MS,
            gpu: Gpu::default(),
            coordinator: Coordinator::default(),
        }
    }
}

impl KubePlace {
    /// The image of this version of petctl, where no other is named.
    #[must_use]
    pub fn default_petctl_image() -> String {
        format!("petctl:{}", env!("CARGO_PKG_VERSION"))
    }

    /// The namespace of its coordinator.
    #[must_use]
    pub fn coordinator_namespace(&self) -> &str {
        let elsewhere = self.coordinator.namespace.as_deref();
        elsewhere.unwrap_or(&self.namespace)
    }

    /// Whether the coordinator is in the place's own namespace, and not one for several.
    #[must_use]
    pub fn keeps_coordinator(&self) -> bool {
        self.coordinator_namespace() == self.namespace
    }

    /// What differs from the defaults, and of what petctl comes: an older petctl takes a place that asks for nothing
    /// which it does not know, and refuses one that does.
    ///
    /// # Errors
    /// Where it can't be written as JSON, which is a bug.
    pub fn to_json(&self) -> serde_json::Result<Value> {
        let defaults = serde_json::to_value(Self::default())?;
        let mut json = without(serde_json::to_value(self)?, &defaults);
        if let Value::Object(keys) = &mut json {
            // Its default is another one in each release.
            keys.insert("petctl_image".to_owned(), self.petctl_image.clone().into());
        }
        Ok(json)
    }

    /// What a worker asks for, with what `resources` says where `requests` says nothing.
    #[must_use]
    pub fn requested(&self) -> Resources {
        Resources {
            cpu_milli: self.requests.cpu_milli.or(self.resources.cpu_milli),
            memory_bytes: self.requests.memory_bytes.or(self.resources.memory_bytes),
        }
    }

    /// The blob containers that are mounted, each once.
    #[must_use]
    pub fn blobs(&self) -> Vec<&Blob> {
        let mut blobs: Vec<&Blob> = Vec::new();
        for volume in &self.volumes {
            if let VolumeSource::Blob(blob) = &volume.source
                && !blobs.iter().any(|known| known.is_same(blob))
            {
                blobs.push(blob);
            }
        }
        blobs
    }

    /// Checks the rules that a place out of a file keeps: for one that came over the network.
    ///
    /// # Errors
    /// What is wrong, and the fix, in one sentence.
    pub fn check(&self) -> Result<(), String> {
        let Some(fault) = rules::faults(self).into_iter().next() else {
            return Ok(());
        };
        Err(format!("`{}` {}: {}", fault.key(), fault.what, fault.fix))
    }

    pub(crate) fn faults(&self) -> Vec<rules::Fault> {
        rules::faults(self)
    }
}

/// Keys whose value has no defaults of its own: it is there whole or not at all.
const WHOLE: [&str; 1] = ["state"];

/// A value without the keys that have their default, at every depth.
fn without(value: Value, default: &Value) -> Value {
    let (Value::Object(keys), Value::Object(defaults)) = (&value, default) else {
        return value;
    };
    let kept = keys.iter().filter_map(|(key, value)| {
        let kept = match defaults.get(key) {
            Some(default) if value == default => return None,
            Some(default) if !WHOLE.contains(&key.as_str()) => without(value.clone(), default),
            Some(_) | None => value.clone(),
        };
        Some((key.clone(), kept))
    });
    Value::Object(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_from_the_defaults_is_sent_and_comes_back_as_it_was() {
        let plain = KubePlace::default();
        assert_eq!(
            plain.to_json().unwrap(),
            json!({ "petctl_image": plain.petctl_image })
        );
        let place = KubePlace {
            image: Some("train:1".to_owned()),
            spread: Spread::Zones,
            env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            volumes: vec![Volume {
                path: "/data".to_owned(),
                source: VolumeSource::Claim("data".to_owned()),
                read_only: false,
                sub_path: None,
            }],
            coordinator: Coordinator {
                state: StateStorage::Claim("mine".to_owned()),
                ..Coordinator::default()
            },
            gpu: Gpu {
                sharing: 4,
                ..Gpu::default()
            },
            ..KubePlace::default()
        };
        let sent = place.to_json().unwrap();
        assert_eq!(
            sent,
            json!({
                "petctl_image": plain.petctl_image,
                "image": "train:1",
                "spread": "zones",
                "env": { "A": "b" },
                "volumes": [{ "path": "/data", "source": { "claim": "data" }, "read_only": false, "sub_path": null }],
                "coordinator": { "state": { "claim": "mine" } },
                "gpu": { "sharing": 4 },
            })
        );
        assert_eq!(serde_json::from_value::<KubePlace>(sent).unwrap(), place);
        for (bytes, class) in [
            (1 << 40, None),
            (DEFAULT_STORAGE_BYTES, Some("fast".to_owned())),
        ] {
            let mut place = KubePlace::default();
            place.coordinator.state = StateStorage::New { bytes, class };
            let sent = place.to_json().unwrap();
            assert_eq!(serde_json::from_value::<KubePlace>(sent).unwrap(), place);
        }
    }

    #[test]
    fn the_record_of_the_release_before_is_read() {
        // As petctl 0.1.0 (6e460955cb) wrote it, with every key.
        let record = include_str!("../../testdata/place-6e460955cb.json");
        let place: KubePlace = serde_json::from_str(record).unwrap();
        assert_eq!(place.image.as_deref(), Some("petctl.local/python:1"));
        assert_eq!(place.resources.cpu_milli, Some(100));
        place.check().unwrap();
    }
}
