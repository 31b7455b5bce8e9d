//! A job's work stopped for a while, and one worker taken out of its pool.

use crate::jobs::clients::MAX_REASON_CHARS;
use crate::training::Doing;
use crate::volatile::worker::Standing;
use crate::{
    Code, Core, Effect, Event, Job, JobId, LeaveReason, Refusal, Reply, ToWorker, WorkerId,
};

impl Core {
    /// Hands out nothing more and stops training; what the job has stays.
    pub(crate) fn suspend(&mut self, job: &str, reason: String) -> Result<Reply, Refusal> {
        let id = self.resolve(job)?;
        let job = &self.state.jobs[&id];
        may_change(job, "suspend")?;
        if job.suspended.is_some() {
            return Ok(Reply::Suspended { already: true });
        }
        let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
        self.with_job(id, |at| {
            at.record(Event::JobSuspended { job: id, reason });
            let refusal = Refusal::new(Code::Suspended, "the job was suspended");
            at.revoke(&refusal, true, |_| true);
            at.stop_training(refusal);
            at.changed();
        });
        Ok(Reply::Suspended { already: false })
    }

    /// Lets a suspended job go on.
    pub(crate) fn resume(&mut self, job: &str) -> Result<Reply, Refusal> {
        let id = self.resolve(job)?;
        let job = &self.state.jobs[&id];
        may_change(job, "resume")?;
        if job.suspended.is_none() {
            return Ok(Reply::Resumed { already: true });
        }
        self.with_job(id, |at| {
            at.record(Event::JobResumed { job: id });
            if let Some(training) = &mut at.own.training
                && training.doing == Doing::Gathering
            {
                training.since = at.now;
            }
            at.reshape(Vec::new());
            at.changed();
        });
        Ok(Reply::Resumed { already: false })
    }

    /// Takes one worker out of a job's pool.
    pub(crate) fn drain_one(
        &mut self,
        job: &str,
        name: &str,
        reason: String,
    ) -> Result<Reply, Refusal> {
        let id = self.resolve(job)?;
        may_change(&self.state.jobs[&id], "drain a worker of")?;
        let worker = self.worker_of(id, name)?;
        let Some(drained) = self.volatile.workers.get_mut(&worker) else {
            return Err(not_back(name));
        };
        let (name, standing) = (drained.hello.name.clone(), drained.standing.clone());
        let reason: String = if reason.is_empty() {
            "somebody drained it".to_owned()
        } else {
            reason.chars().take(MAX_REASON_CHARS).collect()
        };
        match standing {
            Standing::Member(job, epoch) => {
                drained.standing = Standing::Draining(job, epoch);
                self.with_job(id, |at| {
                    at.feed(worker);
                    // A training process is not something to wait for: the group stops first.
                    if !at.in_training() {
                        at.send(worker, ToWorker::Drain(reason));
                    }
                    at.reshape(vec![(worker, LeaveReason::Drained)]);
                });
            }
            Standing::Free => {
                self.send(worker, ToWorker::Drain(reason));
                self.forget(worker);
            }
            Standing::LocalStages(job) => {
                self.with_job(job, |at| {
                    at.drain_local_stage_worker(worker);
                    at.send(worker, ToWorker::Drain(reason));
                });
            }
            Standing::Draining(..) => {}
        }
        self.effect(Effect::Changed(id));
        Ok(Reply::WorkerDrained(name))
    }

    /// The worker of that name or id in a job's pool, or waiting for a place in it.
    fn worker_of(&self, id: JobId, name: &str) -> Result<WorkerId, Refusal> {
        let job = &self.state.jobs[&id];
        let by_name = self.volatile.names.get(name).copied();
        let by_id = || {
            let number = u128::from_str_radix(name, 16).ok().map(WorkerId);
            number.filter(|w| name.len() == 32 && self.volatile.workers.contains_key(w))
        };
        let found = by_name.or_else(by_id).filter(|w| {
            self.volatile.workers.get(w).is_some_and(|w| {
                let waits = w.standing == Standing::Free && w.hello.job == job.spec.name;
                w.job() == Some(id) || waits
            })
        });
        if let Some(worker) = found {
            return Ok(worker);
        }
        if job.members.iter().any(|m| m.member.name == name) {
            return Err(not_back(name));
        }
        const SHOWN: usize = 5;
        let names: Vec<&str> = job
            .members
            .iter()
            .take(SHOWN)
            .map(|m| m.member.name.as_str())
            .collect();
        let there = match (names.is_empty(), job.members.len() > SHOWN) {
            (true, _) => "it has none now".to_owned(),
            (false, false) => format!("there are: {}", names.join(", ")),
            (false, true) => format!("there are: {}, …", names.join(", ")),
        };
        Err(Refusal::new(
            Code::NoSuchWorker,
            format!(
                "no worker of job `{}` is called `{name}`; {there}",
                job.spec.name
            ),
        ))
    }
}

fn not_back(name: &str) -> Refusal {
    Refusal::new(
        Code::Recovering,
        format!(
            "worker `{name}` is not back yet after the coordinator's restart; try again in a few seconds"
        ),
    )
}

fn may_change(job: &Job, what: &str) -> Result<(), Refusal> {
    let name = &job.spec.name;
    if job.end.is_some() {
        return Err(Refusal::new(
            Code::JobEnded,
            format!("job `{name}` has ended; it is too late to {what} it"),
        ));
    }
    if job.cancelled.is_some() {
        return Err(Refusal::new(
            Code::JobCancelled,
            format!("job `{name}` is being cancelled; it is too late to {what} it"),
        ));
    }
    Ok(())
}
