//! By what the coordinator is known, and what workers show to it.

use super::workers::of_record;
use crate::names::{CA_CONFIG, CA_KEY, JOB, NAMESPACES_KEY, TOKEN_KEY, labels, of_job};
use petctl_text::{Secret, hex};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What the workers of a job are given.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Their token: of this job, and good for nothing else.
    pub(crate) token: Secret,
    /// The coordinator's CA, where it speaks TLS.
    pub(crate) ca: Option<String>,
}

impl Access {
    /// The name of the Secret in which it is, of a job with this record. What is in it never changes: something else is
    /// in another one, so that nobody needs the right to change Secrets, which is the right to read them all.
    pub(crate) fn secret_name(&self, job: &str, owner: &str) -> String {
        let mut digest = Sha256::new();
        // The Secret of a job of this name that is gone goes with that job's record.
        digest.update(owner);
        digest.update(self.token.expose());
        digest.update(self.ca.as_deref().unwrap_or_default());
        let digest = hex(&digest.finalize());
        format!("{}-{}", of_job(job), digest.get(..10).unwrap_or(&digest))
    }
}

/// The Secret of a job's workers; it goes with the job's record.
pub(crate) fn secret(job: &str, namespace: &str, owner: &str, access: &Access) -> Value {
    let mut labels = labels("access");
    labels.insert(JOB.to_owned(), job.to_owned());
    let mut data = json!({ TOKEN_KEY: access.token.expose() });
    if let Some(ca) = &access.ca {
        data[CA_KEY] = json!(ca);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": access.secret_name(job, owner),
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [of_record(job, owner)],
        },
        "type": "Opaque",
        "immutable": true,
        "stringData": data,
    })
}

/// Whom those who call the coordinator are to trust, and in which namespaces it keeps pods. It is no secret.
pub(crate) fn ca(namespaces: &[&str], ca: &str) -> Value {
    let namespace = namespaces.first().copied().unwrap_or_default();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": CA_CONFIG, "namespace": namespace, "labels": labels("coordinator") },
        "data": { CA_KEY: ca, NAMESPACES_KEY: namespaces.join("\n") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_contents_are_another_secret_whose_name_fits() {
        let access = |token: &str, ca: Option<&str>| Access {
            token: Secret::new(token),
            ca: ca.map(str::to_owned),
        };
        let long = "a".repeat(63);
        let all = [
            access("one", None).secret_name(&long, "uid"),
            access("one", Some("ca")).secret_name(&long, "uid"),
            access("two", Some("ca")).secret_name(&long, "uid"),
            access("two", Some("ca")).secret_name(&long, "another"),
        ];
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert!(all.iter().all(|name| name.len() <= 63), "{all:?}");
        let made = secret("us101", "ml", "uid", &access("one", None));
        assert_eq!(made["stringData"], json!({ "token": "one" }));
    }
}
