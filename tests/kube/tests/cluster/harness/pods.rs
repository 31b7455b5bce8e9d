//! Pods, as far as tests ask for them.

use serde_json::Value;

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    /// How it calls itself, which the one that takes its place does too.
    pub(crate) host: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    /// Its number in its Job.
    pub(crate) index: Option<u32>,
    pub(crate) phase: String,
    /// It is being deleted.
    pub(crate) goes: bool,
    pub(crate) restarts: u64,
}

impl Pod {
    pub(crate) fn of(pod: &Value) -> Self {
        let text = |path: &str| {
            let text = pod.pointer(path).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let containers = pod
            .pointer("/status/containerStatuses")
            .and_then(Value::as_array);
        let restarts = containers
            .into_iter()
            .flatten()
            .filter_map(|container| container["restartCount"].as_u64());
        Self {
            name: text("/metadata/name"),
            host: text("/spec/hostname"),
            uid: text("/metadata/uid"),
            node: text("/spec/nodeName"),
            index: text("/metadata/annotations/batch.kubernetes.io~1job-completion-index")
                .parse()
                .ok(),
            phase: text("/status/phase"),
            goes: !pod["metadata"]["deletionTimestamp"].is_null(),
            restarts: restarts.sum(),
        }
    }

    /// Whether it runs and stays.
    pub(crate) fn runs(&self) -> bool {
        self.phase == "Running" && !self.goes
    }
}
