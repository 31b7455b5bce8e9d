//! Why pods do not run, as the cluster has it.

use super::Kept;
use super::report::Waiting;
use super::seen::{JobSeen, PodSeen};
use crate::cluster::Cluster;
use crate::names::WORKER;
use crate::reasons;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use petctl_core::Pool;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A worker that runs for this long without having come is spoken of, in seconds.
const SILENT_S: i64 = 20;
/// The events of pods that wait are asked for this often.
const EVENTS_EVERY: Duration = Duration::from_secs(3);
/// Pods of a job whose events are asked for in one pass: those that wait mostly wait for the same.
const EVENTS_OF: usize = 3;

/// Asks why pods do not run, where some don't.
pub(super) async fn look_why(
    (cluster, coordinator): (&Cluster, &str),
    pool: &Pool,
    (job, pods, seen): (Option<&JobSeen>, &[Arc<Pod>], &[PodSeen]),
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
    let now_s = Timestamp::now().as_second();
    let joined = &kept.joined;
    let silent = |pod: &&Arc<Pod>| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let since = reasons::worker_runs_since(pod).filter(|_| !joined.contains(name));
        let lasts = since.is_some_and(|since| now_s - since >= SILENT_S);
        lasts && pod.metadata.deletion_timestamp.is_none() && !reasons::node_is_lost(pod)
    };
    let silent: Vec<&Arc<Pod>> = pods.iter().filter(silent).collect();
    let waiting: Vec<&Arc<Pod>> = pods.iter().filter(waits).collect();
    let living = seen.iter().filter(|pod| !pod.ended && !pod.goes).count();
    let unmade = job.is_some_and(|job| !job.suspended && !job.goes && (job.size as usize) > living);
    if waiting.is_empty() && silent.is_empty() && !unmade {
        kept.waiting = Waiting::default();
        kept.asked = None;
        return;
    }
    // What a pod says of itself needs no question.
    kept.waiting.pods = waiting
        .iter()
        .chain(&silent)
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
        let events = cluster.events(&name).await;
        if let Some(reason) = reasons::of_pod(pod, &events) {
            kept.waiting.pods.insert(name, reason);
        }
    }
    for pod in silent.iter().take(EVENTS_OF) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let seconds = now_s - reasons::worker_runs_since(pod).unwrap_or(now_s);
        let said = cluster.last_line(&name, WORKER).await;
        let reason = reasons::silent(seconds, coordinator, &said);
        kept.waiting.pods.insert(name, reason);
    }
    kept.waiting.job = if unmade {
        reasons::of_job(&cluster.events(&crate::names::of_job(&pool.name)).await)
    } else {
        None
    };
}
