//! Keeps the pods of a coordinator's jobs at the numbers that the coordinator wants, and tells it what the cluster says.
//!
//! It runs beside the coordinator, in its pod, and only ever asks it and tells it: what is wanted is decided there. What
//! is there is watched, not polled; one pass compares both and acts. Whatever it did before a restart is found again:
//! the cluster's truth counts.

mod act;
mod events;
#[cfg(test)]
mod fixtures;
mod health;
mod nodes;
mod plan;
mod records;
mod report;
mod room;
mod seen;
mod shown;
mod silent;
mod watched;
mod why;

use self::act::Acting;
use self::events::Events;
use self::health::{Health, Holder};
use self::nodes::Nodes;
use self::plan::{Action, plan};
use self::records::forget_records;
use self::report::{Memory, Waiting};
use self::room::Room;
use self::seen::{JobSeen, PodSeen, numbers};
use self::shown::{Shown, Writing};
use self::silent::look_silent;
use self::watched::{Looked, Place, Watched, watch};
use self::why::look_why;
use crate::cluster::{Cluster, found};
use crate::names::{COORDINATOR, PORT};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use petctl_core::{Claim, Code, Pool, Reason, Sharing};
use petctl_rendezvous::Handle;
use petctl_rendezvous::metrics::KeeperNumbers;
use petctl_ui::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// Changes that come close together are looked at together.
const GATHER: Duration = Duration::from_millis(30);
/// A pass is made at least this often: times pass, and an action may have failed.
const PASS: Duration = Duration::from_secs(1);
/// Records of jobs that nobody knows are looked for this often, and stay at least this long.
const RECORDS_EVERY: Duration = Duration::from_secs(120);
/// Jobs that are looked at at the same time.
const JOBS_AT_ONCE: usize = 16;
/// A wait before an action on a job is tried again after it failed.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the pods of a coordinator's jobs.
#[derive(Debug)]
pub struct Keeper {
    /// The namespaces in which it keeps pods: first the coordinator's own.
    namespaces: Vec<Cluster>,
    /// The coordinator's address, as its workers reach it.
    service: String,
    /// The coordinator's release.
    release: String,
    /// How many pods there may be, and who gets them.
    room: Option<(u32, Sharing)>,
    changed: Arc<Notify>,
    /// The coordinator, once it serves.
    handle: OnceLock<Handle>,
    /// What the last pass saw.
    last: Mutex<Last>,
}

/// What a pass leaves for those who ask between two.
#[derive(Debug, Default)]
struct Last {
    pods: KeeperNumbers,
    /// In which namespace the pods of each job are.
    homes: BTreeMap<String, String>,
    /// Jobs that have not ended.
    open: BTreeSet<String>,
}

/// How the GPUs of workers are.
#[derive(Default)]
struct Gpus {
    health: Health,
    nodes: Nodes,
}

/// A job that has a place: what it wants, and what is there.
type Found<'f> = (
    &'f Pool,
    (&'f Looked, &'f Acting<'f>, Place, &'f [Arc<Pod>]),
);

/// What is known of pods beside themselves: by uid, whose GPU is unhealthy; and what happened to them.
type Said<'s> = (&'s BTreeMap<String, Reason>, &'s Events);

/// What one job's pass remembers for the next.
#[derive(Default)]
struct Kept {
    memory: Memory,
    waiting: Waiting,
    writing: Writing,
    waits_since: Option<Instant>,
    not_before: Option<Instant>,
    /// Why the last action failed.
    failed: Option<Reason>,
    /// What a worker that does not come has printed last, and when that was asked.
    said: Option<(Instant, String)>,
    /// Pods that are there and whose workers have joined.
    joined: BTreeSet<String>,
}

impl Keeper {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespaces in which it keeps pods.
    fn names(&self) -> Vec<&str> {
        let all = self.namespaces.iter();
        all.map(|cluster| cluster.namespace.as_str()).collect()
    }

