//! Workers come, fall silent, come back, leave; and what that makes of a job's membership.

use crate::context::JobContext;
use crate::volatile::gpus::Gpus;
use crate::volatile::set;
use crate::volatile::worker::{Preflight, Standing, Worker};
use crate::{
    Code, ConnId, Core, Effect, Epoch, FromWorker, HeldLease, Hello, JobId, LeaseId, LeaveReason,
    ToWorker, WorkerId,
};
use std::collections::{BTreeMap, BTreeSet};

impl Core {
    pub(crate) fn hello(&mut self, conn: ConnId, hello: Hello) {
        let id = hello.worker;
        if !self.volatile.workers.contains_key(&id)
            && self.volatile.workers.len() >= self.config.max_workers
        {
            let bound = self.config.max_workers;
            return self.close(
                conn,
                Code::TooManyWorkers,
                format!("{bound} workers are connected already"),
            );
        }
        if !self.free_name(conn, &hello) || !self.is_same(conn, &hello) {
            return;
        }
        let group = hello.group.clone();
        let kept = if self.volatile.workers.contains_key(&id) {
            self.come_back(conn, hello)
        } else {
            self.come_in(conn, hello)
        };
        self.volatile.conns.insert(conn, id);
        let silent_at = self.now.plus(self.config.heartbeat_timeout_ms);
        self.volatile.worker_deadlines.set(id, Some(silent_at));
        self.send(
            id,
            ToWorker::Welcome {
                incarnation: self.state.incarnation,
                kept,
            },
        );
        if self
            .volatile
            .workers
            .get(&id)
            .is_some_and(|w| w.hello.leaving)
        {
            self.leaving(id);
        }
        self.greet(id, group.as_ref());
        let Some(worker) = self.volatile.workers.get(&id) else {
            return;
        };
        if worker.hello.local_stages && !worker.hello.leaving {
            return self.local_stage_worker_came(id);
        }
        match worker.standing {
            Standing::Free => {
                self.feed(id);
                self.ask_preflights(id);
                self.admit();
                self.release_if_late(id);
            }
            // Its training processes are stopped first.
            Standing::Draining(job, _) if self.has_processes(job, id) => {}
            Standing::Draining(..) if !worker.hello.leaving => {
                self.send(id, ToWorker::Drain("the pool shrank".to_owned()));
            }
            Standing::Draining(..) | Standing::LocalStages(_) => {}
            Standing::Member(job, _) => {
                let opens = self.with_job(job, |at| {
                    at.assign(id);
                    at.feed(id);
                    !at.own.seeded && at.own.expected.is_empty()
                });
                if opens == Some(true) {
                    self.open(job);
                }
                self.with_job(job, |at| at.schedule());
            }
        }
    }

    /// Two living workers of one name would make every message about them ambiguous. A broken one makes room.
    fn free_name(&mut self, conn: ConnId, hello: &Hello) -> bool {
        let twin = self.volatile.names.get(&hello.name).copied();
        let twin = twin
            .filter(|id| *id != hello.worker)
            .and_then(|id| self.volatile.workers.get(&id));
        let Some(twin) = twin else { return true };
        if twin.conn.is_some() {
            let message = format!(
                "a worker called `{}` is connected from {}",
                hello.name, twin.hello.host
            );
            self.close(
                conn,
                Code::WorkerNameTaken,
                format!("{message}; give this one another `--name`"),
            );
            return false;
        }
        let twin = twin.id();
        self.lose(&[(twin, LeaveReason::Gone)]);
        true
    }

    /// Whoever serves another job than the worker of this identity is not that worker.
    fn is_same(&mut self, conn: ConnId, hello: &Hello) -> bool {
        let known = self.volatile.workers.get(&hello.worker);
        let same = known.is_none_or(|known| known.hello.job == hello.job);
        if !same {
            let message = "a worker of another job has this identity; start this one anew";
            self.close(conn, Code::WorkerNameTaken, message.to_owned());
        }
        same
    }

