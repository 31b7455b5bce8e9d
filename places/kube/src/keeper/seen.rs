//! What is there of a job in the cluster, as far as decisions ask for it.

use super::shown::Shown;
use crate::manifests::TOKEN_VOLUME;
use crate::names::{JOB, KEPT_BY, QUEUE, TEMPLATE};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use petctl_core::{Pool, Reason};
use petctl_rendezvous::metrics::KeeperNumbers;
use std::collections::{BTreeMap, BTreeSet};

/// On the pods of an Indexed Job: their number.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The workers that the coordinator knows of, by name.
pub(super) fn here(pool: &Pool) -> BTreeSet<&str> {
    let workers = pool.workers.iter();
    workers.map(|worker| worker.name.as_str()).collect()
}

/// What the pods of a Job are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// Stands for their template, in the words of one release.
    pub(super) template: String,
    /// That release.
    pub(super) kept_by: String,
    /// The Secret by which their workers come in.
    pub(super) secret: String,
}

impl Made {
    fn on(job: &Job) -> Self {
        let annotations = job.metadata.annotations.as_ref();
        let template = job.spec.as_ref().map(|spec| &spec.template);
        let pod = template.and_then(|template| template.spec.as_ref());
        let mut volumes = pod
            .and_then(|pod| pod.volumes.as_ref())
            .into_iter()
            .flatten();
        let token = volumes.find(|volume| volume.name == TOKEN_VOLUME);
        let secret = token.and_then(|token| token.secret.as_ref()?.secret_name.clone());
        Self {
            template: annotation(annotations, TEMPLATE),
            kept_by: annotation(annotations, KEPT_BY),
            secret: secret.unwrap_or_default(),
        }
    }
}

/// A job's Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct JobSeen {
    /// Pods that it is to have.
    pub(super) size: u32,
    pub(super) suspended: bool,
    /// What its pods are made of.
    pub(super) made: Made,
    /// It is being deleted.
    pub(super) goes: bool,
    /// It is complete or has failed: it makes no more pods.
    pub(super) over: bool,
    /// The queue of the cluster that suspends it, and lets it in.
    pub(super) queue: Option<String>,
    /// Which one it is, of all that have borne its name.
    pub(super) uid: String,
    /// What stands on it of how its job stands.
    pub(super) shown: Shown,
}

impl JobSeen {
    /// Pods that it makes now.
    pub(super) fn makes(&self) -> u32 {
        if self.suspended || self.goes {
            0
        } else {
            self.size
        }
    }

    pub(super) fn of(job: &Job) -> Self {
        let spec = job.spec.as_ref();
        let status = job.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref());
        let over = |condition: &k8s_openapi::api::batch::v1::JobCondition| {
            matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
        };
        let number = |n: Option<i32>| u32::try_from(n.unwrap_or(0)).unwrap_or(0);
        Self {
            size: number(spec.and_then(|spec| spec.completions)),
            suspended: spec.and_then(|spec| spec.suspend).unwrap_or(false),
            made: Made::on(job),
            goes: job.metadata.deletion_timestamp.is_some(),
            over: conditions.unwrap_or_default().iter().any(over),
            queue: job
                .metadata
                .labels
                .as_ref()
                .and_then(|l| l.get(QUEUE))
                .cloned(),
            uid: job.metadata.uid.clone().unwrap_or_default(),
            shown: Shown::on(job),
        }
    }
}

/// A worker's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PodSeen {
    pub(super) name: String,
    pub(super) index: u32,
    /// Its containers run.
    pub(super) runs: bool,
    /// It is being deleted.
    pub(super) goes: bool,
    /// It has ended.
    pub(super) ended: bool,
    /// Its node does not answer.
    pub(super) node_lost: bool,
    /// It ended, or is about to, for something that came from outside of it.
    pub(super) disrupted: bool,
    /// A GPU of it is unhealthy: it is to leave.
    pub(super) unhealthy: bool,
    /// Its worker has joined.
    pub(super) joined: bool,
    /// Why it ended or is about to.
    pub(super) end: Option<Reason>,
    /// The Job to which it belongs.
    pub(super) owner: String,
}

impl PodSeen {
    pub(super) fn of(pod: &Pod, joined: &BTreeSet<String>) -> Self {
        let index = annotation(pod.metadata.annotations.as_ref(), INDEX);
        let mut owners = pod.metadata.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true));
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            index: index.parse().unwrap_or(0),
            runs: petctl_pods::runs(pod),
            goes: pod.metadata.deletion_timestamp.is_some(),
            ended: petctl_pods::has_ended(pod),
            node_lost: petctl_pods::node_is_lost(pod),
            disrupted: petctl_pods::is_disrupted(pod),
            unhealthy: false,
            joined: pod
                .metadata
                .name
                .as_ref()
                .is_some_and(|name| joined.contains(name)),
            end: petctl_pods::end_of_pod(pod),
            owner: owner.map(|owner| owner.uid.clone()).unwrap_or_default(),
        }
    }

    /// The same one, where it is to leave for what is wrong with a GPU of it.
    pub(super) fn with(self, unhealthy: Option<&Reason>) -> Self {
        match unhealthy {
            Some(reason) if !self.ended => Self {
                unhealthy: true,
                end: Some(reason.clone()),
                ..self
            },
            Some(_) | None => self,
        }
    }
}

/// Adds what there is of pods to the numbers.
pub(super) fn numbers<'j>(
    numbers: &mut KeeperNumbers,
    jobs: impl Iterator<Item = &'j Job>,
    pods: impl Iterator<Item = &'j Pod>,
) {
    for job in jobs.map(JobSeen::of) {
        if !job.suspended && !job.goes && !job.over {
            numbers.pods_wanted += u64::from(job.size);
        }
    }
    for pod in pods {
        let state = if petctl_pods::has_ended(pod) {
            "ended"
        } else if pod.metadata.deletion_timestamp.is_some() {
            "ending"
        } else if petctl_pods::runs(pod) {
            "running"
        } else {
            "pending"
        };
        *numbers.pods.entry(state).or_default() += 1;
    }
}

/// The job to which an object belongs.
pub(super) fn job_of(labels: Option<&BTreeMap<String, String>>) -> Option<String> {
    labels?.get(JOB).cloned()
}

fn annotation(annotations: Option<&BTreeMap<String, String>>, name: &str) -> String {
    let found = annotations.and_then(|all| all.get(name));
    found.cloned().unwrap_or_default()
}
