//! A job's membership: who is admitted, in which order, and who is let go.

use crate::members::pool::{Plan, Sizes, plan};
use crate::members::preflight::has_checks;
use crate::training::Doing;
use crate::volatile::worker::{Preflight, Standing, Worker};
use crate::{
    Code, Core, Effect, Epoch, Event, JobId, LeaseId, LeaveReason, Refusal, ToWorker, WorkerId,
};
use std::collections::BTreeSet;

impl Core {
    /// Offers free workers to the jobs, oldest job first.
    pub(crate) fn admit(&mut self) {
        let jobs: Vec<JobId> = self.volatile.jobs.keys().copied().collect();
        for job in jobs {
            self.reshape(job, Vec::new());
        }
    }

    /// Applies the pool's rule to who is there now, after `left` went.
    pub(crate) fn reshape(&mut self, id: JobId, mut left: Vec<(WorkerId, LeaveReason)>) {
        if self.state.jobs.get(&id).is_none_or(|j| j.end.is_some()) {
            return;
        }
        if self.in_training(id) {
            return self.regroup(id, left);
        }
        let Some((job, volatile)) = self.job(id) else {
            return;
        };
        let recovering = !volatile.expected.is_empty();
        let gone: BTreeSet<WorkerId> = left.iter().map(|(w, _)| *w).collect();
        let members: Vec<WorkerId> = job
            .members
            .iter()
            .map(|m| m.member.worker)
            .filter(|w| !gone.contains(w))
            .collect();
        let workers = &job.spec.workers;
        let sizes = Sizes {
            min: workers.min,
            max: workers.max,
            wanted: workers.wanted,
            unit: workers.unit,
        };
        let formed = job.formed;
        let stops = job.cancelled.is_some();
        let candidates = if recovering || stops || self.volatile.draining.is_some() {
            Vec::new()
        } else {
            self.candidates(id)
        };
        match plan(sizes, members.len(), candidates.len()) {
            Plan::TooFew => {
                if formed || !left.is_empty() {
                    self.record(Event::QuorumLost { job: id, left });
                    self.effect(Effect::Changed(id));
                }
            }
            Plan::Form { keep, admit } => {
                let drained: Vec<WorkerId> = members[keep..].to_vec();
                left.extend(drained.iter().map(|w| (*w, LeaveReason::ScaledDown)));
                let joined: Vec<WorkerId> = candidates[..admit].to_vec();
                if !formed || !left.is_empty() || !joined.is_empty() {
                    self.form(id, joined, left);
                }
                for worker in drained {
                    if let Some(volatile) = self.volatile.jobs.get_mut(&id) {
                        volatile.expected.remove(&worker);
                    }
                    self.drain_worker(worker, "the pool shrank");
                }
            }
        }
        self.schedule(id);
    }

    /// Free workers that may serve this job, in the order of their arrival.
    pub(crate) fn candidates(&self, job: JobId) -> Vec<WorkerId> {
        if self.volatile.free.is_empty() {
            return Vec::new();
        }
        let spec = &self.state.jobs[&job].spec;
        let checks = has_checks(spec);
        // An older job that gathers for its training waits for whoever may serve any job.
        let reserved = self
            .volatile
            .jobs
            .range(..job)
            .any(|(id, _)| self.settles(*id));
        let free = self.volatile.free.iter().map(|(_, id)| *id);
        free.filter(|id| {
            self.volatile.workers.get(id).is_some_and(|w| {
                w.serves(&spec.name)
                    && w.busy.is_none()
                    && !(reserved && w.hello.job.is_empty())
                    && (!checks || w.preflights.get(&job) == Some(&Preflight::Passed))
            })
        })
        .collect()
    }

    /// A training group waits for workers that were promised, and has some time left.
    fn settles(&self, id: JobId) -> bool {
        self.training_job(id).is_some_and(|at| {
            at.training.fresh
                && at.training.doing == Doing::Gathering
                && at.blocked().is_none()
                && !at.is_settled()
        })
    }

    /// Offers other jobs what one of them did not take.
    pub(crate) fn admit_others(&mut self, but: JobId) {
        if self.volatile.free.is_empty() {
            return;
        }
        let jobs: Vec<JobId> = self
            .volatile
            .jobs
            .keys()
            .copied()
            .filter(|j| *j != but)
            .collect();
        for job in jobs {
            self.reshape(job, Vec::new());
        }
    }

