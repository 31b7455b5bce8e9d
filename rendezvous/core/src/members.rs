//! Workers come, fall silent, come back, leave; and what that makes of a job's membership.

use crate::pool::{Plan, Sizes, plan};
use crate::worker::{Standing, Worker};
use crate::{
    Code, ConnId, Core, Effect, Epoch, Event, FailureKind, FromWorker, HeldLease, Hello, JobId,
    LeaseId, LeaveReason, Phase, Refusal, ToWorker, WorkerId,
};
use std::collections::{BTreeMap, BTreeSet};

impl Core {
    pub(crate) fn hello(&mut self, conn: ConnId, hello: Hello) {
        let id = hello.worker;
        if !self.live.workers.contains_key(&id)
            && self.live.workers.len() >= self.config.max_workers
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
        let kept = if self.live.workers.contains_key(&id) {
            self.come_back(conn, hello)
        } else {
            self.come_in(conn, hello)
        };
        self.live.conns.insert(conn, id);
        self.look_again(id, self.now.plus(self.config.heartbeat_timeout_ms));
        self.send(
            id,
            ToWorker::Welcome {
                incarnation: self.state.incarnation,
                kept,
            },
        );
        if self.live.workers.get(&id).is_some_and(|w| w.hello.leaving) {
            self.leaving(id);
        }
        let Some(worker) = self.live.workers.get(&id) else {
            return;
        };
        match worker.standing {
            Standing::Free => {
                self.admit();
                self.release_if_late(id);
            }
            Standing::Draining(..) if !worker.hello.leaving => {
                self.send(id, ToWorker::Drain("the pool shrank".to_owned()));
            }
            Standing::Draining(..) => {}
            Standing::Member(job, _) => {
                self.assign(id, job);
                self.feed(id);
                if self
                    .live
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
        let twin = self
            .live
            .workers
            .values()
            .find(|w| w.hello.name == hello.name && w.id() != hello.worker);
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
        let Some(worker) = self.live.workers.get_mut(&hello.worker) else {
            return Vec::new();
        };
        let id = worker.id();
        let old = worker.conn.replace(conn);
        worker.last_heard = now;
        worker.broken_since = None;
        worker.hello.leaving |= hello.leaving;
        let missing: Vec<LeaseId> = worker.leases.difference(&held).copied().collect();
        let mut kept: Vec<LeaseId> = worker.leases.intersection(&held).copied().collect();
        kept.extend(
            hello
                .held
                .iter()
                .filter(|h| self.is_recorded(h, worker_job(&self.live.workers, id)))
                .map(|h| h.lease),
        );
        if let Some(old) = old.filter(|old| *old != conn) {
            self.close(
                old,
                Code::StreamSuperseded,
                "the same worker opened another stream",
            );
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
            .live
            .jobs
            .iter()
            .find(|(_, j)| j.expected.contains(&id))
            .map(|(id, _)| *id);
        let drained = hello
            .member_of
            .filter(|job| self.is_recovering(*job) && !hello.held.is_empty());
        let standing = match (expecting, drained) {
            (Some(job), _) => Standing::Member(job, self.admission(job, id)),
            (None, Some(job)) => Standing::Draining(job, Epoch(0)),
            (None, None) => Standing::Free,
        };
        self.live.last_arrival += 1;
        let held = hello.held.clone();
        let worker = Worker {
            hello,
            conn: Some(conn),
            last_heard: self.now,
            broken_since: None,
            standing,
            leases: BTreeSet::new(),
            load: crate::worker::Demand::default(),
            queued: 0,
            done: 0,
            arrival: self.live.last_arrival,
        };
        self.live.workers.insert(id, worker);
        let Some(job) = expecting.or(drained) else {
            return Vec::new();
        };
        let mut kept = Vec::new();
        for claim in &held {
            if self.is_recorded(claim, Some(job)) || self.claim(job, id, claim) {
                kept.push(claim.lease);
            }
        }
        if let Some(live) = self.live.jobs.get_mut(&job) {
            live.expected.remove(&id);
        }
        let idle = self
            .live
            .workers
            .get(&id)
            .is_some_and(|w| w.leases.is_empty());
        if expecting.is_none()
            && idle
            && let Some(worker) = self.live.workers.get_mut(&id)
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
        self.live.recovery_ends.is_some() && self.live.jobs.get(&job).is_some_and(|j| !j.seeded)
    }

    fn admission(&self, job: JobId, worker: WorkerId) -> Epoch {
        let members = &self.state.jobs[&job].members;
        members
            .iter()
            .find(|m| m.member.worker == worker)
            .map_or(Epoch(0), |m| m.admitted)
    }

    fn assign(&mut self, worker: WorkerId, job: JobId) {
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
        let Some(id) = self.live.conns.get(&conn).copied() else {
            return;
        };
        let now = self.now;
        let Some(worker) = self.live.workers.get_mut(&id) else {
            return;
        };
        worker.last_heard = now;
        match message {
            FromWorker::Heartbeat { sequence, queued } => {
                worker.queued = queued;
                let job = worker.job();
                self.send(id, ToWorker::HeartbeatAck(sequence));
                if let Some(job) = job {
                    self.rebalance(job);
                }
            }
            FromWorker::Results(reports) => self.results(id, epoch, reports),
            FromWorker::Leaving(_reason) => self.leaving(id),
        }
    }

    fn leaving(&mut self, id: WorkerId) {
        let Some(worker) = self.live.workers.get_mut(&id) else {
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
            Standing::Draining(..) => {}
        }
    }

    pub(crate) fn disconnected(&mut self, conn: ConnId) {
        let Some(id) = self.live.conns.remove(&conn) else {
            return;
        };
        let now = self.now;
        let Some(worker) = self.live.workers.get_mut(&id) else {
            return;
        };
        if worker.conn != Some(conn) {
            return;
        }
        worker.conn = None;
        worker.broken_since = Some(now);
        let expects_nothing = worker.leases.is_empty() && !worker.is_member();
        let job = worker.job();
        self.feed(id);
        if expects_nothing {
            self.forget(id);
        } else {
            self.look_again(id, now.plus(self.config.reconnect_grace_ms));
        }
        if let Some(job) = job {
            self.effect(Effect::Changed(job));
        }
    }

    pub(crate) fn worker_gone(&mut self, id: WorkerId) {
        if self.live.workers.contains_key(&id) {
            self.lose(&[(id, LeaveReason::Gone)]);
            return;
        }
        let expecting: Vec<JobId> = self
            .live
            .jobs
            .iter()
            .filter(|(_, j)| j.expected.contains(&id))
            .map(|(job, _)| *job)
            .collect();
        for job in expecting {
            if let Some(live) = self.live.jobs.get_mut(&job) {
                live.expected.remove(&id);
            }
            self.reshape(job, vec![(id, LeaveReason::Gone)]);
            if self
                .live
                .jobs
                .get(&job)
                .is_some_and(|j| j.expected.is_empty() && !j.seeded)
            {
                self.open(job);
            }
        }
    }

    /// Looks at the workers that may have been silent for too long.
    pub(crate) fn look_at_workers(&mut self) {
        let mut lost = Vec::new();
        while let Some((at, id)) = self
            .live
            .look_queue
            .first()
            .copied()
            .filter(|(at, _)| *at <= self.now)
        {
            self.live.look_queue.remove(&(at, id));
            self.live.looks.remove(&id);
            let Some(worker) = self.live.workers.get(&id) else {
                continue;
            };
            let broken = worker
                .broken_since
                .map(|since| since.plus(self.config.reconnect_grace_ms));
            let due = broken.unwrap_or(worker.last_heard.plus(self.config.heartbeat_timeout_ms));
            if due > self.now {
                self.look_again(id, due);
            } else {
                lost.push((
                    id,
                    if broken.is_some() {
                        LeaveReason::Gone
                    } else {
                        LeaveReason::Silent
                    },
                ));
            }
        }
        self.lose(&lost);
    }

    /// Gives workers up: their leases are lost, and they are fenced should they still be there. All at once, so that
    /// a thousand lost in one moment make one new epoch.
    fn lose(&mut self, lost: &[(WorkerId, LeaveReason)]) {
        let mut left: BTreeMap<JobId, Vec<(WorkerId, LeaveReason)>> = BTreeMap::new();
        for (id, reason) in lost {
            let Some(worker) = self.live.workers.get(id) else {
                continue;
            };
            let (job, member) = (worker.job(), worker.is_member());
            self.end_attempts_of(*id, *reason);
            self.forget(*id);
            if let Some(job) = job {
                let left = left.entry(job).or_default();
                if member {
                    left.push((*id, *reason));
                }
            }
        }
        for (job, left) in left {
            if left.is_empty() {
                self.schedule(job);
            } else {
                self.reshape(job, left);
            }
            self.settle(job);
            self.effect(Effect::Changed(job));
        }
    }

    fn end_attempts_of(&mut self, id: WorkerId, reason: LeaveReason) {
        let Some(worker) = self.live.workers.get(&id) else {
            return;
        };
        let (code, why) = match reason {
            LeaveReason::Silent => (
                Code::WorkerSilent,
                format!("silent for {} ms", self.now.since(worker.last_heard)),
            ),
            LeaveReason::Gone
            | LeaveReason::Left
            | LeaveReason::ScaledDown
            | LeaveReason::NotBack
            | LeaveReason::JobEnded => (
                Code::WorkerGone,
                "its process died or its stream stayed broken".to_owned(),
            ),
        };
        let failure = crate::Failure {
            code: code.as_str().to_owned(),
            message: format!("worker {} was lost: {why}", Self::name_of(&worker.hello)),
            ..crate::Failure::default()
        };
        let leases: Vec<LeaseId> = worker.leases.iter().copied().collect();
        if let Some(conn) = worker.conn {
            let message = format!("this worker was given up: {why}");
            self.send(id, ToWorker::Fenced(Refusal::new(code, message.clone())));
            self.close(conn, code, message);
        }
        for lease in leases {
            self.end_attempt(lease, FailureKind::WorkerLost, failure.clone());
        }
    }

    pub(crate) fn forget(&mut self, id: WorkerId) {
        if let Some(worker) = self.live.workers.remove(&id)
            && let Some(job) = worker.job().and_then(|j| self.live.jobs.get_mut(&j))
        {
            job.hungry.remove(&id);
        }
        if let Some(at) = self.live.looks.remove(&id) {
            self.live.look_queue.remove(&(at, id));
        }
    }

    fn look_again(&mut self, id: WorkerId, at: crate::Millis) {
        if let Some(old) = self.live.looks.insert(id, at) {
            self.live.look_queue.remove(&(old, id));
        }
        self.live.look_queue.insert((at, id));
    }

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
    fn release_if_late(&mut self, id: WorkerId) {
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

fn worker_job(workers: &BTreeMap<WorkerId, Worker>, id: WorkerId) -> Option<JobId> {
    workers.get(&id).and_then(Worker::job)
}