    /// Of the cluster in which this process, of this release, runs: in its own namespace and these others. `room`: at
    /// most so many pods, and who gets them.
    ///
    /// # Errors
    /// Where it runs in no pod, or may not look at its own Service.
    pub async fn around(
        release: &str,
        namespace: &str,
        others: &[String],
        room: Option<(u32, Sharing)>,
    ) -> Result<Arc<Self>> {
        let cluster = Cluster::around(namespace)?;
        let services: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
        let service = found(&cluster.shown, services.get(COORDINATOR)).await?;
        let address = service.and_then(|service| service.spec?.cluster_ip);
        let address = address.filter(|address| address != "None").ok_or_else(|| {
            let what = format!("there is no Service {COORDINATOR} ({})", cluster.shown);
            Error::new(Code::NotInstalled, what).fix("install it whole: petctl setup --on NAME")
        })?;
        let others = others.iter().filter(|other| *other != namespace);
        let others: Vec<Cluster> = others.map(|other| cluster.in_namespace(other)).collect();
        Ok(Arc::new(Self {
            namespaces: std::iter::once(cluster).chain(others).collect(),
            service: address,
            release: release.to_owned(),
            room,
            changed: Arc::default(),
            handle: OnceLock::new(),
            last: Mutex::default(),
        }))
    }

    fn watch(&self) -> Vec<Watched> {
        let all = self.namespaces.iter();
        all.map(|cluster| watch(cluster, &self.changed)).collect()
    }

