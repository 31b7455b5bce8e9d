//! What the coordinator is told of a job's pods. Pure.

use super::seen::{JobSeen, PodSeen, here};
use k8s_openapi::jiff::Timestamp;
use petctl_core::{Code, MAX_PLACE_REASONS, PlaceReport, Pool, Reason};
use std::collections::BTreeMap;

/// A pod that ended is spoken of for this long, in seconds, while workers are missing.
const END_SHOWN_S: i64 = 120;

/// What is remembered of a job's pods beyond their lives.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Why pods ended, and when that was seen first; the newest [`MAX_PLACE_REASONS`].
    ended: BTreeMap<String, (Timestamp, Reason)>,
    /// Since when no worker could be started, for reasons that don't pass by themselves.
    stuck_since: Option<Timestamp>,
    /// The Job that was there at the last look.
    job: Option<String>,
    /// One that somebody else has deleted.
    deleted: Option<String>,
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
    /// The Job that is there is being removed by petctl itself.
    pub(super) fn removes(&mut self) {
        self.job = None;
    }

    /// Notes what is there now. Whether somebody has just deleted the Job.
    pub(super) fn look(&mut self, now: Timestamp, job: Option<&JobSeen>, pods: &[PodSeen]) -> bool {
        let there = job.filter(|job| !job.goes).map(|job| job.uid.clone());
        let known = std::mem::replace(&mut self.job, there);
        let deleted = known.filter(|known| self.job.as_ref() != Some(known));
        let is_news = deleted.is_some();
        self.deleted = deleted.or(self.deleted.take());
        // What is taken away because nobody wants it any more has not ended by itself.
        let size = job.map_or(0, JobSeen::makes);
        let of_deleted = |pod: &PodSeen| self.deleted.as_ref() == Some(&pod.owner);
        for pod in pods
            .iter()
            .filter(|pod| pod.index < size || of_deleted(pod))
        {
            let with_its_job = of_deleted(pod) && pod.goes;
            let reason = match with_its_job {
                true => Some(deleted_with_its_job()),
                false => pod.end.clone(),
            };
            if let Some(reason) = &reason
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
        is_news
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
        let here = here(pool);
        let living: Vec<&PodSeen> = pods.iter().filter(|pod| !pod.ended && !pod.goes).collect();
        let missing = living
            .iter()
            .filter(|pod| !here.contains(pod.name.as_str()));
        let missing: Vec<&&PodSeen> = missing.collect();
        let mut by_code: BTreeMap<&str, (usize, &Reason)> = BTreeMap::new();
        for reason in missing.iter().filter_map(|pod| waiting.pods.get(&pod.name)) {
            by_code.entry(&reason.code).or_insert((0, reason)).0 += 1;
        }
        all.extend(drained(pods));
        if let Some(reason) = &waiting.job {
            all.push(reason.clone());
        }
        for (code, (count, reason)) in by_code {
            let mut message = format!("{count} of {size} pods wait: {}", reason.message);
            if code == Code::PodUnschedulable.as_str()
                && let Some((name, reason)) = self.last_of_gpu()
            {
                // As long as nothing takes its place.
                message.push_str(&format!("; {name} was drained: {}", reason.message));
            }
            all.push(Reason {
                code: code.to_owned(),
                message,
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
        if all.is_empty() && starting + unmade > 0 && size > 0 && !pool.suspended {
            let what = if starting == 0 { "made" } else { "started" };
            let mut message = format!("{} of {size} pods are being {what}", starting + unmade);
            if let Some((name, (_, reason))) = self.last_ended(now, |_| true) {
                // What they take the place of, where that is fresh.
                message.push_str(&format!("; {name} ended: {}", reason.message));
            }
            all.push(Reason::new(Code::PodStarting, message));
        }
        PlaceReport {
            waiting: all,
            ended: self
                .ended
                .iter()
                .map(|(name, (_, reason))| (name.clone(), reason.clone()))
                .collect(),
            at_most: None,
        }
    }

    /// The pod that ended last, of those that ended so, if that was not long ago.
    fn last_ended(
        &self,
        now: Timestamp,
        so: impl Fn(&Reason) -> bool,
    ) -> Option<(&String, &(Timestamp, Reason))> {
        let ended = self.ended.iter().filter(|(_, (at, reason))| {
            so(reason) && (now.as_second() - at.as_second()) < END_SHOWN_S
        });
        ended.max_by_key(|(_, (at, _))| *at)
    }

    /// The pod that was drained last because of its GPUs.
    fn last_of_gpu(&self) -> Option<(&String, &Reason)> {
        let ended = self.ended.iter();
        let ended = ended.filter(|(_, (_, reason))| reason.code == Code::GpuUnhealthy.as_str());
        let last = ended.max_by_key(|(_, (at, _))| *at);
        last.map(|(name, (_, reason))| (name, reason))
    }

    fn last_crash(&self, now: Timestamp) -> Option<Reason> {
        let codes = [Code::PodCrashed, Code::PodOutOfMemory].map(Code::as_str);
        let crashed = self.last_ended(now, |reason| codes.contains(&reason.code.as_str()));
        let (name, (_, reason)) = crashed?;
        Some(Reason {
            code: reason.code.clone(),
            message: format!(
                "pod {name} ended, and no worker is here: {}",
                reason.message
            ),
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
        let passes = [
            Code::PodStarting,
            Code::PodGated,
            Code::GpuUnhealthy,
            Code::PodsShared,
        ];
        let passes = passes.map(Code::as_str);
        let mut reasons = report.waiting.iter();
        let stuck = reasons.find(|reason| !passes.contains(&reason.code.as_str()));
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

/// What is said of pods on their way out because of their GPUs.
fn drained(pods: &[PodSeen]) -> Option<Reason> {
    let mut leaving = pods.iter().filter(|pod| pod.unhealthy && !pod.ended);
    let first = leaving.next()?;
    let reason = first.end.as_ref()?;
    let more = match leaving.count() {
        0 => String::new(),
        n => format!("; and {n} more for the like"),
    };
    let message = format!("worker {} is drained: {}{more}", first.name, reason.message);
    Some(Reason::new(Code::GpuUnhealthy, message))
}

fn deleted_with_its_job() -> Reason {
    Reason::new(
        Code::PodDeleted,
        "somebody deleted the Job to which it belonged; petctl makes it again (to stop the job: petctl suspend)"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests;
