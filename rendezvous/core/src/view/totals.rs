//! How all jobs, shards and workers stand, in numbers: one pass over jobs and workers, none over shards.

use crate::training::Doing;
use crate::view::JobState;
use crate::volatile::VolatileJob;
use crate::volatile::worker::{Standing, Worker};
use crate::{Core, Job, JobId};
use std::collections::BTreeMap;

/// How all of a coordinator stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Every job that is remembered, by its state.
    pub jobs: BTreeMap<JobState, u64>,
    /// Shards of the jobs that have not ended.
    pub shards: ShardTotals,
    /// Workers that are known now.
    pub workers: WorkerTotals,
    /// Workers that the jobs want which have not ended and may work.
    pub workers_wanted: u64,
    /// Leases that are out.
    pub leases: u64,
    /// Starts of coordinators on this log.
    pub starts: u32,
}

/// Shards by how they stand, as [`crate::StageView`] counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardTotals {
    /// They wait for what they need.
    pub blocked: u64,
    /// They could run now.
    pub ready: u64,
    /// They have a slot at a worker.
    pub running: u64,
    /// They wait out a backoff.
    pub backoff: u64,
    /// They are committed.
    pub done: u64,
    /// They are quarantined.
    pub failed: u64,
    /// They will not run.
    pub cancelled: u64,
    /// They did not run, because what they need was skipped.
    pub skipped: u64,
}

/// Workers by what they do; one whose stream is broken is silent, whatever it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerTotals {
    /// They do a job's work.
    pub members: u64,
    /// They end what they have, and go.
    pub draining: u64,
    /// They wait for a job.
    pub free: u64,
    /// They run local stages, beside a launcher.
    pub local: u64,
    /// Their streams are broken, or they have not come back after a restart.
    pub silent: u64,
}

impl Core {
    /// How all of it stands now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            leases: self.running() as u64,
            starts: self.state.starts,
            ..Totals::default()
        };
        let mut at_work: BTreeMap<JobId, u64> = BTreeMap::new();
        for worker in self.volatile.workers.values() {
            totals.workers.add(worker);
            if let Some(job) = worker.job() {
                *at_work.entry(job).or_default() += worker.busy_slots();
            }
        }
        for job in self.state.jobs.values() {
            *totals.jobs.entry(self.job_state(job)).or_default() += 1;
            let Some(own) = self.open_jobs.get(&job.id) else {
                continue;
            };
            let at_work = at_work.get(&job.id).copied().unwrap_or_default();
            totals.shards.add(job, own, at_work);
            totals.workers.silent += own.expected.len() as u64;
            if job.suspended.is_none() && job.cancelled.is_none() {
                totals.workers_wanted += u64::from(job.workers_wanted());
            }
        }
        totals
    }
}

impl WorkerTotals {
    fn add(&mut self, worker: &Worker) {
        if worker.conn.is_none() {
            self.silent += 1;
            return;
        }
        let count = match worker.standing {
            Standing::Member(..) => &mut self.members,
            Standing::Draining(..) => &mut self.draining,
            Standing::Free => &mut self.free,
            Standing::LocalStages(_) => &mut self.local,
        };
        *count += 1;
    }
}

impl ShardTotals {
    /// `at_work`: slots of the job's workers that hold a lease.
    fn add(&mut self, job: &Job, own: &VolatileJob, at_work: u64) {
        let pending: u64 = job.stages.iter().map(crate::Stage::pending).sum();
        let leased: u64 = own.running_by_stage.iter().sum();
        let (gathers, trains) = match &own.training {
            None => (0, 0),
            Some(training) if training.doing == Doing::Gathering => (1, 0),
            Some(_) => (0, 1),
        };
        let at_work = leased.min(at_work);
        let running = at_work + trains;
        let ready = own.ready + (leased - at_work) + own.trainings.len() as u64 + gathers;
        let backoff = own.backoff.len() as u64;
        self.running += running;
        self.ready += ready;
        self.backoff += backoff;
        self.blocked += pending.saturating_sub(running + ready + backoff);
        for counts in job.stages.iter().map(|stage| &stage.counts) {
            self.done += counts.done;
            self.failed += counts.failed;
            self.cancelled += counts.cancelled;
            self.skipped += counts.skipped;
        }
    }
}
