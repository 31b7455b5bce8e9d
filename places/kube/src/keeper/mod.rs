//! Keeps the pods of a coordinator's jobs at the numbers that the coordinator wants, and tells it what the cluster says.
//!
//! It runs beside the coordinator, in its pod, and only ever asks it and tells it: what is wanted is decided there. What
//! is there is watched, not polled; one pass compares both and acts. Whatever it did before a restart is found again:
//! the cluster's truth counts.

mod act;
mod plan;
mod report;
mod seen;
mod shown;

use self::act::Acting;
use self::plan::{Action, plan};
use self::report::{Memory, Waiting};
use self::seen::{JobSeen, PodSeen, job_of, numbers};
use self::shown::{Shown, Writing};
use crate::cluster::{Cluster, answered, found};
use crate::manifests::record;
use crate::manifests::workers::PLACE_KEY;
use crate::names::{CA_CONFIG, COORDINATOR, FIELD_MANAGER, selector};
use crate::reasons;
use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use petctl_core::{Code, Pool, Reason, Refusal};
use petctl_rendezvous::metrics::KeeperNumbers;
use petctl_rendezvous::{Handle, PlaceKeeper};
use petctl_settings::KubePlace;
use petctl_ui::error::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// Changes that come close together are looked at together.
const GATHER: Duration = Duration::from_millis(30);
/// A pass is made at least this often: times pass, and an action may have failed.
const PASS: Duration = Duration::from_secs(1);
/// The events of pods that wait are asked for this often.
const EVENTS_EVERY: Duration = Duration::from_secs(3);
/// Pods of a job whose events are asked for in one pass: those that wait mostly wait for the same.
const EVENTS_OF: usize = 3;
/// Records of jobs that nobody knows are looked for this often, and stay at least this long.
const RECORDS_EVERY: Duration = Duration::from_secs(120);
/// Jobs that are looked at at the same time.
const JOBS_AT_ONCE: usize = 16;
/// A wait before an action on a job is tried again after it failed.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the pods of a coordinator's jobs.
#[derive(Debug)]
pub struct Keeper {
    cluster: Cluster,
    /// The coordinator's address, as its workers reach it.
    service: String,
    changed: Notify,
    /// What the last pass saw of pods.
    pods: Mutex<KeeperNumbers>,
}

#[async_trait::async_trait]
impl PlaceKeeper for Keeper {
    async fn use_place(&self, job: &str, place_json: &str) -> std::result::Result<(), Refusal> {
        let bad = |why: String| Refusal::new(Code::BadPlace, why);
        let place: KubePlace = serde_json::from_str(place_json)
            .map_err(|error| bad(format!("the place can't be read: {error}")))?;
        place.check().map_err(bad)?;
        if place.namespace != self.cluster.namespace {
            return Err(bad(format!(
                "this coordinator keeps pods in namespace {}, not in {}",
                self.cluster.namespace, place.namespace
            )));
        }
        let object = record(job, &self.cluster.namespace, place_json);
        let failed = "the job's place can't be remembered";
        self.apply(&crate::names::of_job(job), &object, failed)
            .await?;
        self.changed.notify_one();
        Ok(())
    }

    fn numbers(&self) -> KeeperNumbers {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        KeeperNumbers {
            requests: self.cluster.requests.so_far(),
            ..pods.clone()
        }
    }

    async fn trust(&self, ca: &str) -> std::result::Result<(), Refusal> {
        let object = crate::manifests::ca(&self.cluster.namespace, ca);
        self.apply(CA_CONFIG, &object, "the coordinator's CA can't be told")
            .await
    }
}

/// All that is watched.
struct Watched {
    jobs: Store<Job>,
    pods: Store<Pod>,
    records: Store<ConfigMap>,
}

/// What one job's pass remembers for the next.
#[derive(Default)]
struct Kept {
    memory: Memory,
    waiting: Waiting,
    writing: Writing,
    asked: Option<Instant>,
    not_before: Option<Instant>,
    /// Pods that are there and whose workers have joined.
    joined: BTreeSet<String>,
}