    /// A worker whose stream was replaced, or had broken: what it still holds of its leases stands.
    fn come_back(&mut self, conn: ConnId, hello: Hello) -> Vec<LeaseId> {
        let now = self.now;
        let held: BTreeSet<LeaseId> = hello.held.iter().map(|h| h.lease).collect();
        let Some(worker) = self.volatile.workers.get_mut(&hello.worker) else {
            return Vec::new();
        };
        let old = worker.conn.replace(conn);
        worker.last_heard = now;
        worker.broken_since = None;
        worker.hello.leaving |= hello.leaving;
        // What was asked of it may have been lost with the stream.
        worker.preflights.retain(|_, p| *p != Preflight::Asked);
        let missing: Vec<LeaseId> = worker.leases.difference(&held).copied().collect();
        let kept: Vec<LeaseId> = worker.leases.intersection(&held).copied().collect();
        let job = worker.job();
        if let Some(old) = old.filter(|old| *old != conn) {
            self.close(
                old,
                Code::StreamSuperseded,
                "the same worker opened another stream",
            );
        }
        let kept =
            job.and_then(|job| self.with_job(job, |at| at.take_up(kept, &missing, &hello.held)));
        kept.unwrap_or_default()
    }

    /// A worker that this coordinator does not know: new, or of before a restart.
    fn come_in(&mut self, conn: ConnId, hello: Hello) -> Vec<LeaseId> {
        let id = hello.worker;
        // One that serves a single job takes up nothing of another, whatever it says.
        let serves = |job: &JobId| {
            let known = self.state.jobs.get(job);
            known.is_some_and(|known| hello.job.is_empty() || hello.job == known.spec.name)
        };
        let mut jobs = self.open_jobs.iter();
        let expecting = jobs.find(|(job, own)| own.expected.contains(&id) && serves(job));
        let expecting = expecting.map(|(job, _)| *job);
        let drained = hello
            .member_of
            .filter(|job| self.is_recovering(*job) && !hello.held.is_empty() && serves(job));
        let standing = match (expecting, drained) {
            _ if hello.local_stages => self.local_stage_standing(&hello.job),
            (Some(job), _) => Standing::Member(job, self.admission(job, id)),
            (None, Some(job)) => Standing::Draining(job, Epoch(0)),
            (None, None) => Standing::Free,
        };
        self.volatile.last_arrival += 1;
        let held = hello.held.clone();
        let (local_stages, gpus) = (hello.local_stages, Gpus::new(hello.gpus));
        let worker = Worker {
            hello,
            conn: Some(conn),
            last_heard: self.now,
            broken_since: None,
            standing,
            leases: BTreeSet::new(),
            load: crate::volatile::worker::Demand::default(),
            gpus,
            queued: 0,
            done: 0,
            arrival: self.volatile.last_arrival,
            busy: None,
            preflights: BTreeMap::new(),
        };
        self.volatile.names.insert(worker.hello.name.clone(), id);
        self.volatile.workers.insert(id, worker);
        self.feed(id);
        let seat = self.volatile.workers.get(&id).and_then(Worker::job);
        let Some(job) = seat.filter(|_| local_stages).or(expecting).or(drained) else {
            return Vec::new();
        };
        if expecting.is_some() {
            self.wait_for_others();
        }
        let kept = self.with_job(job, |at| {
            let kept = at.claim_all(id, &held);
            at.own.expected.remove(&id);
            kept
        });
        let stays = expecting.is_some() || local_stages;
        if let Some(worker) = self.volatile.workers.get_mut(&id)
            && worker.leases.is_empty()
            && !stays
        {
            worker.standing = Standing::Free;
        }
        kept.unwrap_or_default()
    }

    /// A member of before is back: the others have the same way.
    fn wait_for_others(&mut self) {
        let (limit, gap) = (self.volatile.recovery_limit, self.config.recovery_gap_ms);
        let others = self.now.plus(gap).min(limit);
        if let Some(ends) = &mut self.volatile.recovery_ends {
            *ends = others.max(*ends);
        }
    }

    pub(crate) fn is_recovering(&self, job: JobId) -> bool {
        self.volatile.recovery_ends.is_some()
            && self.open_jobs.get(&job).is_some_and(|own| !own.seeded)
    }

    fn admission(&self, job: JobId, worker: WorkerId) -> Epoch {
        let members = self.state.jobs.get(&job).map(|j| j.members.iter());
        let member = members.and_then(|mut all| all.find(|m| m.member.worker == worker));
        member.map_or(Epoch(0), |m| m.admitted)
    }

