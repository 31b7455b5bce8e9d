//! Workers with an unhealthy GPU: which they are, and when they are to leave. Pure.
//!
//! Since Kubernetes 1.36 a pod says itself how its devices are. Where it says nothing, a node that offers less than
//! what workers on it hold has an unhealthy device of theirs, and nobody knows which: all of them leave, and what comes
//! in their place gets healthy ones.

use crate::names::WORKER;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use petctl_core::{Code, Reason};
use std::collections::BTreeMap;

/// A GPU that a pod says to be unhealthy is given so many seconds to be well again.
const TOLD_S: i64 = 10;
/// The same where a node offers less: it says so later, and is late to say that it is over.
const FEWER_S: i64 = 30;
/// The same where a node offers none. Its plugin may only be gone: what that had offered is unhealthy for five minutes
/// then, and forgotten after that, and workers that have a GPU go on with it.
const NONE_S: i64 = 360;
/// Devices that are named.
const NAMED: usize = 4;

/// A pod of a worker that has GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) uid: String,
    node: String,
    resource: String,
    count: u64,
    /// Those of them that it says to be unhealthy; `None`: it says nothing.
    told: Option<Vec<String>>,
}

/// What a node has of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offered {
    /// Healthy or not.
    pub(super) capacity: u64,
    /// What pods may have: the healthy ones.
    pub(super) allocatable: u64,
}

impl Holder {
    /// The GPUs of a pod, of which `resource` is the name; `None`: it has none, or nothing is known of them yet.
    pub(super) fn of(pod: &Pod, resource: &str) -> Option<Self> {
        if petctl_pods::has_ended(pod) {
            return None;
        }
        let spec = pod.spec.as_ref()?;
        let worker = spec.containers.iter().find(|c| c.name == WORKER)?;
        let limits = worker.resources.as_ref()?.limits.as_ref()?;
        let count = limits.get(resource)?.0.parse().ok()?;
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        let status = statuses.iter().find(|status| status.name == WORKER)?;
        let mut all = status.allocated_resources_status.iter().flatten();
        let told = all.find(|told| told.name == resource).map(|told| {
            let unhealthy = told.resources.iter().flatten();
            let unhealthy = unhealthy.filter(|gpu| gpu.health.as_deref() == Some("Unhealthy"));
            let mut ids: Vec<String> = unhealthy.map(|gpu| gpu.resource_id.clone()).collect();
            ids.sort_unstable();
            ids
        });
        // One that starts has said nothing yet.
        if told.is_none() && !petctl_pods::runs(pod) {
            return None;
        }
        Some(Self {
            uid: pod.metadata.uid.clone()?,
            node: spec.node_name.clone()?,
            resource: resource.to_owned(),
            count,
            told,
        })
    }

    /// Whether it says nothing of how its GPUs are, so that its node has to be looked at.
    pub(super) fn is_silent(&self) -> bool {
        self.told.is_none()
    }
}

/// Since when pods have had an unhealthy GPU, by their UIDs.
#[derive(Debug, Default)]
pub(super) struct Health {
    since: BTreeMap<String, Timestamp>,
}

impl Health {
    /// The pods that are to leave, by their UIDs, and why: those that have had an unhealthy GPU for long enough.
    /// `holders` are all that have any, and `offered` tells of a node and a resource what is known.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        holders: &[Holder],
        offered: impl Fn(&str, &str) -> Option<Offered>,
    ) -> BTreeMap<String, Reason> {
        let mut unhealthy: BTreeMap<&str, (i64, Reason)> = BTreeMap::new();
        let mut silent: BTreeMap<(&str, &str), Vec<&Holder>> = BTreeMap::new();
        for holder in holders {
            match &holder.told {
                Some(ids) if ids.is_empty() => {}
                Some(ids) => {
                    let why = named(&holder.node, &holder.resource, ids);
                    unhealthy.insert(&holder.uid, (TOLD_S, why));
                }
                None => {
                    let on = (holder.node.as_str(), holder.resource.as_str());
                    silent.entry(on).or_default().push(holder);
                }
            }
        }
        for ((node, resource), holders) in silent {
            let held: u64 = holders.iter().map(|holder| holder.count).sum();
            let Some(offered) = offered(node, resource) else {
                continue;
            };
            // Where it has fewer of them at all, its plugin is gone, or divides them otherwise.
            if offered.allocatable >= held || offered.capacity < held {
                continue;
            }
            let patience_s = if offered.allocatable == 0 {
                NONE_S
            } else {
                FEWER_S
            };
            let message = format!(
                "a GPU of node {node} is unhealthy: the node offers {} {resource}, and workers on it have {held}",
                offered.allocatable
            );
            let why = Reason::new(Code::GpuUnhealthy, message);
            unhealthy.extend(
                holders
                    .iter()
                    .map(|h| (h.uid.as_str(), (patience_s, why.clone()))),
            );
        }
        self.since
            .retain(|uid, _| unhealthy.contains_key(uid.as_str()));
        let long_enough = unhealthy.into_iter().filter(|(uid, (patience_s, _))| {
            let since = *self.since.entry((*uid).to_owned()).or_insert(now);
            now.as_second() - since.as_second() >= *patience_s
        });
        long_enough
            .map(|(uid, (_, why))| (uid.to_owned(), why))
            .collect()
    }
}

