//! Workers come, fall silent, come back, leave; and what that makes of a job's membership.

use crate::volatile::gpus::Gpus;
use crate::volatile::set;
use crate::volatile::worker::{Preflight, Standing, Worker};
use crate::{
    Code, ConnId, Core, Effect, Epoch, FromWorker, HeldLease, Hello, JobId, LeaseId, LeaveReason,
    Phase, ToWorker, WorkerId,
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
        if !self.free_name(conn, &hello) {
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
        if worker.hello.launcher && !worker.hello.leaving {
            return self.launcher_came(id);
        }
        match worker.standing {
            Standing::Free => {
                self.feed(id);
                self.ask_preflights(id);
                self.admit();
                self.release_if_late(id);
            }
            // Its training processes are stopped first.
            Standing::Draining(job, _) if self.owes_stop(job, id) => {}
            Standing::Draining(..) if !worker.hello.leaving => {
                self.send(id, ToWorker::Drain("the pool shrank".to_owned()));
            }
            Standing::Draining(..) | Standing::Launcher(_) => {}
            Standing::Member(job, _) => {
                self.assign(id, job);
                self.feed(id);
                if self
                    .volatile
                    .jobs
                    .get(&job)
                    .is_some_and(|j| !j.seeded && j.expected.is_empty())
                {
                    self.open(job);
                }
                self.schedule(job);
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

    /// A worker whose stream was replaced, or had broken: what it still holds of its leases stands.
    fn come_back(&mut self, conn: ConnId, hello: Hello) -> Vec<LeaseId> {
        let now = self.now;
        let held: BTreeSet<LeaseId> = hello.held.iter().map(|h| h.lease).collect();
        let Some(worker) = self.volatile.workers.get_mut(&hello.worker) else {
            return Vec::new();
        };
        let id = worker.id();
        let old = worker.conn.replace(conn);
        worker.last_heard = now;
        worker.broken_since = None;
        worker.hello.leaving |= hello.leaving;
        // What was asked of it may have been lost with the stream.
        worker.preflights.retain(|_, p| *p != Preflight::Asked);
        let missing: Vec<LeaseId> = worker.leases.difference(&held).copied().collect();
        let mut kept: Vec<LeaseId> = worker.leases.intersection(&held).copied().collect();
        kept.extend(
            hello
                .held
                .iter()
                .filter(|h| self.is_recorded(h, worker_job(&self.volatile.workers, id)))
                .map(|h| h.lease),
        );
        if let Some(old) = old.filter(|old| *old != conn) {
            self.close(
                old,
                Code::StreamSuperseded,
                "the same worker opened another stream",
            );
        }
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
            self.take_back(lease, true);
        }
        kept
    }

    /// A worker that this coordinator does not know: new, or of before a restart.
    fn come_in(&mut self, conn: ConnId, hello: Hello) -> Vec<LeaseId> {
        let id = hello.worker;
        let expecting = self
            .volatile
            .jobs
            .iter()
            .find(|(_, j)| j.expected.contains(&id))
            .map(|(id, _)| *id);
        let drained = hello
            .member_of
            .filter(|job| self.is_recovering(*job) && !hello.held.is_empty());
        let standing = match (expecting, drained) {
            _ if hello.launcher => self.launcher_standing(&hello.job),
            (Some(job), _) => Standing::Member(job, self.admission(job, id)),
            (None, Some(job)) => Standing::Draining(job, Epoch(0)),
            (None, None) => Standing::Free,
        };
        self.volatile.last_arrival += 1;
        let held = hello.held.clone();
        let (launcher, gpus) = (hello.launcher, Gpus::new(hello.gpus));
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
        let seat = worker_job(&self.volatile.workers, id).filter(|_| launcher);
        let Some(job) = seat.or(expecting).or(drained) else {
            return Vec::new();
        };
        let mut kept = Vec::new();
        for claim in &held {
            if self.is_recorded(claim, Some(job)) || self.claim(job, id, claim) {
                kept.push(claim.lease);
            }
        }
        if let Some(volatile) = self.volatile.jobs.get_mut(&job) {
            volatile.expected.remove(&id);
        }
        let idle = self
            .volatile
            .workers
            .get(&id)
            .is_some_and(|w| w.leases.is_empty());
        if expecting.is_none()
            && !launcher
            && idle
            && let Some(worker) = self.volatile.workers.get_mut(&id)
        {
            worker.standing = Standing::Free;
        }
        kept
    }

    /// The result of this lease is durable already, only its acknowledgement was lost.
    fn is_recorded(&self, held: &HeldLease, job: Option<JobId>) -> bool {
        let stage = job
            .and_then(|j| self.state.jobs.get(&j))
            .and_then(|j| j.stages.get(held.shard.stage as usize));
        let shard = stage.and_then(|s| s.shards.get(held.shard.index as usize));
        shard.is_some_and(|s| s.phase == Phase::Done && s.lease == held.lease)
    }

    fn is_recovering(&self, job: JobId) -> bool {
        self.volatile.recovery_ends.is_some()
            && self.volatile.jobs.get(&job).is_some_and(|j| !j.seeded)
    }

    fn admission(&self, job: JobId, worker: WorkerId) -> Epoch {
        let members = &self.state.jobs[&job].members;
        members
            .iter()
            .find(|m| m.member.worker == worker)
            .map_or(Epoch(0), |m| m.admitted)
    }

    pub(crate) fn assign(&mut self, worker: WorkerId, job: JobId) {
        let Some(state) = self.state.jobs.get(&job) else {
            return;
        };
        let rank = state.rank_of(worker).unwrap_or(0);
        let world_size = u32::try_from(state.members.len()).unwrap_or(u32::MAX);
        self.send(
            worker,
            ToWorker::Assignment {
                job,
                rank,
                world_size,
            },
        );
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
                let (job, member) = (worker.job(), worker.is_member());
                if let Some(volatile) = job.and_then(|j| self.volatile.jobs.get_mut(&j)) {
                    set(&mut volatile.backlogged, id, member && queued > 0);
                }
                self.send(id, ToWorker::HeartbeatAck(sequence));
                if let Some(job) = job {
                    self.rebalance(job);
                    if self.volatile.training(job).is_none() {
                        self.speculate(job);
                    }
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
                self.feed(id);
                self.reshape(job, vec![(id, LeaveReason::Left)]);
            }
            // Never again a candidate.
            Standing::Free => self.forget(id),
            Standing::Launcher(job) => self.drain_launcher(id, job),
            Standing::Draining(..) => {}
        }
    }

    /// Whether a worker has to say of training processes that they are gone.
    fn owes_stop(&self, job: JobId, worker: WorkerId) -> bool {
        self.volatile
            .training(job)
            .is_some_and(|t| t.is_alive(worker))
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
            && job.is_none_or(|job| !self.owes_stop(job, id));
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

fn worker_job(workers: &BTreeMap<WorkerId, Worker>, id: WorkerId) -> Option<JobId> {
    workers.get(&id).and_then(Worker::job)
}
