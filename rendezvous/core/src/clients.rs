//! What clients ask: submit, scale, cancel, delete, drain.

use crate::live::{Draining, LiveJob};
use crate::{
    Code, Core, Effect, EndState, Event, JobId, LeaseId, Refusal, Reply, RequestId, Submission,
    Submitted, SubmittedAs, ToWorker, WorkerId,
};
use petctl_spec::shards::stage_count;
use petctl_spec::{MAX_SHARDS, MAX_WORKERS};
use std::collections::BTreeMap;

impl Core {
    pub(crate) fn submit(&mut self, submission: Submission) -> Result<Reply, Refusal> {
        let Submission {
            spec,
            fingerprint,
            keys,
            rerun,
            ..
        } = submission;
        let rerun_all = rerun == crate::Rerun::All;
        check_counts(&spec, &keys)?;
        if let Some(id) = self.state.find(&spec.name) {
            let there = &self.state.jobs[&id];
            if !rerun_all && there.fingerprint == fingerprint {
                return Ok(Reply::Submitted(self.submit_again(id, &spec)));
            }
            if there.end.is_none() {
                return Err(Refusal::new(
                    Code::JobRunning,
                    format!(
                        "job `{0}` is running with another job file; `petctl cancel {0}` first",
                        spec.name
                    ),
                ));
            }
            if !rerun_all {
                return Err(Refusal::new(
                    Code::JobExists,
                    format!(
                        "job `{0}` has results of another job file; `--rerun all` forgets them, `petctl delete {0}` \
                         removes the job, or choose another name",
                        spec.name
                    ),
                ));
            }
            self.record(Event::JobDeleted { job: id });
        }
        if self.state.jobs.len() >= self.config.max_jobs {
            return Err(Refusal::new(
                Code::TooManyJobs,
                format!(
                    "this coordinator keeps {} jobs at most; delete some",
                    self.config.max_jobs
                ),
            ));
        }
        let job = JobId(self.state.last_job.0 + 1);
        self.live.jobs.insert(job, LiveJob::new(&spec));
        self.record(Event::JobSubmitted {
            job,
            spec: Box::new(spec),
            fingerprint,
            keys,
        });
        self.open(job);
        Ok(Reply::Submitted(Submitted {
            job,
            how: SubmittedAs::New,
            reused: 0,
            reruns: Vec::new(),
            dropped: Vec::new(),
        }))
    }

    /// The same job again: it goes on where it is, or what failed of it runs again.
    fn submit_again(&mut self, id: JobId, spec: &petctl_spec::JobSpec) -> Submitted {
        let job = &self.state.jobs[&id];
        let reused = job.stages.iter().map(|s| s.counts.done).sum();
        let how = match job.end {
            None => SubmittedAs::Resumed,
            Some((EndState::Succeeded, _)) => SubmittedAs::Finished,
            // Nothing to run again: it failed by the verdicts of committed shards.
            Some((EndState::Failed | EndState::Cancelled, _))
                if job.stages.iter().all(crate::Stage::is_complete) =>
            {
                SubmittedAs::Finished
            }
            Some((EndState::Failed | EndState::Cancelled, _)) => SubmittedAs::Retried,
        };
        let retuned = job.spec != *spec && how != SubmittedAs::Finished;
        if retuned {
            self.record(Event::JobRetuned {
                job: id,
                spec: Box::new(spec.clone()),
            });
        }
        if how == SubmittedAs::Retried {
            self.record(Event::JobReopened { job: id });
            self.live
                .jobs
                .insert(id, LiveJob::new(&self.state.jobs[&id].spec));
        }
        if how == SubmittedAs::Retried {
            self.open(id);
        } else {
            self.set_deadlines(id);
            self.ask_all_preflights(id);
            self.reshape(id, Vec::new());
        }
        Submitted {
            job: id,
            how,
            reused,
            reruns: Vec::new(),
            dropped: Vec::new(),
        }
    }

    pub(crate) fn scale(
        &mut self,
        job: &str,
        min: Option<u32>,
        max: Option<u32>,
        wanted: Option<u32>,
    ) -> Result<Reply, Refusal> {
        let id = self.resolve(job)?;
        let job = &self.state.jobs[&id];
        if job.end.is_some() {
            return Err(Refusal::new(
                Code::JobEnded,
                format!(
                    "job `{}` has ended; there is nothing to scale",
                    job.spec.name
                ),
            ));
        }
        let now = &job.spec.workers;
        let new_min = min.unwrap_or(now.min);
        let new_max = max.unwrap_or(now.max);
        let new_wanted = wanted.unwrap_or(now.wanted.clamp(new_min.min(new_max), new_max));
        let wrong = |why: String| Err(Refusal::new(Code::BadScale, why));
        if new_max > MAX_WORKERS || new_min == 0 {
            return wrong(format!("a pool has 1 to {MAX_WORKERS} workers"));
        }
        if new_min > new_max {
            return wrong(format!(
                "min {new_min} is more than max {new_max}; give both `--min` and `--max`"
            ));
        }
        if new_wanted > new_max {
            return wrong(format!(
                "{new_wanted} workers are more than max {new_max}; add `--max {new_wanted}`"
            ));
        }
        if new_wanted < new_min {
            return wrong(format!(
                "{new_wanted} workers are fewer than min {new_min}; add `--min {new_wanted}`"
            ));
        }
        let unit = now.unit.max(1);
        if new_wanted / unit * unit < new_min {
            return wrong(format!(
                "no multiple of {unit} (`unit`) lies from min {new_min} to {new_wanted} workers"
            ));
        }
        if (new_min, new_max, new_wanted) != (now.min, now.max, now.wanted) {
            self.record(Event::PoolScaled {
                job: id,
                min: new_min,
                max: new_max,
                wanted: new_wanted,
            });
            self.reshape(id, Vec::new());
            self.effect(Effect::Changed(id));
        }
        Ok(Reply::Scaled {
            min: new_min,
            max: new_max,
            wanted: new_wanted,
        })
    }

