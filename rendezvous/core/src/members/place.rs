//! What the place of a job's workers is told of its pool, and what it says of the workers.

use crate::context::JobContext;
use crate::view::{JobState, Reason};
use crate::volatile::worker::{Standing, Worker};
use crate::{Core, Event, Job, JobId, PlaceReport, WorkerId};
use std::collections::BTreeMap;

/// Most reasons that a place's report may hold, of either kind.
pub const MAX_PLACE_REASONS: usize = 64;

/// What a job wants of the place of its workers, and how far they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// With fewer workers nothing runs.
    pub min: u32,
    /// The number of members is a multiple of this.
    pub unit: u32,
    /// Workers wanted, spares included, whatever its place has room for.
    pub wanted: u32,
    /// Beyond this many of them more would find nothing to do.
    pub useful: u32,
    /// Shards of a worker at a time, and its GPUs.
    pub slots: u32,
    /// GPUs of a worker.
    pub gpus: u32,
    /// The longest that its commands may take to end, in ms.
    pub grace_ms: u64,
    /// Somebody has stopped its work: it wants no worker now.
    pub suspended: bool,
    /// Something is being cancelled: nobody is to be started any more.
    pub cancelled: bool,
    /// Workers that are connected, or may come back.
    pub workers: Vec<PoolWorker>,
    /// How the job stands, for whoever looks at its place.
    pub standing: Standings,
}

/// How a job stands, in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standings {
    /// Where it stands.
    pub state: JobState,
    /// The first of its stages that has something to do; none where nothing is left.
    pub stage: Option<String>,
    /// The first of the reasons why it waits, or why workers are missing.
    pub reason: Option<Reason>,
}

/// A worker of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolWorker {
    /// Its name, which the place knows.
    pub name: String,
    /// It was admitted: it does, or may do, some of the job's work.
    pub member: bool,
    /// It is on its way out, and still has something to end.
    pub drains: bool,
}

