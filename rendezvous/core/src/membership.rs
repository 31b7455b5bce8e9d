//! A job's membership: who is admitted, in which order, and who is let go.

use crate::pool::{Plan, Sizes, plan};
use crate::worker::{Standing, Worker};
use crate::{Code, Core, Effect, Epoch, Event, JobId, LeaveReason, Refusal, ToWorker, WorkerId};
use std::collections::BTreeSet;

impl Core {
    /// Offers free workers to the jobs, oldest job first.
    pub(crate) fn admit(&mut self) {
        let jobs: Vec<JobId> = self.live.jobs.keys().copied().collect();
        for job in jobs {
            self.reshape(job, Vec::new());
        }
    }

    /// Applies the pool's rule to who is there now, after `left` went.
    pub(crate) fn reshape(&mut self, id: JobId, mut left: Vec<(WorkerId, LeaveReason)>) {
        let Some((job, live)) = self.job(id) else {
            return;
        };
        if job.end.is_some() {
            return;
        }
        let recovering = !live.expected.is_empty();
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
        let candidates = if recovering || stops || self.live.draining.is_some() {
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
                    if let Some(live) = self.live.jobs.get_mut(&id) {
                        live.expected.remove(&worker);
                    }
                    self.drain_worker(worker);
                }
            }
        }
        self.schedule(id);
    }

    /// Free workers that may serve this job, in the order of their arrival.
    fn candidates(&self, job: JobId) -> Vec<WorkerId> {
        let name = &self.state.jobs[&job].spec.name;
        let free = self.live.workers.values().filter(|w| {
            w.standing == Standing::Free
                && w.conn.is_some()
                && (w.hello.job.is_empty() || w.hello.job == *name)
        });
        let mut free: Vec<(u64, WorkerId)> = free.map(|w| (w.arrival, w.id())).collect();
        free.sort_unstable();
        free.into_iter().map(|(_, id)| id).collect()
    }

    fn form(&mut self, id: JobId, joined: Vec<WorkerId>, left: Vec<(WorkerId, LeaveReason)>) {
        let Some(job) = self.state.jobs.get(&id) else {
            return;
        };
        let epoch = Epoch(job.epoch.0 + 1);
        let was_formed = job.formed;
        let records = joined
            .iter()
            .filter_map(|w| self.live.workers.get(w))
            .map(Worker::record)
            .collect();
        let ranks_moved = !left.is_empty();
        self.record(Event::EpochFormed {
            job: id,
            epoch,
            joined: records,
            left,
        });
        for worker in &joined {
            if let Some(worker) = self.live.workers.get_mut(worker) {
                worker.standing = Standing::Member(id, epoch);
            }
            self.assign(*worker, id);
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

    fn drain_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.live.workers.get_mut(&id) else {
            return;
        };
        if let Standing::Member(job, epoch) = worker.standing {
            worker.standing = Standing::Draining(job, epoch);
        }
        self.feed(id);
        self.send(id, ToWorker::Drain("the pool shrank".to_owned()));
    }

    /// The time for members of before to come back is over.
    pub(crate) fn end_recovery(&mut self) {
        self.live.recovery_ends = None;
        let jobs: Vec<JobId> = self.live.jobs.keys().copied().collect();
        for job in jobs {
            let Some(live) = self.live.jobs.get_mut(&job) else {
                continue;
            };
            let left: Vec<(WorkerId, LeaveReason)> = std::mem::take(&mut live.expected)
                .into_iter()
                .map(|w| (w, LeaveReason::NotBack))
                .collect();
            let seeded = live.seeded;
            self.reshape(job, left);
            if !seeded {
                self.open(job);
            }
        }
    }

    /// A worker that serves one job only, and comes when that has ended, has nothing to wait for.
    pub(crate) fn release_if_late(&mut self, id: WorkerId) {
        let Some(worker) = self.live.workers.get(&id) else {
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
        let of_job: Vec<WorkerId> = self
            .live
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
            let refusal = Refusal::new(Code::JobEnded, format!("job `{name}` has ended"));
            self.send(id, ToWorker::Release(refusal));
            let Some(worker) = self.live.workers.get_mut(&id) else {
                continue;
            };
            let drains = matches!(worker.standing, Standing::Draining(..));
            worker.standing = Standing::Free;
            if drains || worker.conn.is_none() {
                self.forget(id);
            }
        }
    }
}