    pub(crate) fn cancel(&mut self, job: &str, reason: String) -> Result<Reply, Refusal> {
        let id = self.resolve(job)?;
        let job = &self.state.jobs[&id];
        if job.end.is_some() {
            return Ok(Reply::Cancelled {
                already_ended: true,
            });
        }
        if job.cancelled.is_none() {
            let reason = reason.chars().take(MAX_REASON_CHARS).collect();
            self.record(Event::JobCancelled { job: id, reason });
            if let Some(live) = self.live.jobs.get_mut(&id) {
                live.clear();
            }
            self.live.backoffs.retain(|(_, job, _)| *job != id);
            self.revoke_all(id, Code::JobCancelled, "the job was cancelled");
            self.stop_training(id, Code::JobCancelled, "the job was cancelled");
            self.live.stage_alarms.retain(|(job, _)| *job != id);
            self.settle(id);
            self.effect(Effect::Changed(id));
        }
        Ok(Reply::Cancelled {
            already_ended: false,
        })
    }

    pub(crate) fn delete(&mut self, job: &str) -> Result<Reply, Refusal> {
        let id = self.resolve(job)?;
        let job = &self.state.jobs[&id];
        if job.end.is_none() {
            let name = &job.spec.name;
            return Err(Refusal::new(
                Code::JobRunning,
                format!("job `{name}` has not ended; `petctl cancel {name}` first"),
            ));
        }
        self.record(Event::JobDeleted { job: id });
        self.effect(Effect::Changed(id));
        Ok(Reply::Deleted)
    }

    /// Not durable: a coordinator that starts again goes on.
    pub(crate) fn drain_coordinator(&mut self, request: RequestId) {
        self.effect(Effect::Reply(request, Ok(Reply::Draining)));
        let first = self.live.draining.is_none();
        if !first {
            return;
        }
        self.live.draining = Some(Draining::default());
        let jobs: Vec<JobId> = self.live.jobs.keys().copied().collect();
        for job in jobs {
            self.revoke(job, Code::Draining, "the coordinator drains", true);
            self.stop_training(job, Code::Draining, "the coordinator drains");
            self.effect(Effect::Changed(job));
        }
    }

    fn revoke_all(&mut self, job: JobId, code: Code, message: &str) {
        self.revoke(job, code, message, false);
    }

    pub(crate) fn revoke(&mut self, job: JobId, code: Code, message: &str, only_if_queued: bool) {
        let mut by_worker: BTreeMap<WorkerId, Vec<LeaseId>> = BTreeMap::new();
        for (id, lease) in self.live.leases.of_job(job) {
            by_worker.entry(lease.worker).or_default().push(id);
        }
        for (worker, leases) in by_worker {
            let refusal = Refusal::new(code, message);
            self.send(
                worker,
                ToWorker::Revocation {
                    leases,
                    refusal,
                    only_if_queued,
                },
            );
        }
    }
}

pub(crate) const MAX_REASON_CHARS: usize = 500;

fn check_counts(spec: &petctl_spec::JobSpec, keys: &[Vec<String>]) -> Result<(), Refusal> {
    let wrong = |why: String| Err(Refusal::new(Code::BadSubmission, why));
    let mut total = 0_u64;
    for (index, stage) in spec.stages.iter().enumerate() {
        let listed = keys.get(index).map_or(0, Vec::len) as u64;
        let count = match stage_count(&stage.kind) {
            Some(count) if listed == 0 => count,
            Some(_) => {
                return wrong(format!(
                    "stage `{}` computes its keys, yet keys were sent for it",
                    stage.name
                ));
            }
            None => listed,
        };
        if count == 0 {
            return wrong(format!("stage `{}` has no shards", stage.name));
        }
        total = total.saturating_add(count);
        for need in &stage.needs {
            if need.stage as usize >= spec.stages.len() || need.stage as usize == index {
                return wrong(format!(
                    "stage `{}` needs a stage that is not there",
                    stage.name
                ));
            }
        }
    }
    if total == 0 || total > MAX_SHARDS {
        return wrong(format!("{total} shards; a job has 1 to {MAX_SHARDS}"));
    }
    for (index, stage) in spec.stages.iter().enumerate() {
        for need in stage.needs.iter().filter(|n| n.per_shard) {
            if count_of(spec, keys, index) != count_of(spec, keys, need.stage as usize) {
                return wrong(format!(
                    "stage `{}` needs another shard by shard, but their counts differ",
                    stage.name
                ));
            }
        }
    }
    Ok(())
}

fn count_of(spec: &petctl_spec::JobSpec, keys: &[Vec<String>], stage: usize) -> u64 {
    stage_count(&spec.stages[stage].kind)
        .unwrap_or_else(|| keys.get(stage).map_or(0, Vec::len) as u64)
}