    pub(crate) fn worker_said(&mut self, conn: ConnId, epoch: Epoch, message: FromWorker) {
        let Some(id) = self.volatile.conns.get(&conn).copied() else {
            return;
        };
        let now = self.now;
        let Some(worker) = self.volatile.workers.get_mut(&id) else {
            return;
        };
        worker.last_heard = now;
        match message {
            FromWorker::Heartbeat { sequence, queued } => {
                worker.queued = queued;
                let (job, backlogged) = (worker.job(), worker.is_member() && queued > 0);
                self.send(id, ToWorker::HeartbeatAck(sequence));
                if let Some(job) = job {
                    self.with_job(job, |at| {
                        set(&mut at.own.backlogged, id, backlogged);
                        at.rebalance();
                        if at.own.training.is_none() {
                            at.speculate();
                        }
                    });
                }
            }
            FromWorker::Results(reports) => self.results(id, epoch, reports),
            FromWorker::Leaving(_reason) => self.leaving(id),
            FromWorker::Group(_)
            | FromWorker::Master(_)
            | FromWorker::Checkpoint(_)
            | FromWorker::Progress(_)
            | FromWorker::Preflight { .. } => self.training_said(id, message),
        }
    }

    fn leaving(&mut self, id: WorkerId) {
        let Some(worker) = self.volatile.workers.get_mut(&id) else {
            return;
        };
        match worker.standing {
            Standing::Member(job, epoch) => {
                worker.standing = Standing::Draining(job, epoch);
                self.with_job(job, |at| {
                    at.feed(id);
                    at.reshape(vec![(id, LeaveReason::Left)]);
                });
            }
            // Never again a candidate.
            Standing::Free => self.forget(id),
            Standing::LocalStages(job) => {
                self.with_job(job, |at| at.drain_local_stage_worker(id));
            }
            Standing::Draining(..) => {}
        }
    }

    /// Whether a worker has to say of training processes that they are gone.
    fn has_processes(&self, job: JobId, worker: WorkerId) -> bool {
        self.training(job).is_some_and(|t| t.is_alive(worker))
    }

    pub(crate) fn disconnected(&mut self, conn: ConnId) {
        let Some(id) = self.volatile.conns.remove(&conn) else {
            return;
        };
        let now = self.now;
        let Some(worker) = self.volatile.workers.get_mut(&id) else {
            return;
        };
        if worker.conn != Some(conn) {
            return;
        }
        worker.conn = None;
        worker.broken_since = Some(now);
        let job = worker.job();
        let expects_nothing = worker.leases.is_empty()
            && !worker.is_member()
            && job.is_none_or(|job| !self.has_processes(job, id));
        self.feed(id);
        if expects_nothing {
            self.forget(id);
        } else {
            let gone_at = now.plus(self.config.reconnect_grace_ms);
            self.volatile.worker_deadlines.set(id, Some(gone_at));
        }
        if let Some(job) = job {
            self.effect(Effect::Changed(job));
        }
    }
}

impl JobContext<'_> {
    /// A worker is back: which of its leases stand. `kept` it has still, and some that it holds have ended meanwhile.
    fn take_up(
        &mut self,
        mut kept: Vec<LeaseId>,
        missing: &[LeaseId],
        held: &[HeldLease],
    ) -> Vec<LeaseId> {
        let ended = held.iter().filter(|h| self.job.has_result_of(h));
        kept.extend(ended.map(|h| h.lease));
        // What was asked of the worker may have been lost with the stream.
        let overtaken = |id: &LeaseId| self.volatile.leases.get(*id).is_some_and(|l| l.overtaken);
        let (stop, kept): (Vec<LeaseId>, Vec<LeaseId>) = kept.into_iter().partition(overtaken);
        for lease in stop {
            self.drop_lease(lease);
        }
        for lease in &kept {
            if let Some(lease) = self.volatile.leases.get_mut(*lease) {
                lease.recalled = false;
            }
        }
        // Granted, but the grant was lost with the stream: it never ran.
        for lease in missing {
            self.take_back(*lease, true);
        }
        kept
    }

    /// A worker claims what it holds: which of its leases stand.
    fn claim_all(&mut self, id: WorkerId, held: &[HeldLease]) -> Vec<LeaseId> {
        let mut kept = Vec::new();
        for claim in held {
            if self.job.has_result_of(claim) || self.claim(id, claim) {
                kept.push(claim.lease);
            }
        }
        kept
    }
}
