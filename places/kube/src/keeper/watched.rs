//! What there is of workers in a namespace: watched, not polled.

use super::events::Events;
use super::seen::job_of;
use crate::cluster::Cluster;
use crate::manifests::TOKEN_VOLUME;
use crate::manifests::workers::PLACE_KEY;
use crate::names::selector;
use futures::{Stream, StreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec};
use kube::runtime::reflector::{self, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use petctl_settings::KubePlace;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The longest wait before a watch that broke is begun again.
const LONGEST_WAIT: Duration = Duration::from_secs(6);

/// All that is watched of one namespace.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) cluster: Cluster,
    jobs: Store<Job>,
    pods: Store<Pod>,
    records: Store<ConfigMap>,
    events: Events,
    listed: Arc<AtomicBool>,
}

impl Watched {
    /// Before everything has been listed once, what is missing can't be told from what is not known yet.
    pub(super) async fn until_listed(&self) {
        let all = (
            self.jobs.wait_until_ready(),
            self.pods.wait_until_ready(),
            self.records.wait_until_ready(),
        );
        let _closed = futures::join!(all.0, all.1, all.2);
        self.listed.store(true, Ordering::Release);
    }

    pub(super) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    /// The records of jobs.
    pub(super) fn records(&self) -> BTreeMap<String, Arc<ConfigMap>> {
        by_job(&self.records)
    }
}

/// What there is in one namespace, by job.
pub(super) struct Looked {
    pub(super) jobs: BTreeMap<String, Arc<Job>>,
    pub(super) places: BTreeMap<String, Arc<ConfigMap>>,
    pub(super) pods: BTreeMap<String, Vec<Arc<Pod>>>,
    pub(super) events: Events,
}

impl Looked {
    pub(super) fn at(watched: &Watched) -> Self {
        let mut pods: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in watched.pods.state() {
            if let Some(job) = job_of(pod.metadata.labels.as_ref()) {
                pods.entry(job).or_default().push(pod);
            }
        }
        Self {
            jobs: by_job(&watched.jobs),
            places: by_job(&watched.records),
            pods,
            events: watched.events.clone(),
        }
    }
}

/// Watches what there is of workers in a namespace, from now on; every change is told.
pub(super) fn watch(cluster: &Cluster, changed: &Arc<Notify>) -> Watched {
    Watched {
        cluster: cluster.clone(),
        jobs: watch_kind::<Job>(cluster, &selector("workers"), changed, slim_job),
        pods: watch_kind::<Pod>(cluster, &selector("worker"), changed, slim_pod),
        records: watch_kind::<ConfigMap>(cluster, &selector("job"), changed, |_| {}),
        events: Events::watch(cluster, changed),
        listed: Arc::default(),
    }
}

/// How long a watch that broke waits before it is begun again: longer and longer, but never so long that somebody who
/// has just let the coordinator in would wait for it.
#[derive(Default)]
pub(super) struct Patience(watcher::DefaultBackoff);

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|wait| wait.min(LONGEST_WAIT))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// What a Job's pods are made of is known: it is the same for all of a job.
fn slim_job(job: &mut Job) {
    let Some(spec) = &mut job.spec else { return };
    let pod = std::mem::take(&mut spec.template).spec.unwrap_or_default();
    // But for the Secret by which its workers come in.
    let volumes = pod.volumes.into_iter().flatten();
    let token = volumes.filter(|volume| volume.name == TOKEN_VOLUME);
    let pod = PodSpec {
        volumes: Some(token.collect()),
        ..PodSpec::default()
    };
    spec.template.spec = Some(pod);
}

/// Nobody asks with what a pod's containers were started, of which each has the same.
fn slim_pod(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    spec.tolerations = None;
    spec.topology_spread_constraints = None;
    spec.init_containers = None;
    for container in &mut spec.containers {
        *container = Container {
            name: std::mem::take(&mut container.name),
            resources: container.resources.take(),
            volume_mounts: container.volume_mounts.take(),
            ..Container::default()
        };
    }
}

/// Keeps what there is of one kind; of each object without what `slim` takes from it: there may be thousands.
fn watch_kind<K>(
    cluster: &Cluster,
    labels: &str,
    changed: &Arc<Notify>,
    slim: fn(&mut K),
) -> Store<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (reader, writer) = reflector::store();
    // It lists again after an expired version, and waits longer and longer while the server is away.
    let stream = watcher(
        cluster.api::<K>(),
        watcher::Config::default().labels(labels),
    )
    .backoff(Patience::default())
    .modify(move |object| {
        object.meta_mut().managed_fields = None;
        slim(object);
    })
    .reflect(writer);
    let told = (cluster.namespace.clone(), Arc::clone(changed));
    tokio::spawn(follow(stream, told));
    reader
}

/// Tells every change, and once what a watch breaks by: a namespace that lets nobody in says the same for hours.
pub(super) async fn follow<K>(
    stream: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
    (place, changed): (String, Arc<Notify>),
) {
    futures::pin_mut!(stream);
    let kind = std::any::type_name::<K>();
    let kind = kind.rsplit(':').next().unwrap_or(kind);
    let mut said = None;
    while let Some(event) = stream.next().await {
        match event {
            Ok(_) => {
                said = None;
                changed.notify_one();
            }
            Err(error) => {
                let error = error.to_string();
                if said.as_ref() != Some(&error) {
                    tracing::warn!(kind, place, error, "the watch broke; it is begun again");
                    said = Some(error);
                }
            }
        }
    }
}

/// Where a job's workers run, as its record has it.
pub(super) struct Place {
    pub(super) settings: KubePlace,
    pub(super) uid: String,
}

impl Place {
    pub(super) fn of(record: &ConfigMap) -> Option<Self> {
        let json = record.data.as_ref()?.get(PLACE_KEY)?;
        match serde_json::from_str(json) {
            Ok(settings) => Some(Self {
                settings,
                uid: record.metadata.uid.clone()?,
            }),
            Err(error) => {
                let name = record.metadata.name.as_deref().unwrap_or("?");
                tracing::warn!(record = name, %error, "the place of a job can't be read");
                None
            }
        }
    }
}

fn by_job<K>(store: &Store<K>) -> BTreeMap<String, Arc<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    let all = store.state().into_iter();
    all.filter_map(|object| Some((job_of(object.meta().labels.as_ref())?, object)))
        .collect()
}
