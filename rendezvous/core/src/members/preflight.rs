//! Checks that a worker must pass before it joins a job.

use crate::context::JobContext;
use crate::volatile::Volatile;
use crate::volatile::worker::Preflight;
use crate::{Core, JobId, ToWorker, WorkerId};
use petctl_spec::JobSpec;

impl Core {
    /// Has a free worker run the checks of every job that it may serve and that asks for them; once.
    pub(crate) fn ask_preflights(&mut self, id: WorkerId) {
        for job in self.volatile.note_preflights(id) {
            self.send(id, ToWorker::Preflight(job));
        }
    }

    /// What came of a worker's checks.
    pub(crate) fn preflighted(
        &mut self,
        id: WorkerId,
        job: JobId,
        failure: Option<(String, String)>,
    ) {
        let worker = self.volatile.workers.get_mut(&id);
        let Some(known) = worker.and_then(|w| w.preflights.get_mut(&job)) else {
            return;
        };
        *known = match failure {
            None => Preflight::Passed,
            Some((code, message)) => Preflight::Failed { code, message },
        };
        self.with_job(job, |at| at.reshape(Vec::new()));
        self.effect(crate::Effect::Changed(job));
    }
}

impl Volatile {
    /// Jobs whose checks a free worker has to run from now on.
    fn note_preflights(&mut self, id: WorkerId) -> Vec<JobId> {
        let Some(worker) = self.workers.get_mut(&id).filter(|w| w.waits()) else {
            return Vec::new();
        };
        let mut asked = Vec::new();
        for (job, name) in &self.preflighting {
            if worker.serves(name) && !worker.preflights.contains_key(job) {
                worker.preflights.insert(*job, Preflight::Asked);
                asked.push(*job);
            }
        }
        asked
    }
}

impl JobContext<'_> {
    /// A job that asks for checks was opened.
    pub(crate) fn ask_all_preflights(&mut self) {
        let id = self.id;
        let asks = self.job.end.is_none() && has_checks(&self.job.spec);
        if !asks {
            self.volatile.preflighting.remove(&id);
            return;
        }
        let name = self.job.spec.name.clone();
        self.volatile.preflighting.insert(id, name);
        let free: Vec<WorkerId> = self.volatile.free.iter().map(|(_, id)| *id).collect();
        for worker in free {
            for job in self.volatile.note_preflights(worker) {
                self.send(worker, ToWorker::Preflight(job));
            }
        }
    }
}

/// Whether a worker has something to do before it joins: checks, or a setup.
pub(crate) fn has_checks(spec: &JobSpec) -> bool {
    spec.workers.preflight.is_some() || spec.setup.is_some()
}
