//! An epoch of training starts: rank 0 picks a port, then all are told at once.

use crate::training::forming::{Resizing, resize};
use crate::training::{Busy, Doing};
use crate::{
    Core, Effect, Epoch, Event, JobId, LeaveReason, Master, MasterOffer, ToWorker, WorkerId,
};

/// Rank 0 has this many heartbeat timeouts to answer: it looks for checkpoints on disks that may be slow.
pub(crate) const PREPARE_TIMEOUTS: u64 = 4;

impl Core {
    /// Asks rank 0 for a port, and for the newest checkpoint that is there.
    pub(crate) fn prepare(&mut self, id: JobId) {
        let Some(at) = self.training_job(id) else {
            return;
        };
        let epoch = at.job.epoch;
        let members: Vec<(WorkerId, u32)> = at.processes().collect();
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
        let Some(at) = self.training_job(id) else {
            return;
        };
        let (Doing::Preparing(epoch), Some(first)) = (at.training.doing, at.job.members.first())
        else {
            return;
        };
        let (worker, stage) = (first.member.worker, at.training.stage);
        let checkpoints = at.checkpoints().to_vec();
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
        let Some(at) = self.training_job(id) else {
            return;
        };
        let (job, since) = (at.job, at.training.since);
        let size = job.members.len();
        let shrinks =
            resize(at.sizes(), size, 0, petctl_spec::Grow::Now, false) == Resizing::Shrink;
        let left = !at.training.left.is_empty();
        if at.blocked().is_some() || shrinks || left || job.epoch != epoch {
            if let Some(training) = self.volatile.training_mut(id) {
                training.gather(now);
            }
            return self.gather(id);
        }
        if now.since(since) < at.prepare_patience_ms() {
            return;
        }
        if let Some(first) = job.members.first().map(|m| m.member.worker) {
            self.lose(&[(first, LeaveReason::Silent)]);
        }
    }

    /// Rank 0 has a port: all start.
    pub(crate) fn master_offered(&mut self, worker: WorkerId, offer: &MasterOffer) {
        let id = offer.job;
        let Some(at) = self.training_job(id) else {
            return;
        };
        let members: Vec<WorkerId> = at.job.members.iter().map(|m| m.member.worker).collect();
        let is_first = members.first() == Some(&worker);
        if at.training.doing != Doing::Preparing(offer.epoch) || !is_first || offer.port == 0 {
            return;
        }
        let (stage, world_size) = (at.training.stage, at.training.world_size());
        let kept = at.checkpoints();
        let resume_step = offer
            .resume_step
            .filter(|s| kept.iter().any(|c| c.step == *s));
        let master = Master {
            address: at.master_address(),
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
        for member in members {
            self.start_part(id, member);
        }
        self.effect(Effect::Changed(id));
        self.train(id);
    }

    /// Has a member start its processes.
    pub(crate) fn start_part(&mut self, id: JobId, worker: WorkerId) {
        let start = self.training_job(id).and_then(|at| at.start_of(worker));
        let Some(start) = start else { return };
        let epoch = start.epoch;
        if let Some(worker) = self.volatile.workers.get_mut(&worker) {
            worker.busy = Some(Busy { job: id, epoch });
        }
        self.send(worker, ToWorker::GroupStart(Box::new(start)));
    }
}

/// A loopback address, or none: only workers of the same host reach it.
pub(crate) fn is_local(address: &str) -> bool {
    address.is_empty()
        || address == "localhost"
        || address
            .parse::<core::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}
