//! An epoch of training starts: rank 0 picks a port, then all are told at once.

use crate::training::cause::used;
use crate::training::forming::{Resizing, resize};
use crate::training::machine::{group, rules, sizes};
use crate::training::{Busy, Doing};
use crate::{
    Core, Effect, Epoch, Event, GroupStart, Job, JobId, LeaveReason, Master, MasterOffer, ToWorker,
    WorkerId,
};
use petctl_spec::TrainSpec;

/// Rank 0 has this many heartbeat timeouts to answer: it looks for checkpoints on disks that may be slow.
pub(crate) const PREPARE_TIMEOUTS: u64 = 4;

impl Core {
    /// Members in rank order, with how many processes each starts for this training.
    pub(crate) fn processes_of(
        &self,
        job: &Job,
        train: &TrainSpec,
    ) -> impl Iterator<Item = (WorkerId, u32)> {
        job.members.iter().map(|m| {
            let worker = self.volatile.workers.get(&m.member.worker);
            let processes = worker.map_or(m.member.processes, |w| w.processes(train));
            (m.member.worker, processes)
        })
    }

    /// Asks rank 0 for a port, and for the newest checkpoint that is there.
    pub(crate) fn prepare(&mut self, id: JobId) {
        let Some(job) = self.state.jobs.get(&id) else {
            return;
        };
        let Some(train) = self
            .volatile
            .training(id)
            .and_then(|t| rules(job, t.stage))
            .map(|(_, train)| train)
        else {
            return;
        };
        let epoch = job.epoch;
        let members: Vec<(WorkerId, u32)> = self.processes_of(job, train).collect();
        let now = self.now;
        if let Some(training) = self.volatile.training_mut(id) {
            training.set_parts(members.into_iter());
            training.fresh = false;
            training.turn(Doing::Preparing(epoch), now);
        }
        self.ask_rank_0(id);
    }

    /// Says it (again): the first time may have been lost with a stream.
    pub(crate) fn ask_rank_0(&mut self, id: JobId) {
        let (Some(job), Some(training)) = (self.state.jobs.get(&id), self.volatile.training(id))
        else {
            return;
        };
        let (Doing::Preparing(epoch), Some(first)) = (training.doing, job.members.first()) else {
            return;
        };
        let (worker, stage) = (first.member.worker, training.stage);
        let checkpoints = group(job, stage).map_or_else(Vec::new, |g| g.checkpoints.clone());
        self.send(
            worker,
            ToWorker::GroupPrepare {
                job: id,
                stage,
                epoch,
                checkpoints,
            },
        );
    }

    /// No process runs yet: whatever changes makes a new epoch.
    pub(crate) fn prepare_on(&mut self, id: JobId, epoch: Epoch) {
        let now = self.now;
        let patience = self.config.heartbeat_timeout_ms * PREPARE_TIMEOUTS;
        let blocked = self.group_blocked(id).is_some();
        let Some((job, volatile)) = self.job(id) else {
            return;
        };
        let Some(training) = &mut volatile.training else {
            return;
        };
        let size = job.members.len();
        let shrinks =
            resize(sizes(job), size, 0, petctl_spec::Grow::Now, false) == Resizing::Shrink;
        if blocked || shrinks || !training.left.is_empty() || job.epoch != epoch {
            training.gather(now);
            return self.gather(id);
        }
        if now.since(training.since) < patience {
            return;
        }
        if let Some(first) = job.members.first().map(|m| m.member.worker) {
            self.lose(&[(first, LeaveReason::Silent)]);
        }
    }

    /// Rank 0 has a port: all start.
    pub(crate) fn master_offered(&mut self, worker: WorkerId, offer: &MasterOffer) {
        let id = offer.job;
        let (Some(job), Some(training)) = (self.state.jobs.get(&id), self.volatile.training(id))
        else {
            return;
        };
        let is_first = job
            .members
            .first()
            .is_some_and(|m| m.member.worker == worker);
        if training.doing != Doing::Preparing(offer.epoch) || !is_first || offer.port == 0 {
            return;
        }
        let (stage, world_size) = (training.stage, training.world_size());
        let kept = group(job, stage).map_or(&[][..], |g| g.checkpoints.as_slice());
        let resume_step = offer
            .resume_step
            .filter(|s| kept.iter().any(|c| c.step == *s));
        let master = Master {
            address: self.master_address(job),
            port: offer.port,
        };
        self.record(Event::GroupStarted {
            job: id,
            stage,
            epoch: offer.epoch,
            world_size,
            master,
            resume_step,
        });
        let now = self.now;
        if let Some(training) = self.volatile.training_mut(id) {
            training.turn(Doing::Running(offer.epoch), now);
            training.last_active = now;
            training.step = None;
        }
        let members: Vec<WorkerId> = self.state.jobs[&id]
            .members
            .iter()
            .map(|m| m.member.worker)
            .collect();
        for member in members {
            self.start_part(id, member);
        }
        self.effect(Effect::Changed(id));
        self.train(id);
    }

    /// Where all others reach rank 0.
    fn master_address(&self, job: &Job) -> String {
        let Some(first) = job.members.first() else {
            return String::new();
        };
        if !is_local(&first.member.address) {
            return first.member.address.clone();
        }
        if job.members.iter().all(|m| is_local(&m.member.address)) {
            "127.0.0.1".to_owned()
        } else {
            String::new()
        }
    }

    /// Has a member start its processes.
    pub(crate) fn start_part(&mut self, id: JobId, worker: WorkerId) {
        let (Some(job), Some(training)) = (self.state.jobs.get(&id), self.volatile.training(id))
        else {
            return;
        };
        let (Some(part), Some((Some(group), train))) =
            (training.parts.get(&worker), rules(job, training.stage))
        else {
            return;
        };
        let start = GroupStart {
            job: id,
            stage: training.stage,
            epoch: group.epoch,
            group_rank: part.group_rank,
            group_world_size: u32::try_from(training.parts.len()).unwrap_or(u32::MAX),
            first_rank: part.first_rank,
            processes: part.processes,
            world_size: group.world_size,
            master: group.master.clone(),
            restart_count: used(group, train, self.now).0,
            max_restarts: train.max_restarts,
            resume: group.resume.clone(),
        };
        let epoch = group.epoch;
        if let Some(worker) = self.volatile.workers.get_mut(&worker) {
            worker.busy = Some(Busy { job: id, epoch });
        }
        self.send(worker, ToWorker::GroupStart(Box::new(start)));
    }
}

/// A loopback address, or none: only workers of the same host reach it.
fn is_local(address: &str) -> bool {
    address.is_empty()
        || address == "localhost"
        || address
            .parse::<core::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}
