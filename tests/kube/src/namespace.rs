//! Namespaces: each test gets one of its own.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Bed;

/// What pods of a namespace may do, by Pod Security admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// What Kubernetes calls restricted: no root, no capabilities, nothing of the node.
    Restricted,
    /// Everything.
    Privileged,
}

/// A namespace. It is deleted when this is dropped, with all that is in it; nobody waits for that.
pub struct Namespace {
    bed: &'static Bed,
    name: String,
}

impl Namespace {
    pub(crate) fn make(
        bed: &'static Bed,
        name: String,
        security: Security,
    ) -> Result<Self, String> {
        let level = match security {
            Security::Restricted => "restricted",
            Security::Privileged => "privileged",
        };
        bed.apply(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": level}},
        }))?;
        let made = Self { bed, name };
        // Without it no pod is taken.
        bed.wait(
            "a namespace has its ServiceAccount",
            Duration::from_secs(60),
            || made.get("serviceaccount", "default"),
        );
        Ok(made)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs kubectl as the cluster's administrator, in this namespace.
    ///
    /// # Errors
    /// What it says on standard error, if it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let namespace = ["--namespace", &self.name];
        self.bed.kubectl(&[&namespace, arguments].concat())
    }

    /// Makes an object in this namespace, or changes it.
    ///
    /// # Errors
    /// What the API server says against it.
    pub fn apply(&self, object: &Value) -> Result<String, String> {
        let arguments = ["--namespace", &self.name, "apply", "-f", "-"];
        self.bed.kubectl_reading(&arguments, &object.to_string())
    }

    /// One object of this namespace, as it is now; none if there is none.
    #[must_use]
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let text = self.kubectl(&["get", kind, name, "-o", "json"]).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What fails here fails because the cluster is stopped, and then the bed is about to go.
        let name = ["--namespace", &self.name, "--request-timeout=10s"];
        // Pods of a Job with a limit by index are held until others take their places, which nobody can here any more.
        let jobs = ["delete", "jobs", "--all", "--wait=false"];
        drop(self.bed.kubectl(&[&name[..], &jobs].concat()));
        let pods = [
            "delete",
            "pods",
            "--all",
            "--grace-period=1",
            "--wait=false",
        ];
        drop(self.bed.kubectl(&[&name[..], &pods].concat()));
        let own = [
            "delete",
            "namespace",
            &self.name,
            "--wait=false",
            "--request-timeout=10s",
        ];
        drop(self.bed.kubectl(&own));
    }
}
