//! How the cluster looks at the coordinator's pod.

use crate::names::HTTP_PORT;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whether it takes calls. `petctl setup` and every command wait for that, so it is asked often.
pub(super) fn ready() -> Value {
    json!({
        "httpGet": { "path": "/readyz", "port": "http" },
        "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 3,
    })
}

/// Whether it is worth keeping. What is slow, its disk or the node, makes it no better to be started again: only after
/// a minute without an answer is it.
pub(super) fn alive() -> Value {
    json!({
        "httpGet": { "path": "/healthz", "port": "http" },
        "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6,
    })
}

/// By what many a Prometheus finds a pod's metrics; what the place says stands.
pub(super) fn scraped(given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let known = [
        ("prometheus.io/scrape", "true".to_owned()),
        ("prometheus.io/port", HTTP_PORT.to_string()),
        ("prometheus.io/path", "/metrics".to_owned()),
    ];
    let known = known.map(|(name, value)| (name.to_owned(), value));
    known.into_iter().chain(given.clone()).collect()
}
