//! How objects are called and labelled.

pub(crate) use petctl_pods::WORKER;
use petctl_text::hex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Who applies petctl's objects: the one field manager.
pub(crate) const FIELD_MANAGER: &str = "petctl";
/// Where the coordinator listens in its pod.
pub(crate) const PORT: u16 = 7370;
/// Where it answers probes and shows metrics.
pub(crate) const HTTP_PORT: u16 = 7371;
/// The coordinator: its StatefulSet, Service, role and service account.
pub(crate) const COORDINATOR: &str = "petctl-coordinator";
/// The role of those who run jobs in other namespaces: it lets them reach the coordinator.
pub(crate) const CLIENT: &str = "petctl-client";
/// On the StatefulSet: other namespaces in which it keeps pods.
pub(crate) const NAMESPACES: &str = "petctl.io/namespaces";
/// The Secret with the coordinator's token.
pub(crate) const TOKEN_SECRET: &str = "petctl-token";
/// Its key in there.
pub(crate) const TOKEN_KEY: &str = "token";
/// The ConfigMap that says whom those who call the coordinator are to trust.
pub(crate) const CA_CONFIG: &str = "petctl-ca";
/// The CA's key in there, and in the Secrets of jobs.
pub(crate) const CA_KEY: &str = "ca.pem";
/// In that ConfigMap: the namespaces in which the coordinator keeps pods, one a line.
pub(crate) const NAMESPACES_KEY: &str = "namespaces";
/// On everything that petctl makes.
pub(crate) const MANAGED: &str = "petctl.io/managed";
/// On what belongs to a job: its name.
pub(crate) const JOB: &str = "petctl.io/job";
/// On a job's Job, for those who look at it with `kubectl`: how the job stands, the stage that it is at, and the code of
/// why it waits. The sentence of that is an annotation of the same name.
pub(crate) const STATE: &str = "petctl.io/state";
pub(crate) const STAGE: &str = "petctl.io/stage";
pub(crate) const REASON: &str = "petctl.io/reason";
/// On what belongs to no namespace: the one that it was made for.
pub(crate) const NAMESPACE: &str = "petctl.io/namespace";
/// On a job's pods: what they were made of.
pub(crate) const TEMPLATE: &str = "petctl.io/template";
/// On a job's Job: the release of the coordinator that keeps it, whose words [`TEMPLATE`] stands for.
pub(crate) const KEPT_BY: &str = "petctl.io/kept-by";
/// On a job's Job: the queue of Kueue that lets it in.
pub(crate) const QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// On the namespace that `petctl setup` has made.
pub(crate) const CREATED: &str = "petctl.io/created";
/// On what `petctl setup` makes: the version that made it.
pub(crate) const VERSION: &str = "petctl.io/version";
/// On the coordinator's StatefulSet: the format of its state.
pub(crate) const STATE_FORMAT: &str = "petctl.io/state-format";

/// A pod's name has the job's, an index of up to five digits and a suffix of five letters, in 63 characters.
const MAX_JOB_CHARS: usize = 43;

/// Labels of everything of one kind.
pub(crate) fn labels(component: &str) -> BTreeMap<String, String> {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    BTreeMap::from([
        label("app.kubernetes.io/name", "petctl"),
        label("app.kubernetes.io/component", component),
        label("app.kubernetes.io/managed-by", "petctl"),
        label(MANAGED, "true"),
    ])
}

/// The labels by which something of one kind is found.
pub(crate) fn selector(component: &str) -> String {
    format!("app.kubernetes.io/name=petctl,app.kubernetes.io/component={component}")
}

/// The label by which all that petctl has made is found.
pub(crate) fn managed() -> String {
    format!("{MANAGED}=true")
}

/// The name of the objects of a job.
#[must_use]
pub(crate) fn of_job(job: &str) -> String {
    if job.len() <= MAX_JOB_CHARS {
        return format!("petctl-{job}");
    }
    let hash = hex(&Sha256::digest(job.as_bytes()));
    let start = job.get(..MAX_JOB_CHARS - 9).unwrap_or(job);
    format!("petctl-{start}-{}", hash.get(..8).unwrap_or(&hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs_leave_room_for_their_pods_and_stay_apart() {
        assert_eq!(of_job("us101"), "petctl-us101");
        let (a, b) = ("a".repeat(63), format!("{}b", "a".repeat(62)));
        assert_ne!(of_job(&a), of_job(&b));
        for job in [&a, &b] {
            let pod = format!("{}-99999-abcde", of_job(job));
            assert!(pod.len() <= 63, "{pod}");
        }
    }
}
