//! A job's membership: who is admitted, in which order, and who is let go.

use crate::context::JobContext;
use crate::members::pool::{Plan, plan};
use crate::members::preflight::has_checks;
use crate::training::rules::sizes;
use crate::volatile::Volatile;
use crate::volatile::worker::{Preflight, Standing, Worker};
use crate::{
    Code, Core, Epoch, Event, Job, JobId, LeaseId, LeaveReason, Millis, Refusal, ToWorker, WorkerId,
};
use petctl_spec::TrainSpec;
use std::collections::BTreeSet;

impl Core {
    /// Offers free workers to the jobs, oldest job first.
    pub(crate) fn admit(&mut self) {
        let jobs: Vec<JobId> = self.open_jobs.keys().copied().collect();
        for job in jobs {
            self.with_job(job, |at| at.reshape(Vec::new()));
        }
    }

    /// Offers other jobs what one of them did not take.
    pub(crate) fn admit_others(&mut self, but: JobId) {
        if self.volatile.free.is_empty() {
            return;
        }
        let jobs = self.open_jobs.keys().copied();
        let jobs: Vec<JobId> = jobs.filter(|job| *job != but).collect();
        for job in jobs {
            self.with_job(job, |at| at.reshape(Vec::new()));
        }
    }

    /// The time for members of before to come back is over.
    pub(crate) fn end_recovery(&mut self) {
        self.volatile.recovery_ends = None;
        let jobs: Vec<JobId> = self.open_jobs.keys().copied().collect();
        for job in jobs {
            let unopened = self.with_job(job, |at| {
                let missing = std::mem::take(&mut at.own.expected);
                let left = missing.into_iter().map(|w| (w, LeaveReason::NotBack));
                let left: Vec<(WorkerId, LeaveReason)> = left.collect();
                at.note_losses(&left.iter().copied().collect());
                if !at.own.seeded {
                    return Some(left);
                }
                at.reshape(left);
                None
            });
            if let Some(left) = unopened.flatten() {
                self.open_without(job, left);
            }
        }
    }

    /// A worker that serves one job only, and comes when that has ended, has nothing to wait for.
    pub(crate) fn release_if_late(&mut self, id: WorkerId) {
        let Some(worker) = self.volatile.workers.get(&id) else {
            return;
        };
        let job = self.state.find(&worker.hello.job);
        let Some(job) = job.and_then(|job| self.state.jobs.get(&job)) else {
            return;
        };
        if job.end.is_none() || worker.standing != Standing::Free {
            return;
        }
        let refusal = Refusal::new(Code::JobEnded, format!("job `{}` has ended", job.spec.name));
        self.send(id, ToWorker::Release(refusal));
    }
}

impl Volatile {
    /// Free workers that may serve a job, in the order of their arrival.
    pub(crate) fn candidates(&self, now: Millis, job: &Job) -> Vec<WorkerId> {
        if self.free.is_empty() {
            return Vec::new();
        }
        let checks = has_checks(&job.spec);
        // An older job that gathers for its training waits for whoever may serve any job.
        let mut older = self.settling.range(..job.id);
        let reserved = self.draining.is_none() && older.any(|(_, settles_at)| now < *settles_at);
        let free = self.free.iter().map(|(_, id)| *id);
        free.filter(|id| {
            self.workers.get(id).is_some_and(|w| {
                w.serves(&job.spec.name)
                    && w.busy.is_none()
                    && !(reserved && w.hello.job.is_empty())
                    && (!checks || w.preflights.get(&job.id) == Some(&Preflight::Passed))
            })
        })
        .collect()
    }

    /// Notes until when a job waits for workers that were promised to its training.
    pub(crate) fn note_settling(&mut self, job: JobId, settles_at: Option<Millis>) {
        match settles_at {
            Some(at) => self.settling.insert(job, at),
            None => self.settling.remove(&job),
        };
    }
}