    /// Keeps them until the coordinator stops.
    pub async fn run(self: Arc<Self>, handle: Handle) {
        let _first = self.handle.set(handle.clone());
        let watched = self.watch();
        let mut changes = handle.changes();
        let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
        let mut gpus = Gpus::default();
        let mut records_looked = Instant::now();
        // Another namespace may not let it in yet, and holds up nobody.
        for watched in watched.iter().skip(1) {
            let (changed, watched) = (Arc::clone(&self.changed), watched.clone());
            tokio::spawn(async move {
                watched.until_listed().await;
                changed.notify_one();
            });
        }
        let Some(own) = watched.first() else { return };
        tokio::select! {
            () = own.until_listed() => {}
            _ = handle.stopped() => return,
        }
        let namespaces = self.names().join(", ");
        tracing::info!(namespaces, "keeps the pods of its jobs");
        loop {
            let Ok(pools) = handle.pools().await else {
                return;
            };
            self.pass(&handle, (&watched, &pools), &mut kept, &mut gpus)
                .await;
            if records_looked.elapsed() > RECORDS_EVERY {
                records_looked = Instant::now();
                forget_records(&handle, &watched).await;
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

    async fn pass(
        &self,
        handle: &Handle,
        (watched, pools): (&[Watched], &[Pool]),
        kept: &mut BTreeMap<String, Kept>,
        gpus: &mut Gpus,
    ) {
        let mut looked = Vec::new();
        for watched in watched.iter().filter(|watched| watched.is_listed()) {
            looked.push((
                Looked::at(watched),
                Acting::new(&watched.cluster, (&self.service, &self.release), handle),
            ));
        }
        self.remember(&looked, pools);
        let mut found = Vec::new();
        for pool in pools {
            let mut places = looked.iter();
            let of_job = places.find_map(|(looked, acting)| {
                let place = Place::of(looked.places.get(&pool.name)?)?;
                let pods = looked.pods.get(&pool.name);
                let pods = pods.map_or(&[][..], Vec::as_slice);
                Some((looked, acting, place, pods))
            });
            found.extend(of_job.map(|of_job| (pool, of_job)));
        }
        let holders = found.iter().filter(|(pool, _)| pool.gpus > 0);
        let holders = holders.flat_map(|(_, (_, _, place, pods))| {
            let resource = &place.settings.gpu_resource;
            pods.iter().filter_map(|pod| Holder::of(pod, resource))
        });
        let unhealthy = &self.unhealthy(&holders.collect::<Vec<_>>(), gpus);
        // What the API server is slow to answer for one job must not hold up the others.
        let mut before = std::mem::take(kept);
        let mut passes = Vec::new();
        let rooms = self.rooms(&looked, &found);
        for ((pool, (looked, acting, place, pods)), room) in found.into_iter().zip(rooms) {
            let mut own = before.remove(&pool.name).unwrap_or_default();
            let job = looked.jobs.get(&pool.name).map(|job| JobSeen::of(job));
            passes.push(async move {
                let there = (job, pods, (unhealthy, &looked.events));
                self.pass_of(handle, acting, (pool, &place, room), there, &mut own)
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
        for (looked, acting) in &looked {
            for (name, job) in &looked.jobs {
                if !open.contains(name.as_str()) && !JobSeen::of(job).goes {
                    acting.remove(name).await;
                }
            }
        }
    }

    /// For how many pods there is room for each of these jobs, in their order; `None`: for as many as it wants.
    fn rooms(&self, looked: &[(Looked, Acting<'_>)], found: &[Found<'_>]) -> Vec<Option<Room>> {
        let Some((most, sharing)) = self.room else {
            return vec![None; found.len()];
        };
        let claims = found.iter().map(|(pool, (looked, _, _, pods))| {
            let job = looked.jobs.get(&pool.name).map(|job| JobSeen::of(job));
            room::claim(pool, job.as_ref(), pods)
        });
        let claims: Vec<Claim> = claims.collect();
        let known: BTreeSet<&str> = found.iter().map(|(pool, _)| pool.name.as_str()).collect();
        let all = looked.iter().flat_map(|(looked, _)| &looked.pods);
        let others = all.filter(|(job, _)| !known.contains(job.as_str()));
        let others = others.map(|(_, pods)| room::living(pods)).sum();
        room::rooms((most, sharing), others, &claims)
    }

    /// The pods that are to leave because of their GPUs, by UID.
    fn unhealthy(&self, holders: &[Holder], gpus: &mut Gpus) -> BTreeMap<String, Reason> {
        if holders.iter().any(Holder::is_silent)
            && let Some(own) = self.namespaces.first()
        {
            gpus.nodes.watch(own, &self.changed);
        }
        let nodes = &gpus.nodes;
        let offered = |node: &str, resource: &str| nodes.offered(node, resource);
        gpus.health.look(Timestamp::now(), holders, offered)
    }

    /// Keeps what is asked between two passes.
    fn remember(&self, looked: &[(Looked, Acting<'_>)], pools: &[Pool]) {
        let mut last = Last {
            open: pools.iter().map(|pool| pool.name.clone()).collect(),
            ..Last::default()
        };
        for (looked, acting) in looked {
            let jobs = looked.jobs.values().map(Arc::as_ref);
            let pods = looked.pods.values().flatten();
            numbers(&mut last.pods, jobs, pods.map(Arc::as_ref));
            let namespace = &acting.cluster().namespace;
            let homes = looked
                .places
                .keys()
                .map(|job| (job.clone(), namespace.clone()));
            last.homes.extend(homes);
        }
        *self.last() = last;
    }

    async fn pass_of(
        &self,
        handle: &Handle,
        acting: &Acting<'_>,
        (pool, place, room): (&Pool, &Place, Option<Room>),
        (job, pods, (unhealthy, events)): (Option<JobSeen>, &[Arc<Pod>], Said<'_>),
        kept: &mut Kept,
    ) {
        let now = Timestamp::now();
        kept.joined
            .extend(pool.workers.iter().map(|worker| worker.name.clone()));
        let joined = &kept.joined;
        let seen = pods.iter().map(|pod| {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            PodSeen::of(pod, joined).with(unhealthy.get(uid))
        });
        let seen: Vec<PodSeen> = seen.collect();
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
            kept.failed = None;
            let made = Acting::made_of(&how);
            let wants = room.as_ref().map(|room| room.within(pool));
            let wants = wants.as_ref().unwrap_or(pool);
            for action in plan(wants, &made, job.as_ref(), &seen) {
                if action == Action::Remove {
                    kept.memory.removes();
                }
                tracing::info!(job = pool.name, ?action, "the pods of a job");
                if let Err(error) = acting.carry_out(&how, &action).await {
                    let said = error.sentence();
                    tracing::warn!(job = pool.name, code = error.code(), "{said}");
                    kept.not_before = Some(Instant::now() + RETRY);
                    if !error.is(Code::ClusterUnreachable) {
                        kept.failed = Some(Reason::new(Code::PodRefused, said));
                    }
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
        look_why(events, pool, (job.as_ref(), pods, &seen), kept);
        if kept.failed.is_some() {
            kept.waiting.job.clone_from(&kept.failed);
        }
        let at = format!("{}:{PORT}", self.service);
        look_silent((acting.cluster(), &at), pool, pods, kept).await;
        let mut report = kept
            .memory
            .report(now, pool, job.as_ref(), &seen, &kept.waiting);
        if let Some(room) = &room {
            report.at_most = Some(room.at_most);
            report.waiting.extend(room.why(pool));
        }
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
}
