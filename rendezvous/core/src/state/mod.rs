//! The projection of the durable events: the only way to change it is [`State::apply`].

pub(crate) mod apply;
pub(crate) mod carry;
pub(crate) mod event;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod work;

use crate::state::carry::NewJob;
use crate::state::job::Job;
use crate::{Event, JobId, Lineage, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything a coordinator must not forget.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Sequence number of the last record applied.
    pub sequence: u64,
    /// This log; none before the first coordinator has started on it.
    pub lineage: Lineage,
    /// The newest start of a coordinator on this log. It grows with each, and is no less than the clock of its start
    /// in seconds: a log that was put back from a copy gives out no lease twice.
    pub incarnation: u32,
    /// Starts of coordinators on this log.
    pub starts: u32,
    /// Number of the last job submitted.
    pub last_job: JobId,
    /// Jobs by number, ended ones included.
    pub jobs: BTreeMap<JobId, Job>,
}

impl State {
    /// Applies one record. Events about jobs or shards that are not there are ignored: a log is never a reason to
    /// panic.
    pub fn apply(&mut self, record: &Record) {
        self.sequence = record.sequence;
        if let Event::CoordinatorStarted {
            lineage,
            incarnation,
            starts,
        } = &record.event
        {
            self.lineage = *lineage;
            self.incarnation = *incarnation;
            self.starts = *starts;
        } else if let Event::JobSubmitted {
            job,
            spec,
            fingerprint,
            work,
            first_lease,
            replaces,
            follows,
        } = &record.event
        {
            let new = NewJob {
                id: *job,
                spec,
                fingerprint,
                work,
                first_lease: *first_lease,
                follows: *follows,
            };
            self.submitted(record.at, new, *replaces);
        } else if let Event::JobDeleted { job } = &record.event {
            self.jobs.remove(job);
        } else if let Some(job) = record.event.job().and_then(|id| self.jobs.get_mut(&id)) {
            job.apply(record, self.incarnation);
        }
    }

    /// The number of a job, by its name (the newest of that name) or by its number.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<JobId> {
        let by_name = self
            .jobs
            .values()
            .rev()
            .find(|j| j.spec.name == name)
            .map(|j| j.id);
        by_name.or_else(|| {
            let id = JobId(name.parse().ok()?);
            self.jobs.contains_key(&id).then_some(id)
        })
    }
}