impl JobContext<'_> {
    /// Applies the pool's rule to who is there now, after `left` went.
    pub(crate) fn reshape(&mut self, mut left: Vec<(WorkerId, LeaveReason)>) {
        if self.job.end.is_some() {
            return;
        }
        if self.in_training() {
            return self.with_training(|training, at| training.regroup(at, left));
        }
        let job = &*self.job;
        let gone: BTreeSet<WorkerId> = left.iter().map(|(w, _)| *w).collect();
        let members = job.members.iter().map(|m| m.member.worker);
        let members: Vec<WorkerId> = members.filter(|w| !gone.contains(w)).collect();
        let formed = job.formed;
        let recovering = !self.own.expected.is_empty();
        let stops = job.cancelled.is_some() || self.volatile.draining.is_some();
        let candidates = if recovering || stops {
            Vec::new()
        } else {
            self.candidates()
        };
        match plan(sizes(job, &self.own.place), members.len(), candidates.len()) {
            Plan::TooFew => {
                if formed || !left.is_empty() {
                    self.record(Event::QuorumLost { job: self.id, left });
                    self.changed();
                }
            }
            // Which of them are to leave is known when all have come back.
            Plan::Form { keep, .. }
                if recovering && formed && left.is_empty() && keep < members.len() => {}
            Plan::Form { keep, admit } => {
                let drained = self.in_order_of_keeping(&members).split_off(keep);
                left.extend(drained.iter().map(|w| (*w, LeaveReason::ScaledDown)));
                let joined: Vec<WorkerId> = candidates[..admit].to_vec();
                if !formed || !left.is_empty() || !joined.is_empty() {
                    self.form(joined, left, None);
                }
                for worker in drained {
                    self.own.expected.remove(&worker);
                    self.drain_worker(worker, "the pool shrank");
                }
            }
        }
        self.schedule();
    }

    /// Forms an epoch; `train`: of a training, which says how many processes each member starts.
    pub(crate) fn form(
        &mut self,
        joined: Vec<WorkerId>,
        left: Vec<(WorkerId, LeaveReason)>,
        train: Option<&TrainSpec>,
    ) {
        let epoch = Epoch(self.job.epoch.0 + 1);
        let was_formed = self.job.formed;
        let workers = &self.volatile.workers;
        let records = joined
            .iter()
            .filter_map(|w| workers.get(w))
            .map(|w| w.record(train))
            .collect();
        let ranks_moved = !left.is_empty();
        self.record(Event::EpochFormed {
            job: self.id,
            epoch,
            joined: records,
            left,
        });
        let world_size = u32::try_from(self.job.members.len()).unwrap_or(u32::MAX);
        let first = world_size.saturating_sub(u32::try_from(joined.len()).unwrap_or(u32::MAX));
        for (rank, worker) in (first..).zip(&joined) {
            if let Some(worker) = self.volatile.workers.get_mut(worker) {
                worker.standing = Standing::Member(self.id, epoch);
            }
            let message = ToWorker::Assignment {
                job: self.id,
                rank,
                world_size,
            };
            self.send(*worker, message);
            self.feed(*worker);
        }
        if ranks_moved || !was_formed {
            self.tell_survivors(epoch, was_formed);
        }
        self.changed();
    }

    /// New ranks to those who were members before. A mere joining moves no rank and is not told: the epoch travels
    /// with every message anyway.
    fn tell_survivors(&mut self, epoch: Epoch, was_formed: bool) {
        let world_size = u32::try_from(self.job.members.len()).unwrap_or(u32::MAX);
        let ranks = (0..).zip(&self.job.members);
        let survivors: Vec<(u32, WorkerId)> = ranks
            .filter(|(_, m)| m.admitted != epoch)
            .map(|(rank, m)| (rank, m.member.worker))
            .collect();
        for (rank, worker) in survivors {
            self.send(worker, ToWorker::EpochChange { rank, world_size });
            if !was_formed {
                self.feed(worker);
            }
        }
    }

    /// Says a member its place.
    pub(crate) fn assign(&mut self, worker: WorkerId) {
        let rank = self.job.rank_of(worker).unwrap_or(0);
        let world_size = u32::try_from(self.job.members.len()).unwrap_or(u32::MAX);
        let message = ToWorker::Assignment {
            job: self.id,
            rank,
            world_size,
        };
        self.send(worker, message);
    }

    pub(crate) fn drain_worker(&mut self, id: WorkerId, why: &str) {
        let Some(worker) = self.volatile.workers.get_mut(&id) else {
            return;
        };
        if let Standing::Member(job, epoch) = worker.standing {
            worker.standing = Standing::Draining(job, epoch);
        }
        self.feed(id);
        self.send(id, ToWorker::Drain(why.to_owned()));
    }

    /// Lets the workers of an ended job go.
    pub(crate) fn release(&mut self) {
        let leases = self.volatile.leases.of_job(self.id);
        let left: Vec<LeaseId> = leases.map(|(id, _)| id).collect();
        for lease in left {
            self.drop_lease(lease);
        }
        let workers = self.volatile.workers.values();
        let of_job: Vec<WorkerId> = workers
            .filter(|w| w.job() == Some(self.id))
            .map(Worker::id)
            .collect();
        let ended = format!("job `{}` has ended", self.job.spec.name);
        for id in of_job {
            let worker = self.volatile.workers.get(&id);
            let drains = worker.is_some_and(|w| matches!(w.standing, Standing::Draining(..)));
            if drains {
                // One that was drained while its job was training may not have been told yet.
                self.send(id, ToWorker::Drain(ended.clone()));
            }
            let refusal = Refusal::new(Code::JobEnded, ended.clone());
            self.send(id, ToWorker::Release(refusal));
            let Some(worker) = self.volatile.workers.get_mut(&id) else {
                continue;
            };
            worker.standing = Standing::Free;
            if drains || worker.conn.is_none() {
                self.forget(id);
            } else {
                self.feed(id);
            }
        }
    }
}