/// Which GPUs of a node are unhealthy, in a sentence.
fn named(node: &str, resource: &str, ids: &[String]) -> Reason {
    let shown: Vec<&str> = ids.iter().take(NAMED).map(String::as_str).collect();
    let more = if ids.len() > NAMED { ", …" } else { "" };
    let shown = shown.join(", ");
    let message = match ids.len() {
        1 => format!("a GPU of node {node} is unhealthy ({resource} {shown})"),
        n => format!("{n} GPUs of node {node} are unhealthy ({resource} {shown}{more})"),
    };
    Reason::new(Code::GpuUnhealthy, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const GPU: &str = "nvidia.com/gpu";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A pod that runs on node n1 with two GPUs, which says this of its devices.
    fn pod(uid: &str, devices: Value) -> Pod {
        let pod = json!({
            "metadata": { "name": uid, "uid": uid },
            "spec": {
                "nodeName": "n1",
                "containers": [
                    { "name": WORKER, "resources": { "limits": { GPU: "2", "cpu": "1" } } },
                ],
            },
            "status": { "phase": "Running", "containerStatuses": [{
                "name": WORKER, "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
                "state": { "running": {} }, "allocatedResourcesStatus": devices,
            }] },
        });
        serde_json::from_value(pod).unwrap()
    }

    fn says(first: &str, second: &str) -> Value {
        json!([
            { "name": "example.com/nic", "resources": [{ "resourceID": "nic-0", "health": "Unhealthy" }] },
            { "name": GPU, "resources": [
                { "resourceID": "gpu-1", "health": second }, { "resourceID": "gpu-0", "health": first },
            ] },
        ])
    }

    fn holders(pods: &[Pod]) -> Vec<Holder> {
        pods.iter().filter_map(|pod| Holder::of(pod, GPU)).collect()
    }

    fn nothing(_: &str, _: &str) -> Option<Offered> {
        None
    }

    /// The pods that leave at these seconds, where their node has so many GPUs and offers so many.
    fn leave(pods: &[Pod], seconds: &[i64], offers: impl Fn(i64) -> (u64, u64)) -> Vec<usize> {
        let mut health = Health::default();
        let holders = holders(pods);
        let looked = seconds.iter().map(|second| {
            let (capacity, allocatable) = offers(*second);
            let offered = Offered {
                capacity,
                allocatable,
            };
            health
                .look(at(*second), &holders, |_, _| Some(offered))
                .len()
        });
        looked.collect()
    }

    #[test]
    fn a_pod_leaves_when_it_has_said_for_a_while_that_a_gpu_of_its_is_unhealthy_and_tells_which() {
        let mut health = Health::default();
        let pods = [
            pod("sick", says("Unhealthy", "Healthy")),
            pod("well", says("Healthy", "Unknown")),
        ];
        let holders = holders(&pods);
        assert!(health.look(at(0), &holders, nothing).is_empty());
        assert!(health.look(at(9), &holders, nothing).is_empty());
        let found = health.look(at(10), &holders, nothing);
        let found: Vec<_> = found
            .iter()
            .map(|(uid, why)| (uid.as_str(), &why.message))
            .collect();
        let message = "a GPU of node n1 is unhealthy (nvidia.com/gpu gpu-0)".to_owned();
        assert_eq!(found, [("sick", &message)]);
        let both =
            [pod("sick", says("Unhealthy", "Unhealthy"))].map(|pod| Holder::of(&pod, GPU).unwrap());
        let found = health.look(at(11), &both, nothing);
        let message = "2 GPUs of node n1 are unhealthy (nvidia.com/gpu gpu-0, gpu-1)";
        assert_eq!(found["sick"].message, message);
    }

    #[test]
    fn a_gpu_that_flickers_takes_nobody_away() {
        let mut health = Health::default();
        for second in 0..100 {
            let word = if second % 9 == 8 {
                "Healthy"
            } else {
                "Unhealthy"
            };
            let holders = holders(&[pod("flickers", says("Healthy", word))]);
            assert!(
                health.look(at(second), &holders, nothing).is_empty(),
                "{second}"
            );
        }
    }

    #[test]
    fn where_pods_say_nothing_all_leave_a_node_that_offers_less_than_they_have() {
        let pods = [pod("a", json!(null)), pod("b", json!(null))];
        let until = [0, 29, 30];
        assert_eq!(leave(&pods, &until, |_| (4, 3)), [0, 0, 2]);
        assert_eq!(
            leave(&pods, &until, |_| (8, 4)),
            [0, 0, 0],
            "the others' are unhealthy"
        );
        assert_eq!(
            leave(&pods, &until, |_| (2, 2)),
            [0, 0, 0],
            "they are divided otherwise"
        );
        assert_eq!(
            leave(&pods, &until, |_| (0, 0)),
            [0, 0, 0],
            "the plugin was taken away"
        );
        // A plugin that starts anew offers nothing for a while, and is well in between.
        assert_eq!(
            leave(&pods, &[0, 300, 301, 600], |s| (
                4,
                if s == 301 { 4 } else { 0 }
            )),
            [0; 4]
        );
        assert_eq!(leave(&pods, &[0, 300, 359, 360], |_| (4, 0)), [0, 0, 0, 2]);
        assert!(
            Health::default()
                .look(at(0), &holders(&pods), nothing)
                .is_empty()
        );
    }

    #[test]
    fn pods_that_have_ended_or_start_or_have_no_gpu_say_nothing() {
        let silent = pod("a", json!(null));
        assert!(Holder::of(&silent, GPU).is_some_and(|holder| holder.is_silent()));
        assert_eq!(Holder::of(&silent, "example.com/gpu"), None);
        let changed = |change: &dyn Fn(&mut Pod)| {
            let mut pod = silent.clone();
            change(&mut pod);
            Holder::of(&pod, GPU)
        };
        let phase = |phase: &'static str| {
            move |pod: &mut Pod| pod.status.as_mut().unwrap().phase = Some(phase.to_owned())
        };
        assert_eq!(changed(&phase("Failed")), None);
        assert_eq!(changed(&phase("Pending")), None);
        assert_eq!(
            changed(&|pod| pod.spec.as_mut().unwrap().node_name = None),
            None
        );
    }
}
