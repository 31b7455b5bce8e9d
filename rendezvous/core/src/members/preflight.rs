//! Checks that a worker must pass before it joins a job.

use crate::volatile::worker::Preflight;
use crate::{Core, Effect, JobId, ToWorker, WorkerId};
use petctl_spec::JobSpec;

impl Core {
    /// Has a free worker run the checks of every job that it may serve and that asks for them; once.
    pub(crate) fn ask_preflights(&mut self, id: WorkerId) {
        let jobs: Vec<JobId> = self.volatile.preflighting.iter().copied().collect();
        for job in jobs {
            let Some(name) = self.state.jobs.get(&job).map(|j| j.spec.name.as_str()) else {
                continue;
            };
            let Some(worker) = self.volatile.workers.get_mut(&id) else {
                return;
            };
            let may =
                worker.waits() && worker.serves(name) && !worker.preflights.contains_key(&job);
            if may {
                worker.preflights.insert(job, Preflight::Asked);
                self.send(id, ToWorker::Preflight(job));
            }
        }
    }

    /// A job that asks for checks was opened.
    pub(crate) fn ask_all_preflights(&mut self, job: JobId) {
        let asks = self
            .state
            .jobs
            .get(&job)
            .is_some_and(|j| j.end.is_none() && has_checks(&j.spec));
        if !asks {
            self.volatile.preflighting.remove(&job);
            return;
        }
        self.volatile.preflighting.insert(job);
        let free: Vec<WorkerId> = self.volatile.free.iter().map(|(_, id)| *id).collect();
        for worker in free {
            self.ask_preflights(worker);
        }
    }

    /// What came of a worker's checks.
    pub(crate) fn preflighted(
        &mut self,
        id: WorkerId,
        job: JobId,
        failure: Option<(String, String)>,
    ) {
        let Some(worker) = self.volatile.workers.get_mut(&id) else {
            return;
        };
        let Some(known) = worker.preflights.get_mut(&job) else {
            return;
        };
        *known = match failure {
            None => Preflight::Passed,
            Some((code, message)) => Preflight::Failed { code, message },
        };
        self.reshape(job, Vec::new());
        self.effect(Effect::Changed(job));
    }
}

/// Whether a worker has something to do before it joins: checks, or a setup.
pub(crate) fn has_checks(spec: &JobSpec) -> bool {
    spec.workers.preflight.is_some() || spec.setup.is_some()
}
