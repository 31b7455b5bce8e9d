//! A job as it stands: the durable state, with the volatile part over it.

use crate::training::Doing;
use crate::view::group::is_spare;
use crate::view::stage::{goes_without, notices};
use crate::view::{FailureCounts, JobState, JobSummary, JobView, MemberState, MemberView};
use crate::volatile::worker::{Standing, Worker};
use crate::{Code, Core, EndState, FailureKind, Job, JobId, Millis};

impl Core {
    /// Every job, in the order of submission.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobSummary> {
        self.state
            .jobs
            .values()
            .map(|job| self.summary(self.now, job))
            .collect()
    }

    /// Everything about one job; `None` if there is none of that number.
    #[must_use]
    pub fn job_view(&self, now: Millis, id: JobId) -> Option<JobView> {
        let job = self.state.jobs.get(&id)?;
        let volatile = self.open_jobs.get(&id);
        let rate_per_s = volatile.map_or(0.0, |l| l.rate.per_s(now));
        let pending: u64 = job.stages.iter().map(crate::Stage::pending).sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate; a million shards are far below 2^52"
        )]
        let left_ms = (rate_per_s > 0.0 && pending > 0)
            .then(|| (pending as f64 / rate_per_s * 1_000.0) as u64);
        Some(JobView {
            summary: self.summary(now, job),
            epoch: job.epoch,
            incarnation: self.state.incarnation,
            lineage: self.state.lineage,
            min: job.spec.workers.min,
            max: job.spec.workers.max,
            wanted: job.spec.workers.wanted,
            waiting: self.waiting(now, job),
            notices: notices(job).map(|(_, notice)| notice).collect(),
            members: self.member_views(now, job),
            stages: self.stage_views(job, volatile),
            rate_per_s,
            left_ms,
            first_failures: self.first_failures(job),
            output_root: job.spec.storage.output.clone(),
            groups: self.group_views(now, job),
        })
    }

    fn summary(&self, now: Millis, job: &Job) -> JobSummary {
        let sum =
            |of: fn(&crate::Counts) -> u64| job.stages.iter().map(|s| of(&s.counts)).sum::<u64>();
        JobSummary {
            job: job.id,
            name: job.spec.name.clone(),
            state: self.job_state(job),
            submitted_at: job.submitted_at,
            ended_at: job.end.map(|(_, at)| at),
            workers: u32::try_from(job.members.len()).unwrap_or(u32::MAX),
            shards: job.stages.iter().map(|s| s.shards.len() as u64).sum(),
            done: sum(|c| c.done + c.skipped),
            failed: sum(|c| c.failed),
            verdict: verdict_line(job, &self.training_lines(now, job)),
        }
    }

    pub(crate) fn job_state(&self, job: &Job) -> JobState {
        match job.end {
            Some((EndState::Succeeded, _)) => return JobState::Succeeded,
            Some((EndState::Failed, _)) => return JobState::Failed,
            Some((EndState::Cancelled, _)) => return JobState::Cancelled,
            None => {}
        }
        if job.cancelled.is_some() {
            JobState::Cancelling
        } else if self.offline || self.volatile.draining.is_some() {
            JobState::Interrupted
        } else if job.suspended.is_some() {
            JobState::Suspended
        } else if self.volatile.leases.of_job(job.id).next().is_some() || self.is_training(job) {
            JobState::Running
        } else {
            JobState::Waiting
        }
    }

    fn is_training(&self, job: &Job) -> bool {
        self.training(job.id)
            .is_some_and(|t| t.doing != Doing::Gathering)
    }

    fn member_views(&self, now: Millis, job: &Job) -> Vec<MemberView> {
        let mut views: Vec<MemberView> = job
            .members
            .iter()
            .enumerate()
            .filter_map(|(rank, m)| {
                let rank = u32::try_from(rank).ok();
                self.volatile
                    .workers
                    .get(&m.member.worker)
                    .map(|w| member_view(now, w, rank))
                    .or_else(|| (!self.offline).then(|| absent(&m.member, rank)))
            })
            .collect();
        let drained = self
            .volatile
            .workers
            .values()
            .filter(|w| matches!(w.standing, Standing::Draining(id, _) if id == job.id));
        views.extend(drained.map(|w| member_view(now, w, None)));
        if job.end.is_none() {
            let trains = self.training(job.id).is_some();
            let spare = self
                .volatile
                .workers
                .values()
                .filter(|w| is_spare(w, job, trains));
            views.extend(spare.map(|w| member_view(now, w, None)));
        }
        views
    }
}