    pub(crate) fn form(
        &mut self,
        id: JobId,
        joined: Vec<WorkerId>,
        left: Vec<(WorkerId, LeaveReason)>,
    ) {
        let Some(job) = self.state.jobs.get(&id) else {
            return;
        };
        let epoch = Epoch(job.epoch.0 + 1);
        let was_formed = job.formed;
        let train = self.training_job(id).map(|at| at.rules);
        let records = joined
            .iter()
            .filter_map(|w| self.volatile.workers.get(w))
            .map(|w| w.record(train))
            .collect();
        let ranks_moved = !left.is_empty();
        self.record(Event::EpochFormed {
            job: id,
            epoch,
            joined: records,
            left,
        });
        let world_size = self.state.jobs[&id].members.len();
        let world_size = u32::try_from(world_size).unwrap_or(u32::MAX);
        let first = world_size.saturating_sub(u32::try_from(joined.len()).unwrap_or(u32::MAX));
        for (rank, worker) in (first..).zip(&joined) {
            if let Some(worker) = self.volatile.workers.get_mut(worker) {
                worker.standing = Standing::Member(id, epoch);
            }
            let message = ToWorker::Assignment {
                job: id,
                rank,
                world_size,
            };
            self.send(*worker, message);
            self.feed(*worker);
        }
        if ranks_moved || !was_formed {
            self.tell_survivors(id, epoch, was_formed);
        }
        self.effect(Effect::Changed(id));
    }

    /// New ranks to those who were members before. A mere joining moves no rank and is not told: the epoch travels
    /// with every message anyway.
    fn tell_survivors(&mut self, id: JobId, epoch: Epoch, was_formed: bool) {
        let members = self.state.jobs[&id].members.clone();
        let world_size = u32::try_from(members.len()).unwrap_or(u32::MAX);
        for (rank, member) in (0..)
            .zip(members.iter())
            .filter(|(_, m)| m.admitted != epoch)
        {
            self.send(
                member.member.worker,
                ToWorker::EpochChange { rank, world_size },
            );
            if !was_formed {
                self.feed(member.member.worker);
            }
        }
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

    /// The time for members of before to come back is over.
    pub(crate) fn end_recovery(&mut self) {
        self.volatile.recovery_ends = None;
        let jobs: Vec<JobId> = self.volatile.jobs.keys().copied().collect();
        for job in jobs {
            let Some(volatile) = self.volatile.jobs.get_mut(&job) else {
                continue;
            };
            let left: Vec<(WorkerId, LeaveReason)> = std::mem::take(&mut volatile.expected)
                .into_iter()
                .map(|w| (w, LeaveReason::NotBack))
                .collect();
            let seeded = volatile.seeded;
            self.note_losses(job, &left.iter().copied().collect());
            if seeded {
                self.reshape(job, left);
            } else {
                self.open_without(job, left);
            }
        }
    }

    /// A worker that serves one job only, and comes when that has ended, has nothing to wait for.
    pub(crate) fn release_if_late(&mut self, id: WorkerId) {
        let Some(worker) = self.volatile.workers.get(&id) else {
            return;
        };
        let job = self
            .state
            .find(&worker.hello.job)
            .and_then(|j| self.state.jobs.get(&j));
        let Some(job) = job.filter(|j| j.end.is_some() && worker.standing == Standing::Free) else {
            return;
        };
        let refusal = Refusal::new(Code::JobEnded, format!("job `{}` has ended", job.spec.name));
        self.send(id, ToWorker::Release(refusal));
    }

    /// Lets the workers of an ended job go.
    pub(crate) fn release(&mut self, job: JobId) {
        let left: Vec<LeaseId> = self.volatile.leases.of_job(job).map(|(id, _)| id).collect();
        for lease in left {
            self.drop_lease(lease);
        }
        let of_job: Vec<WorkerId> = self
            .volatile
            .workers
            .values()
            .filter(|w| w.job() == Some(job))
            .map(Worker::id)
            .collect();
        let name = self
            .state
            .jobs
            .get(&job)
            .map(|j| j.spec.name.clone())
            .unwrap_or_default();
        for id in of_job {
            let worker = self.volatile.workers.get(&id);
            let drains = worker.is_some_and(|w| matches!(w.standing, Standing::Draining(..)));
            if drains {
                // One that was drained while its job was training may not have been told yet.
                self.send(id, ToWorker::Drain(format!("job `{name}` has ended")));
            }
            let refusal = Refusal::new(Code::JobEnded, format!("job `{name}` has ended"));
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
