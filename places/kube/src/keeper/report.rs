//! What the coordinator is told of a job's pods. Pure.

use super::seen::{JobSeen, PodSeen};
use k8s_openapi::jiff::Timestamp;
use petctl_core::{Code, MAX_PLACE_REASONS, PlaceReport, Pool, Reason};
use std::collections::BTreeMap;

/// A pod that crashed is spoken of for this long, in seconds, while no worker is there.
const CRASH_SHOWN_S: i64 = 120;

/// What is remembered of a job's pods beyond their lives.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Why pods ended, and when that was seen first; the newest [`MAX_PLACE_REASONS`].
    ended: BTreeMap<String, (Timestamp, Reason)>,
    /// Since when no worker could be started, for reasons that don't pass by themselves.
    stuck_since: Option<Timestamp>,
}

/// What keeps pods from running: by pod, or of all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    /// Why pods do not run, by name.
    pub(super) pods: BTreeMap<String, Reason>,
    /// Why there are fewer pods than there should be.
    pub(super) job: Option<Reason>,
}

impl Memory {
    /// Notes what is there now.
    pub(super) fn look(&mut self, now: Timestamp, pods: &[PodSeen]) {
        for pod in pods {
            if let Some(reason) = &pod.end
                && !(reason.code == Code::PodDeleted.as_str() && self.ended.contains_key(&pod.name))
            {
                // A deletion follows most other ends, and says less.
                let known = self.ended.get(&pod.name).map(|(at, _)| *at);
                let at = known.unwrap_or(now);
                self.ended.insert(pod.name.clone(), (at, reason.clone()));
            }
        }
        while self.ended.len() > MAX_PLACE_REASONS {
            let oldest = self.ended.iter().min_by_key(|(_, (at, _))| *at);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                break;
            };
            self.ended.remove(&oldest);
        }
    }

    /// What the coordinator is told.
    pub(super) fn report(
        &self,
        now: Timestamp,
        pool: &Pool,
        job: Option<&JobSeen>,
        pods: &[PodSeen],
        waiting: &Waiting,
    ) -> PlaceReport {
        let mut all = Vec::new();
        let size = job.map_or(0, |job| job.size);
        let here = |pod: &PodSeen| pool.workers.iter().any(|worker| worker.name == pod.name);
        let living: Vec<&PodSeen> = pods.iter().filter(|pod| !pod.ended && !pod.goes).collect();
        let missing: Vec<&&PodSeen> = living.iter().filter(|pod| !here(pod)).collect();
        let mut by_code: BTreeMap<&str, (usize, &Reason)> = BTreeMap::new();
        for reason in missing.iter().filter_map(|pod| waiting.pods.get(&pod.name)) {
            by_code.entry(&reason.code).or_insert((0, reason)).0 += 1;
        }
        if let Some(reason) = &waiting.job {
            all.push(reason.clone());
        }
        for (code, (count, reason)) in by_code {
            all.push(Reason {
                code: code.to_owned(),
                message: format!("{count} of {size} pods wait: {}", reason.message),
            });
        }
        if pool.workers.is_empty()
            && all.is_empty()
            && let Some(crash) = self.last_crash(now)
        {
            all.push(crash);
        }
        let starting = missing
            .iter()
            .filter(|pod| !waiting.pods.contains_key(&pod.name));
        let starting = starting.count();
        let unmade = (size as usize).saturating_sub(living.len());
        if all.is_empty() && starting + unmade > 0 && size > 0 {
            let what = if starting == 0 { "made" } else { "started" };
            let message = format!("{} of {size} pods are being {what}", starting + unmade);
            all.push(Reason::new(Code::PodStarting, message));
        }
        PlaceReport {
            waiting: all,
            ended: self
                .ended
                .iter()
                .map(|(name, (_, reason))| (name.clone(), reason.clone()))
                .collect(),
        }
    }

    fn last_crash(&self, now: Timestamp) -> Option<Reason> {
        let crashed = self.ended.iter().filter(|(_, (at, reason))| {
            let codes = [Code::PodCrashed, Code::PodOutOfMemory].map(Code::as_str);
            codes.contains(&reason.code.as_str())
                && (now.as_second() - at.as_second()) < CRASH_SHOWN_S
        });
        let (name, (_, reason)) = crashed.max_by_key(|(_, (at, _))| *at)?;
        Some(Reason {
            code: reason.code.clone(),
            message: format!("pod {name} ended before it had joined: {}", reason.message),
        })
    }

    /// Whether a job has gone without any worker for so long that waiting makes no sense any more; and why.
    pub(super) fn gives_up(
        &mut self,
        now: Timestamp,
        pool: &Pool,
        report: &PlaceReport,
        patience_ms: u64,
    ) -> Option<String> {
        let stuck = report.waiting.iter().find(|reason| {
            reason.code != Code::PodStarting.as_str() && reason.code != Code::PodGated.as_str()
        });
        let Some(reason) = stuck.filter(|_| pool.workers.is_empty() && !pool.suspended) else {
            self.stuck_since = None;
            return None;
        };
        let since = *self.stuck_since.get_or_insert(now);
        // New nodes take minutes, drivers on them more.
        let patience_ms = if reason.message.contains("the autoscaler adds nodes") {
            patience_ms.saturating_mul(3)
        } else {
            patience_ms
        };
        let waited_ms = now.as_millisecond().saturating_sub(since.as_millisecond());
        let over = u64::try_from(waited_ms).unwrap_or(0) >= patience_ms;
        over.then(|| {
            self.stuck_since = None;
            format!(
                "no worker could be started for {} s: {}",
                waited_ms / 1_000,
                reason.message
            )
        })
    }
}