fn member_view(now: Millis, worker: &Worker, rank: Option<u32>) -> MemberView {
    let state = match worker.standing {
        Standing::Member(..) | Standing::Draining(..) | Standing::LocalStages(_)
            if worker.conn.is_none() =>
        {
            MemberState::Silent
        }
        Standing::Member(..) | Standing::LocalStages(_) => MemberState::Active,
        Standing::Draining(..) => MemberState::Draining,
        Standing::Free => MemberState::Spare,
    };
    MemberView {
        worker: worker.id(),
        name: worker.hello.name.clone(),
        host: worker.hello.host.clone(),
        pid: worker.hello.pid,
        rank,
        state,
        slots: worker.hello.slots,
        leases: u32::try_from(worker.leases.len()).unwrap_or(u32::MAX),
        done: worker.done,
        last_heard_ms_ago: now.since(worker.last_heard),
    }
}

/// A member of before a restart that has not come back.
fn absent(member: &crate::MemberRecord, rank: Option<u32>) -> MemberView {
    MemberView {
        worker: member.worker,
        name: member.name.clone(),
        host: member.host.clone(),
        pid: 0,
        rank,
        state: MemberState::Silent,
        slots: 0,
        leases: 0,
        done: 0,
        last_heard_ms_ago: 0,
    }
}

/// One line that says how a job stands: everything that is not well is in it.
fn verdict_line(job: &Job, training: &[String]) -> String {
    let of_shards =
        |(stage, _): &(usize, &crate::Stage)| job.spec.stages[*stage].kind.training().is_none();
    let stages = || {
        job.stages
            .iter()
            .enumerate()
            .filter(of_shards)
            .map(|(_, s)| s)
    };
    let total: u64 = stages().map(|s| s.shards.len() as u64).sum();
    let sum = |of: fn(&crate::Counts) -> u64| stages().map(|s| of(&s.counts)).sum::<u64>();
    let done = sum(|c| c.done + c.skipped);
    let mut line = if total > 0 {
        format!("{done} of {total} shards done")
    } else if training.is_empty() {
        return "nothing trained yet".to_owned();
    } else {
        String::new()
    };
    for (count, what) in [
        (sum(|c| c.failed), "failed for good"),
        (sum(|c| c.verdict_fail), "did not pass their checks"),
        (sum(|c| c.verdict_skipped + c.skipped), "skipped"),
        (sum(|c| c.cancelled), "not run"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    let without: Vec<&str> = (0..job.stages.len())
        .filter(|stage| goes_without(job, *stage))
        .map(|stage| job.spec.stages[stage].name.as_str())
        .collect();
    if !without.is_empty() {
        let stages = without.join(", ");
        line.push_str(&format!(
            "; NOT COMPLETE: what needs stage {stages} goes on without the missing shards (allow_failed)"
        ));
    }
    for (stage, notice) in notices(job) {
        let name = &job.spec.stages[stage].name;
        line.push_str(match notice.code.as_str() {
            code if code == Code::TooFewDone.as_str() => "; TOO FEW DONE in stage ",
            _ => "; NOTHING DONE in stage ",
        });
        line.push_str(name);
    }
    for training in training {
        if !line.is_empty() {
            line.push_str("; ");
        }
        line.push_str(training);
    }
    line
}

impl FailureCounts {
    /// "2 failed, 1 worker_lost"; empty if none.
    #[must_use]
    pub fn describe(&self) -> String {
        let parts: Vec<String> = FailureKind::ALL
            .iter()
            .filter(|k| self.of(**k) > 0)
            .map(|k| format!("{} {}", self.of(*k), k.as_str()))
            .collect();
        parts.join(", ")
    }
}