impl Keeper {
    /// Applies a ConfigMap; `failed` says what can't be done where the cluster refuses it.
    async fn apply(
        &self,
        name: &str,
        object: &Value,
        failed: &str,
    ) -> std::result::Result<(), Refusal> {
        let configs = self.cluster.api::<ConfigMap>();
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(object);
        let applied = answered(&self.cluster.shown, configs.patch(name, &params, &patch)).await;
        applied.map(|_| ()).map_err(|error| {
            Refusal::new(
                Code::parse(error.code()).unwrap_or(Code::ClusterRefused),
                format!("{failed}: {}", error.sentence()),
            )
        })
    }

    /// Of the cluster in which this process runs.
    ///
    /// # Errors
    /// Where it runs in no pod, or may not look at its own Service.
    pub async fn around(namespace: &str) -> Result<Arc<Self>> {
        let cluster = Cluster::around(namespace)?;
        let services: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
        let service = found(&cluster.shown, services.get(COORDINATOR)).await?;
        let address = service.and_then(|service| service.spec?.cluster_ip);
        let address = address.filter(|address| address != "None").ok_or_else(|| {
            let what = format!("there is no Service {COORDINATOR} ({})", cluster.shown);
            Error::new(Code::NotInstalled, what).fix("install it whole: petctl setup --on NAME")
        })?;
        Ok(Arc::new(Self {
            cluster,
            service: address,
            changed: Notify::new(),
            pods: Mutex::default(),
        }))
    }

