//! An epoch of training starts: rank 0 picks a port, then all are told at once.

use crate::context::JobContext;
use crate::training::forming::{Resizing, resize};
use crate::training::rules::{master_address, sizes};
use crate::training::{Busy, Doing, Flow, Training};
use crate::{Core, Epoch, Event, LeaveReason, Master, MasterOffer, ToWorker, WorkerId};
use petctl_spec::Grow;
use std::ops::ControlFlow;

/// Rank 0 has this many heartbeat timeouts to answer: it looks for checkpoints on disks that may be slow.
pub(crate) const PREPARE_TIMEOUTS: u64 = 4;

impl Core {
    /// A worker has a port for rank 0.
    pub(crate) fn master_offered(&mut self, worker: WorkerId, offer: &MasterOffer) {
        self.with_job(offer.job, |at| {
            at.with_training(|training, at| training.start(at, worker, offer));
        });
    }
}

impl Training {
    /// Asks rank 0 for a port, and for the newest checkpoint that is there.
    pub(crate) fn prepare(&mut self, at: &mut JobContext<'_>) {
        let members = self.processes(at);
        self.set_parts(members.into_iter());
        self.fresh = false;
        self.begin(Doing::Preparing(at.job.epoch), at.now);
        self.ask_rank_0(at);
    }

    /// Says it (again): the first time may have been lost with a stream.
    pub(crate) fn ask_rank_0(&self, at: &mut JobContext<'_>) {
        let (Doing::Preparing(epoch), Some(first)) = (self.doing, at.job.members.first()) else {
            return;
        };
        let message = ToWorker::GroupPrepare {
            job: at.id,
            stage: self.stage,
            epoch,
            checkpoints: self.checkpoints(at.job).to_vec(),
        };
        at.send(first.member.worker, message);
    }

    /// No process runs yet: whatever changes makes a new epoch.
    pub(crate) fn prepare_on(&mut self, at: &mut JobContext<'_>, epoch: Epoch) {
        let job = &*at.job;
        let size = job.members.len();
        let shrinks =
            resize(sizes(job, &at.own.place), size, 0, Grow::Now, false) == Resizing::Shrink;
        let left = !self.left.is_empty();
        if self.blocked(at).is_some() || shrinks || left || job.epoch != epoch {
            self.forget_epoch(at.now);
            return self.gather(at);
        }
        if at.now.since(self.since) < self.prepare_patience_ms(at) {
            return;
        }
        let first = job.members.first().map(|m| m.member.worker);
        at.later
            .lost
            .extend(first.map(|first| (first, LeaveReason::Silent)));
    }

    /// Rank 0 has a port: all start.
    fn start(&mut self, at: &mut JobContext<'_>, worker: WorkerId, offer: &MasterOffer) -> Flow {
        let members = at.job.members.iter().map(|m| m.member.worker);
        let members: Vec<WorkerId> = members.collect();
        let is_first = members.first() == Some(&worker);
        if self.doing != Doing::Preparing(offer.epoch) || !is_first || offer.port == 0 {
            return ControlFlow::Continue(());
        }
        let kept = self.checkpoints(at.job);
        let resume_step = offer
            .resume_step
            .filter(|s| kept.iter().any(|c| c.step == *s));
        let master = Master {
            address: master_address(at.job),
            port: offer.port,
        };
        at.record(Event::GroupStarted {
            job: at.id,
            stage: self.stage,
            epoch: offer.epoch,
            world_size: self.world_size(),
            master,
            resume_step,
        });
        self.begin(Doing::Running(offer.epoch), at.now);
        self.last_active = at.now;
        self.step = None;
        for member in members {
            self.start_part(at, member);
        }
        at.changed();
        self.advance(at)
    }

    /// Has a member start its processes.
    pub(crate) fn start_part(&self, at: &mut JobContext<'_>, worker: WorkerId) {
        let Some(start) = self.start_of(at, worker) else {
            return;
        };
        if let Some(worker) = at.volatile.workers.get_mut(&worker) {
            worker.busy = Some(Busy {
                job: at.id,
                epoch: start.epoch,
            });
        }
        at.send(worker, ToWorker::GroupStart(Box::new(start)));
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
