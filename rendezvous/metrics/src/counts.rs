//! What is counted of a coordinator's work. The core's thread counts as it works, and copies it for whoever asks.

use super::declared::{self, LOG_COMMIT_BUCKETS, Metric, Values};
use petctl_core::{Charge, Code, Event};
use std::collections::BTreeMap;
use std::time::Duration;

/// Since the coordinator's start.
#[derive(Clone, Debug)]
pub struct Counts {
    pub(super) submitted: u64,
    pub(super) ended: Tally,
    pub(super) attempts: Tally,
    pub(super) granted: u64,
    pub(super) left: Tally,
    pub(super) epochs: u64,
    pub(super) training_starts: u64,
    pub(super) training_restarts: Tally,
    pub(super) checkpoints: u64,
    pub(super) records: u64,
    pub(super) commits: Latency,
    /// Workers' streams that the core ended.
    pub(super) ended_streams: Tally,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            submitted: 0,
            ended: Tally::of(&declared::JOBS_ENDED),
            attempts: Tally::of(&declared::ATTEMPTS),
            granted: 0,
            left: Tally::of(&declared::WORKERS_LEFT),
            epochs: 0,
            training_starts: 0,
            training_restarts: Tally::of(&declared::TRAINING_RESTARTS),
            checkpoints: 0,
            records: 0,
            commits: Latency::default(),
            ended_streams: Tally::of(&declared::REFUSALS),
        }
    }
}

impl Counts {
    /// A commit of the log took so long.
    pub fn committed(&mut self, took: Duration) {
        self.commits.add(took);
    }

    /// So many leases went out.
    pub fn granted(&mut self, leases: usize) {
        self.granted += leases as u64;
    }

    /// A worker's stream was ended by the core.
    pub fn ended_stream(&mut self, code: Code) {
        self.ended_streams.add(code.as_str());
    }

    /// An event is durable.
    pub fn event(&mut self, event: &Event) {
        self.records += 1;
        // By far the most.
        if let Event::ShardCommitted { .. } = event {
            self.attempts.add("committed");
            return;
        }
        for (_, reason) in event.left() {
            self.left.add(reason.as_str());
        }
        if let Event::AttemptFailed { kind, .. } = event {
            self.attempts.add(kind.as_str());
        } else if let Event::JobSubmitted { .. } = event {
            self.submitted += 1;
        } else if let Event::JobEnded { end, .. } = event {
            self.ended.add(end.as_str());
        } else if let Event::EpochFormed { .. } = event {
            self.epochs += 1;
        } else if let Event::GroupStarted { .. } = event {
            self.training_starts += 1;
        } else if let Event::GroupFailed { cause, .. } = event {
            let hung = cause.code == Code::RankHung.as_str();
            self.training_restarts.add(match cause.charged {
                Charge::Restart if hung => "hung",
                Charge::Restart => "failed",
                Charge::WorkerLost => "worker_lost",
                Charge::Nothing => "departed",
            });
        } else if let Event::GroupStopping { .. } = event {
            self.training_restarts.add("planned");
        } else if let Event::CheckpointCommitted { .. } = event {
            self.checkpoints += 1;
        }
    }
}

/// How often each of a label's values was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// From nothing on: what is declared has a series before it is met.
    pub(super) fn of(metric: &Metric) -> Self {
        let declared = match metric.label.map(|label| label.values) {
            Some(Values::These(values)) => values,
            Some(Values::Codes | Values::Version) | None => &[],
        };
        Self(declared.iter().map(|value| (*value, 0)).collect())
    }

    pub(super) fn add(&mut self, value: &'static str) {
        self.add_many(value, 1);
    }

    pub(super) fn add_many(&mut self, value: &'static str, count: u64) {
        *self.0.entry(value).or_default() += count;
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (value, count) in other.iter() {
            self.add_many(value, count);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(value, count)| (*value, *count))
    }
}

/// How long something took, by buckets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latency {
    buckets: [u64; LOG_COMMIT_BUCKETS.len()],
    pub(super) count: u64,
    pub(super) sum_s: f64,
}

impl Latency {
    pub(super) fn add(&mut self, took: Duration) {
        let took_s = took.as_secs_f64();
        self.count += 1;
        self.sum_s += took_s;
        let mut buckets = LOG_COMMIT_BUCKETS.iter().zip(&mut self.buckets);
        if let Some((_, count)) = buckets.find(|(bound, _)| took_s <= **bound) {
            *count += 1;
        }
    }

    /// Upper bounds, with how many were in each and not in the one before. What was above all is in none.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = LOG_COMMIT_BUCKETS.iter().copied();
        bounds.zip(self.buckets).collect()
    }
}
