//! Workers that run and do not come.

use super::Kept;
use super::seen::here;
use crate::cluster::Cluster;
use crate::names::WORKER;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use petctl_core::Pool;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A worker that runs for this long without having come is spoken of, in seconds.
const SILENT_S: i64 = 20;
/// What one of a job's silent workers has printed last is asked for this often: they mostly say the same.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Adds the pods whose workers run and have not come to those that wait.
pub(super) async fn look_silent(
    (cluster, coordinator): (&Cluster, &str),
    pool: &Pool,
    pods: &[Arc<Pod>],
    kept: &mut Kept,
) {
    let here = here(pool);
    let now_s = Timestamp::now().as_second();
    let mut silent = Vec::new();
    for pod in pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let came = kept.joined.contains(name) || here.contains(name);
        let goes = pod.metadata.deletion_timestamp.is_some() || petctl_pods::node_is_lost(pod);
        if let Some(since) = petctl_pods::worker_runs_since(pod)
            && now_s - since >= SILENT_S
            && !came
            && !goes
        {
            silent.push((name, now_s - since));
        }
    }
    let Some((first, _)) = silent.first() else {
        kept.said = None;
        return;
    };
    let fresh = kept
        .said
        .as_ref()
        .is_some_and(|(at, _)| at.elapsed() < SAID_EVERY);
    if !fresh {
        let said = cluster.last_line(first, WORKER).await;
        kept.said = Some((Instant::now(), said));
    }
    let said = kept.said.as_ref().map_or("", |(_, said)| said);
    for (name, seconds) in silent {
        let reason = petctl_pods::silent(seconds, coordinator, said);
        kept.waiting.pods.insert(name.to_owned(), reason);
    }
}
