//! What nodes offer of a device: looked at where pods don't say how their GPUs are, and where that is allowed.

use super::health::Offered;
use super::watched::{Patience, follow};
use crate::cluster::{Cluster, answered};
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ListParams};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use petctl_ui::error::Code;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Whoever may not look at nodes tries again after this: somebody may have given the right.
const AGAIN: Duration = Duration::from_secs(60);

/// The nodes of the cluster, as far as they are looked at.
#[derive(Default)]
pub(super) struct Nodes {
    store: Option<Store<Node>>,
}

impl Nodes {
    /// Looks at them from now on, where it does not yet; every change is told.
    pub(super) fn watch(&mut self, cluster: &Cluster, changed: &Arc<Notify>) {
        if self.store.is_some() {
            return;
        }
        let (reader, writer) = reflector::store();
        self.store = Some(reader);
        let (cluster, changed) = (cluster.clone(), Arc::clone(changed));
        tokio::spawn(async move {
            let nodes: Api<Node> = Api::all(cluster.client.clone());
            until_allowed(&cluster, &nodes).await;
            let stream = watcher(nodes, watcher::Config::default())
                .backoff(Patience::default())
                .modify(without_rest)
                .reflect(writer);
            follow(stream, (cluster.shown, changed)).await;
        });
    }

    /// What is known of what a node has of a resource.
    pub(super) fn offered(&self, node: &str, resource: &str) -> Option<Offered> {
        let node = self.store.as_ref()?.get(&ObjectRef::new(node))?;
        let status = node.status.as_ref()?;
        let of =
            |all: &Option<BTreeMap<String, Quantity>>| all.as_ref()?.get(resource)?.0.parse().ok();
        Some(Offered {
            capacity: of(&status.capacity)?,
            allocatable: of(&status.allocatable)?,
        })
    }
}

/// Nodes belong to no namespace, and the role that `petctl setup` makes lets nobody look at them.
async fn until_allowed(cluster: &Cluster, nodes: &Api<Node>) {
    let mut told = false;
    loop {
        let one = ListParams::default().limit(1);
        match answered(&cluster.shown, nodes.list(&one)).await {
            Ok(_) => return,
            Err(error) if error.is(Code::ClusterDenied) && !told => {
                told = true;
                tracing::warn!(
                    "pods don't say here how their GPUs are (Kubernetes before 1.36), and the coordinator may not look \
                     at nodes: workers stay on GPUs that are unhealthy; docs/errors/GPU_UNHEALTHY.md gives the right"
                );
            }
            Err(error) => tracing::debug!(code = error.code(), "can't look at nodes"),
        }
        sleep(AGAIN).await;
    }
}

/// Keeps what is asked for: a cluster may have thousands of nodes.
fn without_rest(node: &mut Node) {
    let devices = |all: Option<BTreeMap<String, Quantity>>| {
        let mut all = all?;
        all.retain(|name, _| name.contains('/'));
        Some(all)
    };
    node.metadata.managed_fields = None;
    node.metadata.labels = None;
    node.metadata.annotations = None;
    node.spec = None;
    let status = node.status.take().unwrap_or_default();
    node.status = Some(NodeStatus {
        capacity: devices(status.capacity),
        allocatable: devices(status.allocatable),
        ..NodeStatus::default()
    });
}
