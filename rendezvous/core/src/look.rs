//! How a job looks: the durable state, with the live part over it.

use crate::describe::count;
use crate::groups::is_spare;
use crate::job::{FIRST_FAILURES, Phase};
use crate::live::LiveJob;
use crate::schedule::{Needs, needs_of};
use crate::training::Doing;
use crate::view::{
    FailureCounts, JobState, JobSummary, JobView, MemberState, MemberView, Reason, ShardFilter,
    ShardState, ShardView, StageView,
};
use crate::worker::{Demand, Standing, Worker};
use crate::{Code, Core, EndState, FailureKind, Job, JobId, LeaseId, Millis, ShardId, Verdict};
use petctl_spec::StageKind;

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
        let live = self.live.jobs.get(&id);
        let rate_per_s = live.map_or(0.0, |l| l.rate.per_s(now));
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
            min: job.spec.workers.min,
            max: job.spec.workers.max,
            wanted: job.spec.workers.wanted,
            waiting: self.waiting(now, job),
            members: self.member_views(now, job),
            stages: self.stage_views(job, live),
            rate_per_s,
            left_ms,
            first_failures: self.first_failures(job),
            output_root: job.spec.storage.output.clone(),
            groups: self.group_views(now, job),
        })
    }

    /// Shards of a job in order, from the `from`th on, at most `limit` of those that fit the filter; and where to go
    /// on, if there are more to look at.
    #[must_use]
    pub fn shards(
        &self,
        id: JobId,
        filter: &ShardFilter,
        from: usize,
        limit: usize,
    ) -> (Vec<ShardView>, Option<usize>) {
        let Some(job) = self.state.jobs.get(&id) else {
            return (Vec::new(), None);
        };
        let mut rows = Vec::new();
        let mut position = 0;
        let mut looked_at = 0;
        for (stage, state) in job.stages.iter().enumerate() {
            let count = state.shards.len();
            if position + count <= from
                || !(filter.stage.is_empty() || filter.stage == job.spec.stages[stage].name)
            {
                position += count;
                continue;
            }
            for index in from.saturating_sub(position)..count {
                looked_at += 1;
                if rows.len() == limit || looked_at > limit.saturating_mul(16).max(1_024) {
                    return (rows, Some(position + index));
                }
                let shard = &state.shards[index];
                let failed = shard.phase == Phase::Failed || shard.verdict == Verdict::Fail;
                if filter.failed_only && !failed {
                    continue;
                }
                if !filter.key.is_empty() && !job.key(stage, index).starts_with(&filter.key) {
                    continue;
                }
                rows.push(self.shard_view(job, stage, index));
            }
            position += count;
        }
        (rows, None)
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
            done: sum(|c| c.done),
            failed: sum(|c| c.failed),
            verdict: verdict_line(job, &self.training_lines(now, job)),
        }
    }

    fn job_state(&self, job: &Job) -> JobState {
        match job.end {
            Some((EndState::Succeeded, _)) => return JobState::Succeeded,
            Some((EndState::Failed, _)) => return JobState::Failed,
            Some((EndState::Cancelled, _)) => return JobState::Cancelled,
            None => {}
        }
        if job.cancelled.is_some() {
            JobState::Cancelling
        } else if self.offline || self.live.draining.is_some() {
            JobState::Interrupted
        } else if job.suspended.is_some() {
            JobState::Suspended
        } else if self.live.leases.of_job(job.id).next().is_some() || self.is_training(job) {
            JobState::Running
        } else {
            JobState::Waiting
        }
    }

    /// Why nothing, or less than wanted, runs: most important first.
    pub(crate) fn waiting(&self, now: Millis, job: &Job) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let mut say = |code: Code, message: String| {
            reasons.push(Reason {
                code: code.to_string(),
                message,
            })
        };
        let Some(live) = self.live.jobs.get(&job.id).filter(|_| !self.offline) else {
            return reasons;
        };
        if self.live.draining.is_some() {
            say(
                Code::Draining,
                "the coordinator drains: what runs ends, nothing new starts".to_owned(),
            );
            return reasons;
        }
        if let Some(until) = self.live.recovery_ends
            && !live.expected.is_empty()
        {
            let (missing, s) = (live.expected.len(), until.since(now).div_ceil(1_000));
            say(
                Code::Recovering,
                format!(
                    "{} of before the restart may come back for another {s} s",
                    count(missing, "worker")
                ),
            );
            return reasons;
        }
        if let (Some(why), None) = (&job.suspended, &job.cancelled) {
            let why = if why.is_empty() {
                String::new()
            } else {
                format!(" ({why})")
            };
            let name = &job.spec.name;
            say(
                Code::Suspended,
                format!("it was suspended{why}; `petctl resume {name}` lets it go on"),
            );
        }
        if live.training.is_some() {
            reasons.extend(self.group_waiting(now, job));
            return reasons;
        }
        let sizes = &job.spec.workers;
        let members = job.members.len();
        if !job.formed && job.cancelled.is_none() {
            say(
                Code::BelowMin,
                format!("{members} of at least {} workers are here", sizes.min),
            );
        }
        if live.ready > 0
            && let Some(queue) = live
                .filled
                .iter()
                .map(|q| &live.queues[*q])
                .find(|q| !self.anyone_fits(job.id, q.demand))
        {
            let shards = count(queue.shards.len(), "shard");
            let asks = asked(queue.demand);
            let message = format!("no worker is large enough for {shards}; each asks for {asks}");
            say(Code::NoWorkerFits, message);
        }
        if live.ready == 0
            && self.live.leases.of_job(job.id).next().is_none()
            && !live.backoff.is_empty()
        {
            let next = live
                .backoff
                .values()
                .min()
                .map_or(0, |at| at.since(now).div_ceil(1_000));
            say(
                Code::BackingOff,
                format!(
                    "{} to be tried again, the next in {next} s",
                    count(live.backoff.len(), "shard")
                ),
            );
        }
        reasons.extend(self.failed_preflights(job));
        reasons
    }

    fn is_training(&self, job: &Job) -> bool {
        self.live
            .training(job.id)
            .is_some_and(|t| t.doing != Doing::Gathering)
    }

    fn anyone_fits(&self, job: JobId, demand: Demand) -> bool {
        let mut members = self
            .live
            .workers
            .values()
            .filter(|w| w.job() == Some(job))
            .peekable();
        members.peek().is_none() || members.any(|w| w.could_fit(demand))
    }

    /// The stages' counts. Leases beyond a worker's slots wait there for their turn, so they are ready, not running;
    /// the earlier stages are taken to run first.
    fn stage_views(&self, job: &Job, live: Option<&LiveJob>) -> Vec<StageView> {
        let of_job = self
            .live
            .workers
            .values()
            .filter(|w| w.job() == Some(job.id));
        let mut at_work: u64 = of_job
            .map(|w| w.leases.len().min(w.hello.slots as usize) as u64)
            .sum();
        let mut views = Vec::with_capacity(job.stages.len());
        for stage in 0..job.stages.len() {
            let leased = live.map_or(0, |l| l.running_by_stage[stage]);
            let running = leased.min(at_work);
            at_work -= running;
            views.push(stage_view(job, live, stage, running, leased - running));
        }
        views
    }

    fn member_views(&self, now: Millis, job: &Job) -> Vec<MemberView> {
        let mut views: Vec<MemberView> = job
            .members
            .iter()
            .enumerate()
            .filter_map(|(rank, m)| {
                let rank = u32::try_from(rank).ok();
                self.live
                    .workers
                    .get(&m.member.worker)
                    .map(|w| member_view(now, w, rank))
                    .or_else(|| (!self.offline).then(|| absent(&m.member, rank)))
            })
            .collect();
        let drained = self
            .live
            .workers
            .values()
            .filter(|w| matches!(w.standing, Standing::Draining(id, _) if id == job.id));
        views.extend(drained.map(|w| member_view(now, w, None)));
        if job.end.is_none() {
            let trains = self.live.training(job.id).is_some();
            let spare = self
                .live
                .workers
                .values()
                .filter(|w| is_spare(w, job, trains));
            views.extend(spare.map(|w| member_view(now, w, None)));
        }
        views
    }

    fn first_failures(&self, job: &Job) -> Vec<ShardView> {
        let failures = job.stages.iter().enumerate().flat_map(|(stage, state)| {
            state
                .first_failures
                .iter()
                .map(move |index| (stage, *index as usize))
        });
        failures
            .take(FIRST_FAILURES)
            .map(|(stage, index)| self.shard_view(job, stage, index))
            .collect()
    }

    pub(crate) fn shard_view(&self, job: &Job, stage: usize, index: usize) -> ShardView {
        let state = &job.stages[stage].shards[index];
        let shard = ShardId {
            stage: u32::try_from(stage).unwrap_or(u32::MAX),
            index: u32::try_from(index).unwrap_or(u32::MAX),
        };
        let running = self.live.leases.of_shard(job.id, shard);
        let detail = state.detail.as_deref();
        let failure = detail
            .and_then(|d| d.last_failure.as_ref())
            .filter(|_| state.phase != Phase::Done);
        let worker = running
            .and_then(|(_, l)| self.live.workers.get(&l.worker))
            .map(|w| w.hello.name.clone())
            .or_else(|| {
                job.worker_names
                    .get(state.worker as usize)
                    .filter(|_| state.lease != LeaseId(0) || state.ended_attempts() > 0)
                    .cloned()
            });
        let done = state.phase == Phase::Done;
        ShardView {
            shard,
            stage_name: job.spec.stages[stage].name.clone(),
            key: job.key(stage, index),
            state: self.shard_state(job, shard, state.phase),
            attempts: running.map_or(state.ended_attempts(), |(_, l)| l.attempt),
            duration_ms: u64::from(state.duration_ms),
            verdict: state.verdict,
            reasons: detail
                .filter(|_| done)
                .map(|d| d.reasons.clone())
                .unwrap_or_default(),
            numbers: detail
                .filter(|_| done)
                .map(|d| d.numbers.clone())
                .unwrap_or_default(),
            worker: worker.unwrap_or_default(),
            lease: running.map_or(state.lease, |(id, _)| id),
            code: failure.map(|f| f.code.clone()).unwrap_or_default(),
            message: failure.map(|f| f.message.clone()).unwrap_or_default(),
            log_tail: failure.map(|f| f.log_tail.clone()).unwrap_or_default(),
            exit_code: failure.and_then(|f| f.exit_code),
            signal: failure.map_or(0, |f| f.signal),
            files: state.files,
            bytes: state.bytes,
            failures: state.failures(),
            reused: false,
            detail: None,
        }
    }

    fn shard_state(&self, job: &Job, shard: ShardId, phase: Phase) -> ShardState {
        match phase {
            Phase::Done => return ShardState::Done,
            Phase::Failed => return ShardState::Failed,
            Phase::Cancelled => return ShardState::Cancelled,
            Phase::Pending => {}
        }
        let backing_off = self
            .live
            .jobs
            .get(&job.id)
            .is_some_and(|l| l.backoff.contains_key(&shard));
        if self.live.leases.of_shard(job.id, shard).is_some() || self.trains_now(job, shard) {
            ShardState::Running
        } else if backing_off {
            ShardState::Backoff
        } else if needs_of(job, shard) == Needs::Met {
            ShardState::Ready
        } else {
            ShardState::Blocked
        }
    }
}

