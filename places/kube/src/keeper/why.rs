//! Why pods do not run, as the cluster has it. Pure.

use super::Kept;
use super::events::Events;
use super::report::Waiting;
use super::seen::{JobSeen, PodSeen, here};
use k8s_openapi::api::core::v1::Pod;
use petctl_core::Pool;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Events count when something has waited for so long: in the first moment most pods only start, and what fails once
/// mostly passes.
const EVENTS_AFTER: Duration = Duration::from_secs(3);

/// Looks why pods do not run, where some don't.
pub(super) fn look_why(
    events: &Events,
    pool: &Pool,
    (job, pods, seen): (Option<&JobSeen>, &[Arc<Pod>], &[PodSeen]),
    kept: &mut Kept,
) {
    if let Some(job) = job
        && let Some(queue) = &job.queue
        && job.suspended
        && !pool.suspended
    {
        kept.waits_since = None;
        kept.waiting = Waiting {
            job: Some(petctl_pods::queued(queue)),
            ..Waiting::default()
        };
        return;
    }
    let here = here(pool);
    let waits = |pod: &&Arc<Pod>| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        !petctl_pods::runs(pod)
            && !petctl_pods::has_ended(pod)
            && pod.metadata.deletion_timestamp.is_none()
            && !here.contains(name)
    };
    let waiting: Vec<&Arc<Pod>> = pods.iter().filter(waits).collect();
    let living = seen.iter().filter(|pod| !pod.ended && !pod.goes).count();
    let unmade = job.is_some_and(|job| !job.suspended && !job.goes && (job.size as usize) > living);
    if waiting.is_empty() && !unmade {
        kept.waiting = Waiting::default();
        kept.waits_since = None;
        return;
    }
    let since = *kept.waits_since.get_or_insert_with(Instant::now);
    let events_count = since.elapsed() >= EVENTS_AFTER;
    let about = |object: &str| match events_count {
        true => events.about(object),
        false => Vec::new(),
    };
    let mut known = std::mem::take(&mut kept.waiting.pods);
    kept.waiting.pods = waiting
        .iter()
        .filter_map(|pod| {
            let name = pod.metadata.name.clone()?;
            let reason = petctl_pods::of_pod(pod, &about(&name));
            let reason = reason.or_else(|| known.remove(&name))?;
            Some((name, reason))
        })
        .collect();
    kept.waiting.job = match unmade {
        true => petctl_pods::of_job(&about(&crate::names::of_job(&pool.name))),
        false => None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::fixtures::{self, worker};
    use serde_json::json;
    use std::collections::BTreeSet;

    const MANY: usize = 5_000;

    fn pool(workers: usize) -> Pool {
        let all = (0..workers).map(|index| worker(&name(index), true, false));
        fixtures::pool(5_000, all.collect())
    }

    /// Of one length, and different at the end only.
    fn name(index: usize) -> String {
        format!("petctl-us101-of-a-long-and-winding-name-{index:05}-abcde")
    }

    fn pods(count: usize) -> Vec<Arc<Pod>> {
        let pod = |index: usize| {
            let pod = json!({
                "metadata": {
                    "name": name(index),
                    "annotations": {"batch.kubernetes.io/job-completion-index": index.to_string()},
                },
                "status": {"phase": "Pending", "conditions": [{
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": "0/3 nodes are available: 3 Insufficient cpu.",
                }]},
            });
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        (0..count).map(pod).collect()
    }

    #[test]
    fn a_pass_over_thousands_of_pods_tells_of_those_whose_workers_are_missing() {
        use crate::keeper::plan::plan;
        use crate::keeper::report::Memory;
        use k8s_openapi::jiff::Timestamp;

        let (half, pods) = (pool(MANY / 2), pods(MANY));
        let none = BTreeSet::new();
        let mut seen: Vec<PodSeen> = pods.iter().map(|pod| PodSeen::of(pod, &none)).collect();
        for pod in &mut seen {
            pod.node_lost = true;
        }
        let made = crate::keeper::seen::Made::default();
        let job = JobSeen {
            size: u32::try_from(MANY).unwrap(),
            made: made.clone(),
            ..JobSeen::default()
        };
        let mut kept = Kept::default();
        let parts = (Some(&job), &pods[..], &seen[..]);
        look_why(&Events::default(), &half, parts, &mut kept);
        let now = Timestamp::from_second(0).unwrap();
        let report = Memory::default().report(now, &half, Some(&job), &seen, &kept.waiting);
        assert_eq!(
            report.waiting[0].message,
            "2500 of 5000 pods wait: no node takes it: 3 of 3 have too little cpu left"
        );
        assert_eq!(plan(&half, &made, Some(&job), &seen).len(), MANY / 2);
    }
}
