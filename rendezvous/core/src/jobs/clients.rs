//! What clients ask of a job that is there: scale, cancel, delete, drain.

use crate::context::JobContext;
use crate::volatile::Draining;
use crate::volatile::lease::Lease;
use crate::{Code, Core, Effect, Event, JobId, LeaseId, Refusal, Reply, ToWorker, WorkerId};
use petctl_spec::MAX_WORKERS;
use std::collections::BTreeMap;

impl Core {
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
            self.with_job(id, |at| {
                at.record(Event::PoolScaled {
                    job: id,
                    min: new_min,
                    max: new_max,
                    wanted: new_wanted,
                });
                at.reshape(Vec::new());
                at.changed();
            });
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
            self.with_job(id, |at| at.cancel(reason));
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
    pub(crate) fn drain_coordinator(&mut self) -> Reply {
        if self.volatile.draining.is_some() {
            return Reply::Draining;
        }
        self.volatile.draining = Some(Draining::default());
        let jobs: Vec<JobId> = self.open_jobs.keys().copied().collect();
        for job in jobs {
            self.with_job(job, |at| {
                let refusal = Refusal::new(Code::CoordinatorDraining, "the coordinator drains");
                at.revoke(&refusal, true, |_| true);
                at.stop_training(refusal);
                at.changed();
            });
        }
        Reply::Draining
    }
}

impl JobContext<'_> {
    fn cancel(&mut self, reason: String) {
        let id = self.id;
        self.record(Event::JobCancelled { job: id, reason });
        self.own.clear();
        self.volatile.backoffs.retain(|(_, job, _)| *job != id);
        let refusal = Refusal::new(Code::JobCancelled, "the job was cancelled");
        self.revoke(&refusal, false, |_| true);
        self.stop_training(refusal);
        self.volatile.stage_deadlines.retain(|(job, _)| *job != id);
        self.settle();
        self.changed();
    }

    /// Asks the workers for some of the job's leases back.
    pub(crate) fn revoke(
        &mut self,
        refusal: &Refusal,
        only_if_queued: bool,
        which: impl Fn(&Lease) -> bool,
    ) {
        let mut by_worker: BTreeMap<WorkerId, Vec<LeaseId>> = BTreeMap::new();
        let leases = self.volatile.leases.of_job(self.id);
        for (id, lease) in leases.filter(|(_, lease)| which(lease)) {
            by_worker.entry(lease.worker).or_default().push(id);
        }
        for (worker, leases) in by_worker {
            let message = ToWorker::Revocation {
                leases,
                refusal: refusal.clone(),
                only_if_queued,
            };
            self.send(worker, message);
        }
    }

    /// Stops the processes of the job's training group, if there are any.
    pub(crate) fn stop_training(&mut self, refusal: Refusal) {
        self.with_training(|training, at| training.stop_for(at, refusal));
    }
}

pub(crate) const MAX_REASON_CHARS: usize = 500;