/// "2.5 CPUs and 4096 MiB of memory".
fn asked(demand: Demand) -> String {
    let (whole, part) = (demand.cpu_milli / 1_000, demand.cpu_milli % 1_000 / 100);
    let cpus = (demand.cpu_milli > 0).then(|| format!("{whole}.{part} CPUs"));
    let memory = (demand.memory_mib > 0).then(|| format!("{} MiB of memory", demand.memory_mib));
    [cpus, memory]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" and ")
}

fn member_view(now: Millis, worker: &Worker, rank: Option<u32>) -> MemberView {
    let state = match worker.standing {
        Standing::Member(..) | Standing::Draining(..) if worker.conn.is_none() => {
            MemberState::Silent
        }
        Standing::Member(..) => MemberState::Active,
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

fn stage_view(
    job: &Job,
    live: Option<&LiveJob>,
    stage: usize,
    running: u64,
    queued: u64,
) -> StageView {
    let (state, spec) = (&job.stages[stage], &job.spec.stages[stage]);
    let counts = state.counts;
    let stage_id = u32::try_from(stage).unwrap_or(u32::MAX);
    let (first, last) = (
        ShardId {
            stage: stage_id,
            index: 0,
        },
        ShardId {
            stage: stage_id,
            index: u32::MAX,
        },
    );
    let backoff = live.map_or(0, |l| l.backoff.range(first..=last).count() as u64);
    let trains = live
        .and_then(|l| l.training.as_ref())
        .filter(|t| t.stage == stage_id);
    let gathers = trains.is_some_and(|t| t.doing == Doing::Gathering);
    let running = running + u64::from(trains.is_some() && !gathers);
    let waits = live.is_some_and(|l| l.trainings.contains(&stage_id)) || gathers;
    let ready = live.map_or(0, |l| l.ready_by_stage[stage]) + queued + u64::from(waits);
    #[expect(clippy::cast_precision_loss, reason = "sums of ms stay below 2^52")]
    let mean_s = if counts.done == 0 {
        0.0
    } else {
        counts.duration_ms as f64 / 1_000.0 / counts.done as f64
    };
    StageView {
        name: spec.name.clone(),
        kind: match spec.kind {
            StageKind::Shards(_) => "shards",
            StageKind::Once => "once",
            StageKind::Train(_) => "train",
        },
        shards: state.shards.len() as u64,
        done: counts.done,
        running,
        failed: counts.failed,
        verdict_fail: counts.verdict_fail,
        verdict_skipped: counts.verdict_skipped,
        ready,
        blocked: state.pending().saturating_sub(running + backoff + ready),
        backoff,
        cancelled: counts.cancelled,
        retries: counts.retries,
        mean_s,
        reused: 0,
        speculative: 0,
        speculative_won: 0,
        failures_allowed: false,
    }
}

/// One line that says how a job stands: everything that is not well is in it.
fn verdict_line(job: &Job, training: &[String]) -> String {
    let of_shards = |(stage, _): &(usize, &crate::Stage)| {
        !matches!(job.spec.stages[*stage].kind, StageKind::Train(_))
    };
    let stages = || {
        job.stages
            .iter()
            .enumerate()
            .filter(of_shards)
            .map(|(_, s)| s)
    };
    let total: u64 = stages().map(|s| s.shards.len() as u64).sum();
    let sum = |of: fn(&crate::Counts) -> u64| stages().map(|s| of(&s.counts)).sum::<u64>();
    let done = sum(|c| c.done);
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
        (sum(|c| c.verdict_skipped), "skipped"),
        (sum(|c| c.cancelled), "not run"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
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
