//! The last events of each job, for its status.

use petctl_core::{Carried, Event, JobId, Record, StageWork};
use std::collections::{BTreeMap, VecDeque};

/// Events kept per job.
const KEPT: usize = 10;

/// The last noteworthy events of every job. Commits are left out: a status counts them.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    jobs: BTreeMap<JobId, VecDeque<Record>>,
}

impl Recent {
    pub(crate) fn take(&mut self, record: Record) {
        if let Event::JobDeleted { job } = record.event {
            self.jobs.remove(&job);
            return;
        }
        if let Event::JobSubmitted {
            replaces: Some(old),
            ..
        } = &record.event
        {
            self.jobs.remove(old);
        }
        let Some(job) = noteworthy(&record) else {
            return;
        };
        let events = self.jobs.entry(job).or_default();
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(shortened(record));
    }

    /// Oldest first.
    pub(crate) fn of(&self, job: JobId) -> impl Iterator<Item = &Record> {
        self.jobs.get(&job).into_iter().flatten()
    }
}

/// The job of a record that a status shows.
fn noteworthy(record: &Record) -> Option<JobId> {
    let committed = matches!(record.event, Event::ShardCommitted { .. });
    if committed { None } else { record.event.job() }
}

/// A million keys are not kept a second time, nor what is known of them.
fn shortened(mut record: Record) -> Record {
    if let Event::JobSubmitted { work, .. } = &mut record.event {
        for stage in work {
            let count = stage.carried.iter().map(|run| run.count).sum();
            *stage = StageWork {
                carried: vec![Carried {
                    first: 0,
                    of: 0,
                    count,
                }],
                ..StageWork::default()
            };
        }
    }
    record
}