    /// Keeps them until the coordinator stops.
    pub async fn run(self: Arc<Self>, handle: Handle) {
        let watched = self.watch();
        let mut changes = handle.changes();
        let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
        let mut records_looked = Instant::now();
        // Before everything has been listed once, what is missing can't be told from what is not known yet.
        let listed = async {
            let all = (
                watched.jobs.wait_until_ready(),
                watched.pods.wait_until_ready(),
                watched.records.wait_until_ready(),
            );
            let _closed = futures::join!(all.0, all.1, all.2);
        };
        tokio::select! {
            () = listed => {}
            _ = handle.stopped() => return,
        }
        tracing::info!(
            namespace = self.cluster.namespace,
            "keeps the pods of its jobs"
        );
        loop {
            let Ok(pools) = handle.pools().await else {
                return;
            };
            self.pass(&handle, &watched, &pools, &mut kept).await;
            if records_looked.elapsed() > RECORDS_EVERY {
                records_looked = Instant::now();
                self.forget_records(&handle, &watched).await;
            }
            let woken = async {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() {
                        std::future::pending::<()>().await;
                    },
                    () = self.changed.notified() => {}
                }
            };
            tokio::select! {
                _ = handle.stopped() => return,
                _ = timeout(PASS, woken) => {}
            }
            tokio::time::sleep(GATHER).await;
            changes.mark_unchanged();
        }
    }

    /// Watches what there is of workers, from now on; every change wakes the loop.
    fn watch(self: &Arc<Self>) -> Watched {
        Watched {
            jobs: self.watch_kind::<Job>(&selector("workers")),
            pods: self.watch_kind::<Pod>(&selector("worker")),
            records: self.watch_kind::<ConfigMap>(&selector("job")),
        }
    }

    fn watch_kind<K>(self: &Arc<Self>, labels: &str) -> Store<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let api = self.cluster.api::<K>();
        let (reader, writer) = reflector::store();
        // It lists again after an expired version, and waits longer and longer while the server is away.
        let stream = watcher(api, watcher::Config::default().labels(labels))
            .default_backoff()
            .reflect(writer);
        let keeper = Arc::clone(self);
        tokio::spawn(async move {
            futures::pin_mut!(stream);
            while let Some(event) = stream.next().await {
                match event {
                    Ok(_) => keeper.changed.notify_one(),
                    Err(error) => tracing::warn!(
                        kind = std::any::type_name::<K>().rsplit(':').next().unwrap_or("?"),
                        %error,
                        "the watch broke; it is begun again"
                    ),
                }
            }
        });
        reader
    }

    async fn pass(
        &self,
        handle: &Handle,
        watched: &Watched,
        pools: &[Pool],
        kept: &mut BTreeMap<String, Kept>,
    ) {
        let jobs: BTreeMap<String, Arc<Job>> = by_job(&watched.jobs);
        let places: BTreeMap<String, Arc<ConfigMap>> = by_job(&watched.records);
        let all_pods = watched.pods.state();
        *self.pods.lock().unwrap_or_else(PoisonError::into_inner) =
            numbers(jobs.values().map(Arc::as_ref), &all_pods);
        let mut pods: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in all_pods {
            if let Some(job) = job_of(pod.metadata.labels.as_ref()) {
                pods.entry(job).or_default().push(pod);
            }
        }
        let acting = Acting::new(&self.cluster, &self.service, handle);
        // What the API server is slow to answer for one job must not hold up the others.
        let mut before = std::mem::take(kept);
        let mut passes = Vec::new();
        for pool in pools {
            let Some(place) = places.get(&pool.name).and_then(|record| Place::of(record)) else {
                continue;
            };
            let mut own = before.remove(&pool.name).unwrap_or_default();
            let pods = pods.get(&pool.name).map_or(&[][..], Vec::as_slice);
            let job = jobs.get(&pool.name).map(|job| JobSeen::of(job));
            let acting = &acting;
            passes.push(async move {
                self.pass_of(handle, acting, (pool, &place), (job, pods), &mut own)
                    .await;
                (pool.name.clone(), own)
            });
        }
        *kept = futures::stream::iter(passes)
            .buffer_unordered(JOBS_AT_ONCE)
            .collect()
            .await;
        let open: BTreeSet<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        // Jobs that have ended, and those that nobody knows any more, want no pods.
        for (name, job) in jobs {
            if !open.contains(name.as_str()) && !JobSeen::of(&job).goes {
                acting.remove(&name).await;
            }
        }
    }

    async fn pass_of(
        &self,
        handle: &Handle,
        acting: &Acting<'_>,
        (pool, place): (&Pool, &Place),
        (job, pods): (Option<JobSeen>, &[Arc<Pod>]),
        kept: &mut Kept,
    ) {
        let now = Timestamp::now();
        kept.joined
            .extend(pool.workers.iter().map(|worker| worker.name.clone()));
        let joined = &kept.joined;
        let seen: Vec<PodSeen> = pods.iter().map(|pod| PodSeen::of(pod, joined)).collect();
        let there: BTreeSet<&str> = seen.iter().map(|pod| pod.name.as_str()).collect();
        kept.joined.retain(|name| there.contains(name.as_str()));
        if kept.memory.look(now, job.as_ref(), &seen) {
            tracing::warn!(
                job = pool.name,
                "somebody deleted its Job; it is made again"
            );
        }
        let image = place.settings.image.as_deref().unwrap_or_default();
        let how = acting.workers(pool, &place.settings, image, &place.uid);
        if kept.not_before.is_none_or(|at| at <= Instant::now()) {
            kept.not_before = None;
            let template = Acting::template_of(&how);
            for action in plan(pool, &template, job.as_ref(), &seen) {
                if action == Action::Remove {
                    kept.memory.removes();
                }
                tracing::info!(job = pool.name, ?action, "the pods of a job");
                if let Err(error) = acting.carry_out(&how, &action).await {
                    let said = error.sentence();
                    tracing::warn!(job = pool.name, code = error.code(), "{said}");
                    kept.not_before = Some(Instant::now() + RETRY);
                    kept.waiting.job = Some(Reason::new(Code::PodRefused, said));
                    kept.asked = Some(Instant::now());
                    break;
                }
            }
        }
        if let Some(job) = job.as_ref().filter(|job| !job.goes) {
            let wanted = Shown::of(&pool.standing);
            if kept.writing.is_due(now, &wanted, &job.shown) {
                acting.show(&pool.name, &wanted).await;
            }
        }
        self.look_why(pool, job.as_ref(), pods, &seen, kept).await;
        let report = kept
            .memory
            .report(now, pool, job.as_ref(), &seen, &kept.waiting);
        if let Some(why) = kept
            .memory
            .gives_up(now, pool, &report, place.settings.start_timeout_ms)
        {
            tracing::warn!(job = pool.name, "{why}; it is suspended");
            if let Err(error) = handle
                .suspend(&pool.name, &format!("{}: {why}", Code::GaveUp))
                .await
            {
                tracing::warn!(job = pool.name, code = %error.code(), "{error}");
            }
        }
        // What changes nothing costs nothing there; and another version of the job has heard nothing yet.
        handle.place_says(pool.job, report).await;
    }

    /// Asks why pods do not run, where some don't.
    async fn look_why(
        &self,
        pool: &Pool,
        job: Option<&JobSeen>,
        pods: &[Arc<Pod>],
        seen: &[PodSeen],
        kept: &mut Kept,
    ) {
        let waits = |pod: &&Arc<Pod>| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            !reasons::runs(pod)
                && !reasons::has_ended(pod)
                && pod.metadata.deletion_timestamp.is_none()
                && pool.workers.iter().all(|worker| worker.name != name)
        };
        if let Some(job) = job
            && let Some(queue) = &job.queue
            && job.suspended
            && !pool.suspended
        {
            kept.asked = None;
            kept.waiting = Waiting {
                job: Some(reasons::queued(queue)),
                ..Waiting::default()
            };
            return;
        }
        let waiting: Vec<&Arc<Pod>> = pods.iter().filter(waits).collect();
        let living = seen.iter().filter(|pod| !pod.ended && !pod.goes).count();
        let unmade =
            job.is_some_and(|job| !job.suspended && !job.goes && (job.size as usize) > living);
        if waiting.is_empty() && !unmade {
            kept.waiting = Waiting::default();
            kept.asked = None;
            return;
        }
        // What a pod says of itself needs no question.
        kept.waiting.pods = waiting
            .iter()
            .filter_map(|pod| {
                let name = pod.metadata.name.clone()?;
                let known = kept.waiting.pods.remove(&name);
                Some((name, reasons::of_pod(pod, &[]).or(known)?))
            })
            .collect();
        if kept.asked.is_some_and(|at| at.elapsed() < EVENTS_EVERY) {
            return;
        }
        // Not in the first moment: most pods only start.
        let first = kept.asked.is_none();
        kept.asked = Some(Instant::now());
        if first {
            return;
        }
        for pod in waiting.iter().take(EVENTS_OF) {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let events = self.cluster.events(&name).await;
            if let Some(reason) = reasons::of_pod(pod, &events) {
                kept.waiting.pods.insert(name, reason);
            }
        }
        kept.waiting.job = if unmade {
            reasons::of_job(&self.cluster.events(&crate::names::of_job(&pool.name)).await)
        } else {
            None
        };
    }

    /// Removes the records of jobs that were deleted.
    async fn forget_records(&self, handle: &Handle, watched: &Watched) {
        let Ok(known) = handle.job_names().await else {
            return;
        };
        let acting = Acting::new(&self.cluster, &self.service, handle);
        let now = Timestamp::now().as_second();
        for (name, record) in by_job(&watched.records) {
            let made = record.metadata.creation_timestamp.as_ref();
            let age_s = made.map_or(0, |at| now - at.0.as_second());
            let is_old = u64::try_from(age_s).unwrap_or(0) > RECORDS_EVERY.as_secs();
            if !known.contains(&name) && is_old {
                acting.forget(&name).await;
            }
        }
    }
}

/// Where a job's workers run, as its record has it.
struct Place {
    settings: KubePlace,
    uid: String,
}

impl Place {
    fn of(record: &ConfigMap) -> Option<Self> {
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
