//! What the coordinator is told of a job's pods. Pure.

use super::seen::{JobSeen, PodSeen};
use k8s_openapi::jiff::Timestamp;
use petctl_core::{Code, MAX_PLACE_REASONS, PlaceReport, Pool, Reason};
use std::collections::{BTreeMap, BTreeSet};

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
        let size = job
            .filter(|job| !job.suspended && !job.goes)
            .map_or(0, |job| job.size);
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
        let here: BTreeSet<&str> = pool.workers.iter().map(|w| w.name.as_str()).collect();
        let living: Vec<&PodSeen> = pods.iter().filter(|pod| !pod.ended && !pod.goes).collect();
        let missing = living
            .iter()
            .filter(|pod| !here.contains(pod.name.as_str()));
        let missing: Vec<&&PodSeen> = missing.collect();
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

fn deleted_with_its_job() -> Reason {
    Reason::new(
        Code::PodDeleted,
        "somebody deleted the Job to which it belonged; petctl makes it again (to stop the job: petctl suspend)"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_core::{JobId, JobState, PoolWorker, Standings};

    fn pool(workers: &[&str]) -> Pool {
        Pool {
            job: JobId(1),
            name: "us101".to_owned(),
            wanted: 2,
            useful: 2,
            slots: 1,
            gpus: 0,
            grace_ms: 0,
            suspended: false,
            cancelled: false,
            standing: Standings {
                state: JobState::Waiting,
                stage: None,
                reason: None,
            },
            workers: workers
                .iter()
                .map(|name| PoolWorker {
                    name: (*name).to_owned(),
                    member: true,
                    drains: false,
                })
                .collect(),
        }
    }

    fn pod(name: &str) -> PodSeen {
        PodSeen {
            name: name.to_owned(),
            index: 0,
            runs: false,
            goes: false,
            ended: false,
            node_lost: false,
            disrupted: false,
            joined: false,
            end: None,
            owner: "u1".to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn job() -> JobSeen {
        JobSeen {
            size: 2,
            uid: "u1".to_owned(),
            ..JobSeen::default()
        }
    }

    fn waiting(report: &PlaceReport) -> Vec<String> {
        let reasons = report.waiting.iter();
        reasons
            .map(|reason| format!("{}: {}", reason.code, reason.message))
            .collect()
    }

    #[test]
    fn pods_that_wait_for_the_same_are_told_together() {
        let image = Reason::new(Code::PodImage, "it can't be pulled".to_owned());
        let seen = Waiting {
            pods: ["a", "b"]
                .map(|name| (name.to_owned(), image.clone()))
                .into(),
            job: None,
        };
        let pods = [pod("a"), pod("b")];
        let memory = Memory::default();
        let report = memory.report(at(0), &pool(&[]), Some(&job()), &pods, &seen);
        assert_eq!(
            waiting(&report),
            ["POD_IMAGE: 2 of 2 pods wait: it can't be pulled"]
        );
        // One whose worker is here waits for nothing.
        let report = memory.report(at(0), &pool(&["a"]), Some(&job()), &pods, &seen);
        assert_eq!(
            waiting(&report),
            ["POD_IMAGE: 1 of 2 pods wait: it can't be pulled"]
        );
    }

    #[test]
    fn pods_that_only_start_are_told_as_long_as_nothing_else_is() {
        let memory = Memory::default();
        let none = Waiting::default();
        let told = |pods: &[PodSeen], workers: &[&str]| {
            waiting(&memory.report(at(0), &pool(workers), Some(&job()), pods, &none))
        };
        assert_eq!(told(&[], &[]), ["POD_STARTING: 2 of 2 pods are being made"]);
        assert_eq!(
            told(&[pod("a")], &["a"]),
            ["POD_STARTING: 1 of 2 pods are being made"]
        );
        assert_eq!(
            told(&[pod("a"), pod("b")], &["a"]),
            ["POD_STARTING: 1 of 2 pods are being started"]
        );
        assert_eq!(told(&[pod("a"), pod("b")], &["a", "b"]), [""; 0]);
        let mut suspended = pool(&[]);
        suspended.suspended = true;
        let report = memory.report(at(0), &suspended, Some(&job()), &[], &none);
        assert_eq!(waiting(&report), [""; 0]);
    }

    #[test]
    fn an_end_is_remembered_and_its_deletion_does_not_hide_it() {
        let mut memory = Memory::default();
        let mut killed = pod("a");
        killed.end = Some(Reason::new(
            Code::PodOutOfMemory,
            "too much memory".to_owned(),
        ));
        memory.look(at(1), Some(&job()), &[killed.clone()]);
        killed.end = Some(Reason::new(Code::PodDeleted, "it was deleted".to_owned()));
        memory.look(at(2), Some(&job()), &[killed]);
        memory.look(at(3), Some(&job()), &[]);
        let report = memory.report(at(3), &pool(&["b"]), Some(&job()), &[], &Waiting::default());
        assert_eq!(report.ended["a"].code, "POD_OUT_OF_MEMORY");
        // Where no worker is there it is the reason for that, for a while.
        let alone = |second| {
            let report = memory.report(
                at(second),
                &pool(&[]),
                Some(&job()),
                &[],
                &Waiting::default(),
            );
            waiting(&report)
        };
        assert_eq!(
            alone(3),
            ["POD_OUT_OF_MEMORY: pod a ended, and no worker is here: too much memory"]
        );
        assert_eq!(alone(1_000), ["POD_STARTING: 2 of 2 pods are being made"]);
    }

    #[test]
    fn workers_of_a_job_that_somebody_deleted_are_told_why_and_those_of_one_that_petctl_removed_are_not()
     {
        let going = |name: &str| {
            let end = Some(Reason::new(Code::PodDeleted, "its pod".to_owned()));
            PodSeen {
                goes: true,
                end,
                ..pod(name)
            }
        };
        let again = JobSeen {
            uid: "u2".to_owned(),
            ..job()
        };
        let mut memory = Memory::default();
        assert!(!memory.look(at(0), Some(&job()), &[pod("a"), pod("b")]));
        assert!(
            memory.look(at(1), None, &[going("a"), pod("b")]),
            "it is news"
        );
        // The next one is there before the pods of the last have gone.
        assert!(!memory.look(at(2), Some(&again), &[going("a"), going("b")]));
        let report = memory.report(at(2), &pool(&[]), Some(&again), &[], &Waiting::default());
        for name in ["a", "b"] {
            let told = &report.ended[name];
            assert_eq!(told.code, "POD_DELETED");
            assert!(told.message.contains("deleted the Job"), "{told:?}");
        }
        let mut memory = Memory::default();
        memory.look(at(0), Some(&job()), &[pod("a")]);
        memory.removes();
        assert!(!memory.look(at(1), None, &[going("a")]));
        let report = memory.report(at(1), &pool(&[]), None, &[], &Waiting::default());
        assert!(report.ended.is_empty(), "{report:?}");
    }

    #[test]
    fn it_gives_up_only_where_no_worker_came_for_all_of_the_time() {
        let mut memory = Memory::default();
        let report = |code: Code, text: &str| PlaceReport {
            waiting: vec![Reason::new(code, text.to_owned())],
            ended: BTreeMap::new(),
        };
        let stuck = report(Code::PodUnschedulable, "no node takes it");
        assert_eq!(memory.gives_up(at(0), &pool(&[]), &stuck, 10_000), None);
        assert_eq!(memory.gives_up(at(9), &pool(&[]), &stuck, 10_000), None);
        // A worker that was here for a moment: it begins anew.
        assert_eq!(memory.gives_up(at(10), &pool(&["a"]), &stuck, 10_000), None);
        assert_eq!(memory.gives_up(at(11), &pool(&[]), &stuck, 10_000), None);
        assert_eq!(memory.gives_up(at(20), &pool(&[]), &stuck, 10_000), None);
        let why = memory.gives_up(at(21), &pool(&[]), &stuck, 10_000);
        assert_eq!(
            why.as_deref(),
            Some("no worker could be started for 10 s: no node takes it")
        );
        // Nodes that come take longer, and pods that only start are not stuck.
        let grows = report(
            Code::PodUnschedulable,
            "x; the autoscaler adds nodes (pool 1->2)",
        );
        assert_eq!(memory.gives_up(at(30), &pool(&[]), &grows, 10_000), None);
        assert_eq!(memory.gives_up(at(59), &pool(&[]), &grows, 10_000), None);
        assert!(
            memory
                .gives_up(at(60), &pool(&[]), &grows, 10_000)
                .is_some()
        );
        let starts = report(Code::PodStarting, "they start");
        assert_eq!(
            memory.gives_up(at(1_000), &pool(&[]), &starts, 10_000),
            None
        );
        assert_eq!(
            memory.gives_up(at(9_000), &pool(&[]), &starts, 10_000),
            None
        );
    }
}
