//! A coordinator on a node that does not come back.

use crate::cluster::{Cluster, answered, found};
use crate::names::selector;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Preconditions};
use petctl_ui::error::Result;

/// A coordinator's pod whose node does not answer. Kubernetes starts no other one while it may still run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranded {
    pod: String,
    uid: Option<String>,
    /// The node that does not answer.
    pub node: String,
    /// What it knows goes with its pod.
    pub forgets: bool,
}

/// The coordinator, if it is on a node that does not answer.
///
/// # Errors
/// Where pods can't be listed.
pub async fn stranded(cluster: &Cluster) -> Result<Option<Stranded>> {
    let of_coordinator = ListParams::default().labels(&selector("coordinator"));
    let listed = answered(&cluster.shown, cluster.api::<Pod>().list(&of_coordinator)).await?;
    let lost = listed.items.into_iter().find(petctl_pods::node_is_lost);
    Ok(lost.map(|pod| {
        let spec = pod.spec.unwrap_or_default();
        let mut volumes = spec.volumes.iter().flatten();
        Stranded {
            pod: pod.metadata.name.unwrap_or_default(),
            uid: pod.metadata.uid,
            node: spec.node_name.unwrap_or_default(),
            forgets: volumes.any(|volume| volume.name == "state" && volume.empty_dir.is_some()),
        }
    }))
}

/// Takes its pod away without asking the node, which can't answer: another one starts elsewhere.
///
/// # Errors
/// Where the cluster refuses it; also where the pod has become another one meanwhile.
pub async fn abandon(cluster: &Cluster, stranded: &Stranded) -> Result<()> {
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: stranded.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let deleted = cluster.api::<Pod>();
    let deleted = deleted.delete(&stranded.pod, &params);
    found(&cluster.shown, deleted).await.map(|_| ())
}