impl Core {
    /// The pools of the jobs that have not ended, in the order of submission.
    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        // Workers are looked at once, however many jobs there are.
        let mut of_jobs: BTreeMap<JobId, Vec<&Worker>> = BTreeMap::new();
        let mut waiting: BTreeMap<&str, Vec<&Worker>> = BTreeMap::new();
        for worker in self.volatile.workers.values() {
            match worker.job() {
                Some(_) if worker.runs_local_stages() => {}
                Some(job) => of_jobs.entry(job).or_default().push(worker),
                None if worker.waits() => {
                    let job = worker.hello.job.as_str();
                    waiting.entry(job).or_default().push(worker);
                }
                None => {}
            }
        }
        let open = self.open_jobs.keys();
        open.filter_map(|id| self.state.jobs.get(id))
            .map(|job| {
                let mut workers = of_jobs.remove(&job.id).unwrap_or_default();
                workers.extend(waiting.get(job.spec.name.as_str()).into_iter().flatten());
                // In the order in which they are known, whatever they do.
                workers.sort_by_key(|worker| worker.id());
                self.pool(job, &workers)
            })
            .collect()
    }

    fn pool(&self, job: &Job, workers: &[&Worker]) -> Pool {
        let sizes = &job.spec.workers;
        let wanted = job.workers_wanted();
        let on_workers = (0..).zip(&job.stages);
        let on_workers = on_workers.filter(|(stage, _)| {
            let spec = usize::try_from(*stage).ok();
            let spec = spec.and_then(|stage: usize| job.spec.stages.get(stage));
            spec.is_some_and(|spec| !crate::volatile::is_local(spec))
        });
        let pending: u64 = on_workers.map(|(_, stage): (u32, _)| stage.pending()).sum();
        let trains = job.spec.stages.iter().any(|s| s.kind.training().is_some());
        let useful = if trains {
            wanted
        } else {
            let useful = pending.div_ceil(u64::from(sizes.slots.max(1)));
            u32::try_from(useful).unwrap_or(u32::MAX).max(sizes.min)
        };
        Pool {
            job: job.id,
            name: job.spec.name.clone(),
            min: sizes.min,
            unit: sizes.unit,
            wanted,
            useful,
            slots: sizes.slots,
            gpus: sizes.gpus,
            grace_ms: job
                .spec
                .stages
                .iter()
                .map(|s| s.grace_ms)
                .max()
                .unwrap_or(0),
            suspended: job.suspended.is_some(),
            cancelled: job.cancelled.is_some() || self.volatile.draining.is_some(),
            standing: self.standings(job),
            workers: workers
                .iter()
                .map(|w| PoolWorker {
                    name: w.hello.name.clone(),
                    member: w.is_member(),
                    drains: matches!(w.standing, Standing::Draining(..)),
                })
                .chain(self.expected(job))
                .collect(),
        }
    }

    fn standings(&self, job: &Job) -> Standings {
        let state = self.job_state(job);
        let own = self.open_jobs.get(&job.id);
        let stages = job.stages.iter().enumerate();
        let has_work =
            |(stage, _): &(usize, &crate::Stage)| own.is_some_and(|own| own.has_work(*stage));
        let pending = |(_, stage): &(usize, &crate::Stage)| !stage.is_settled();
        let active = stages.clone().find(has_work);
        let active = active.or_else(|| stages.clone().find(pending));
        let stage = active.and_then(|(stage, _)| job.spec.stages.get(stage));
        let reason = match state {
            // It gets on: only what keeps workers away is worth a word.
            JobState::Running => own.and_then(|own| own.place.waiting.first().cloned()),
            JobState::Waiting
            | JobState::Suspended
            | JobState::Interrupted
            | JobState::Cancelling
            | JobState::Succeeded
            | JobState::Failed
            | JobState::Cancelled => self.waiting(self.now, job).into_iter().next(),
        };
        Standings {
            state,
            stage: stage.map(|stage| stage.name.clone()),
            reason,
        }
    }

    /// Members of before a restart that have not come back yet: they are at work, as far as anybody knows.
    fn expected(&self, job: &Job) -> impl Iterator<Item = PoolWorker> {
        let own = self.open_jobs.get(&job.id);
        let missing = job.members.iter().filter(move |member| {
            own.is_some_and(|own| own.expected.contains(&member.member.worker))
        });
        missing.map(|member| PoolWorker {
            name: member.member.name.clone(),
            member: true,
            drains: false,
        })
    }

    /// A place says how the workers of a job get on.
    pub(crate) fn place_said(&mut self, job: JobId, mut report: PlaceReport) {
        report.waiting.truncate(MAX_PLACE_REASONS);
        while report.ended.len() > MAX_PLACE_REASONS {
            report.ended.pop_first();
        }
        self.with_job(job, |at| {
            if at.own.place == report {
                return;
            }
            // Only of workers that were members: of others nothing was told either.
            let news: Vec<(String, Reason)> = report
                .ended
                .iter()
                .filter(|(worker, reason)| {
                    at.own.place.ended.get(*worker) != Some(*reason)
                        && at.job.worker_names.contains(worker)
                })
                .map(|(worker, reason)| (worker.clone(), reason.clone()))
                .collect();
            for (worker, Reason { code, message }) in news {
                at.record(Event::WorkerEnded {
                    job,
                    worker,
                    code,
                    message,
                });
            }
            let resizes = at.own.place.at_most != report.at_most;
            at.own.place = report;
            if resizes {
                at.reshape(Vec::new());
            }
            at.changed();
        });
    }

    /// Why a worker of a job ended, as its place has it.
    pub(crate) fn ended_by_place(&self, job: JobId, worker: &str) -> Option<&Reason> {
        self.open_jobs.get(&job)?.place.ended.get(worker)
    }
}

impl JobContext<'_> {
    /// Members in the order in which they are kept: the last leave first. Where the place numbers its workers it takes
    /// the highest away, so those leave first; elsewhere the youngest.
    pub(crate) fn in_order_of_keeping(&self, members: &[WorkerId]) -> Vec<WorkerId> {
        let index = |worker: &WorkerId| {
            let known = self.volatile.workers.get(worker);
            known.and_then(|worker| worker.hello.index)
        };
        let mut kept = members.to_vec();
        if members.iter().all(|worker| index(worker).is_some()) {
            kept.sort_by_key(index);
        }
        kept
    }
}
