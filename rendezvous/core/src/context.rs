//! One open job, found once: both of its halves beside what all jobs share. Whatever decides about the job is handed
//! this, and looks nothing up.

use crate::random::Random;
use crate::volatile::worker::Worker;
use crate::volatile::{Volatile, VolatileJob};
use crate::{
    Config, Core, Effect, Epoch, Event, Job, JobId, LeaveReason, Lineage, Millis, Record, ToWorker,
    WorkerId,
};

/// A job that has not ended, while something is decided about it.
pub(crate) struct JobContext<'a> {
    pub(crate) id: JobId,
    pub(crate) now: Millis,
    pub(crate) config: &'a Config,
    /// This log.
    pub(crate) lineage: Lineage,
    /// This start of the coordinator.
    pub(crate) incarnation: u32,
    /// The durable half: changed by [`JobContext::record`] alone.
    pub(crate) job: &'a mut Job,
    /// The volatile half.
    pub(crate) own: &'a mut VolatileJob,
    /// What all jobs share.
    pub(crate) volatile: &'a mut Volatile,
    pub(crate) random: &'a mut Random,
    pub(crate) later: Later,
    sequence: &'a mut u64,
    effects: &'a mut Vec<Effect>,
}

/// What follows for others, once all is decided about the job.
#[derive(Debug, Default)]
pub(crate) struct Later {
    /// The job is over: its volatile half goes.
    pub(crate) closed: bool,
    /// Workers that took too long.
    pub(crate) lost: Vec<(WorkerId, LeaveReason)>,
    /// Whom free workers are offered to.
    pub(crate) offer: Offer,
}

/// Whom free workers are offered to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Offer {
    #[default]
    Nobody,
    /// Every job but this one.
    Others,
    Everybody,
}

impl Core {
    /// Has `act` decide about an open job; `None` if there is none of that number.
    pub(crate) fn with_job<T>(
        &mut self,
        id: JobId,
        act: impl FnOnce(&mut JobContext<'_>) -> T,
    ) -> Option<T> {
        let (job, own) = (self.state.jobs.get_mut(&id)?, self.open_jobs.get_mut(&id)?);
        let mut at = JobContext {
            id,
            now: self.now,
            config: &self.config,
            lineage: self.state.lineage,
            incarnation: self.state.incarnation,
            job,
            own,
            volatile: &mut self.volatile,
            random: &mut self.random,
            later: Later::default(),
            sequence: &mut self.state.sequence,
            effects: &mut self.effects,
        };
        let answer = act(&mut at);
        let settles_at = at.settles_at().filter(|_| !at.later.closed);
        at.volatile.note_settling(id, settles_at);
        let later = at.later;
        self.carry_out(id, &later);
        Some(answer)
    }

    fn carry_out(&mut self, id: JobId, later: &Later) {
        if later.closed {
            self.open_jobs.remove(&id);
        }
        self.lose(&later.lost);
        match later.offer {
            Offer::Nobody => {}
            Offer::Others => self.admit_others(id),
            Offer::Everybody => self.admit(),
        }
    }
}

impl JobContext<'_> {
    /// Decides something durable about the job: applied here at once, sent nowhere before the driver has it on disk.
    pub(crate) fn record(&mut self, event: Event) {
        *self.sequence += 1;
        let record = Record {
            sequence: *self.sequence,
            at: self.now,
            event,
        };
        self.job.apply(&record, self.incarnation);
        self.effects.push(Effect::Persist(Box::new(record)));
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The job's status may look different now.
    pub(crate) fn changed(&mut self) {
        self.effect(Effect::Changed(self.id));
    }

    /// Says something to a worker of the job, or to a free one, if it is connected.
    pub(crate) fn send(&mut self, worker: WorkerId, message: ToWorker) {
        let Some(worker) = self.volatile.workers.get(&worker) else {
            return;
        };
        let Some(conn) = worker.conn else { return };
        let epoch = if worker.job() == Some(self.id) {
            self.job.epoch
        } else {
            Epoch(0)
        };
        self.effect(Effect::Send {
            conn,
            epoch,
            message,
        });
    }

    /// Notes whether a worker of the job, or a free one, could take a lease.
    pub(crate) fn feed(&mut self, id: WorkerId) {
        let is_ours = self.is_ours(id);
        let own = is_ours.then_some(&mut *self.own);
        self.volatile.feed(self.config, id, own);
    }

    /// Whether a worker has a place in the job.
    pub(crate) fn is_ours(&self, id: WorkerId) -> bool {
        self.volatile.workers.get(&id).and_then(Worker::job) == Some(self.id)
    }

    /// A worker is known no more.
    pub(crate) fn forget(&mut self, id: WorkerId) {
        if self.volatile.forget(id) == Some(self.id) {
            self.own.forget_worker(id);
        }
    }

    /// It has ended, or is being cancelled.
    pub(crate) fn is_over(&self) -> bool {
        self.job.end.is_some() || self.job.cancelled.is_some()
    }

    /// Free workers that may serve the job, in the order of their arrival.
    pub(crate) fn candidates(&self) -> Vec<WorkerId> {
        self.volatile.candidates(self.now, self.job)
    }
}
