//! Every metric of a coordinator, once. Its output, and the tables of docs/metrics.md, are held to this file by tests.
//!
//! None has a label whose values somebody else chooses, names of jobs among them: however many jobs and workers there
//! are, the series are these.

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As it is scraped: its unit stands at its end, and behind that `_total` where it is a counter.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// In what it is measured; `None`: it is a number of things.
    pub unit: Option<&'static str>,
    /// What tells its series apart.
    pub label: Option<Label>,
    /// What it says.
    pub help: &'static str,
    /// It is there only where the coordinator keeps the pods of its jobs.
    pub of_keeper: bool,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How it is now.
    Gauge,
    /// How much there was since the coordinator's start.
    Counter,
    /// How long things took since the coordinator's start.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// What tells the series of a metric apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub values: Values,
}

/// What a label may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these; each has a series from the start on.
    These(&'static [&'static str]),
    /// A code of docs/errors; it has a series once it was met.
    Codes,
    /// The version of petctl: one series.
    Version,
}

const fn metric(kind: Kind, name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        unit: None,
        label: None,
        help,
        of_keeper: false,
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    metric(Kind::Gauge, name, help)
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    metric(Kind::Counter, name, help)
}

impl Metric {
    const fn in_seconds(mut self) -> Self {
        self.unit = Some("seconds");
        self
    }

    const fn by(mut self, name: &'static str, values: Values) -> Self {
        self.label = Some(Label { name, values });
        self
    }

    const fn of_keeper(mut self) -> Self {
        self.of_keeper = true;
        self
    }
}

macro_rules! metrics {
    ($($id:ident = $metric:expr;)*) => {
        $(#[doc = "See its `help`."] pub static $id: Metric = $metric;)*

        /// All of them, in the order in which they are shown.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

use Values::{Codes, These, Version};

metrics! {
    JOBS = gauge("petctl_jobs", "Jobs that are remembered, ended ones too")
        .by("state", These(&[
            "waiting", "running", "suspended", "cancelling", "interrupted", "succeeded", "failed", "cancelled",
        ]));
    JOBS_SUBMITTED = counter("petctl_jobs_submitted_total", "Jobs that were accepted, new versions of a job too");
    JOBS_ENDED = counter("petctl_jobs_ended_total", "Jobs that have ended")
        .by("state", These(&["succeeded", "failed", "cancelled"]));
    SHARDS = gauge("petctl_shards", "Shards of the jobs that have not ended; a training is one")
        .by("state", These(&[
            "blocked", "ready", "running", "backoff", "done", "failed", "cancelled", "skipped",
        ]));
    ATTEMPTS = counter("petctl_attempts_total", "Attempts at shards that have ended")
        .by("outcome", These(&[
            "committed", "failed", "timed_out", "worker_lost", "infrastructure", "preempted",
        ]));
    LEASES = gauge("petctl_leases", "Leases that are out: shards that workers hold");
    LEASES_GRANTED = counter("petctl_leases_granted_total", "Leases that were given out");

    WORKERS = gauge("petctl_workers", "Workers; those whose stream is broken are silent, whatever they did")
        .by("state", These(&["member", "draining", "free", "local", "silent"]));
    WORKERS_WANTED = gauge("petctl_workers_wanted", "Workers that the jobs want which have not ended");
    WORKERS_LEFT = counter("petctl_workers_left_total", "Workers that left a job's pool")
        .by("reason", These(&[
            "gone", "silent", "left", "scaled_down", "not_back", "job_ended", "drained", "left_out",
        ]));
    EPOCHS = counter("petctl_epochs_total", "Epochs that were formed: new memberships of pools");
    TRAINING_STARTS = counter("petctl_training_starts_total", "Starts of training groups, the first ones too");
    TRAINING_RESTARTS = counter("petctl_training_restarts_total", "Stops of running training groups, by cause")
        .by("cause", These(&["failed", "hung", "worker_lost", "departed", "planned"]));
    CHECKPOINTS = counter("petctl_checkpoints_total", "Checkpoints that were committed");

    BUILD_INFO = gauge("petctl_build_info", "Always 1").by("version", Version);
    UPTIME = gauge("petctl_uptime_seconds", "Time since the coordinator's start").in_seconds();
    STARTS = counter("petctl_starts_total", "Starts of coordinators on this state, all that there were");
    LOG_COMMIT = metric(Kind::Histogram, "petctl_log_commit_seconds", "Time until decisions were durable")
        .in_seconds();
    LOG_RECORDS = counter("petctl_log_records_total", "Events that were made durable");
    REFUSALS = counter("petctl_refusals_total", "Calls that were refused, and workers' streams that were ended")
        .by("code", Codes);

    KEEPER_REQUESTS = counter("petctl_keeper_requests_total", "Requests to the API server of the cluster")
        .by("verb", These(&["get", "watch", "create", "patch", "delete", "other"]))
        .of_keeper();
    KEEPER_PODS_WANTED = gauge("petctl_keeper_pods_wanted", "Pods that the Jobs of the coordinator's jobs ask for")
        .of_keeper();
    KEEPER_PODS = gauge("petctl_keeper_pods", "Pods of the coordinator's jobs")
        .by("state", These(&["pending", "running", "ending", "ended"]))
        .of_keeper();
}

/// Upper bounds of the buckets of [`LOG_COMMIT`], in seconds: a commit waits for one sync of the disk.
pub(super) const LOG_COMMIT_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_core::{EndState, FailureKind, JobState, LeaveReason};
    use std::collections::BTreeSet;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(names.insert(name), "{name} is declared twice");
            let rest = name.strip_prefix("petctl_").expect("petctl's own");
            let of_letters = rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(of_letters, "{name}");
            let is_counter = metric.kind == Kind::Counter;
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            if let Some(unit) = metric.unit {
                let name = name.trim_end_matches("_total");
                assert!(name.ends_with(&format!("_{unit}")), "{name}");
            }
            assert!(!metric.help.ends_with('.'), "{name}: the encoder adds it");
        }
    }

    #[track_caller]
    fn has_exactly(metric: &Metric, values: impl IntoIterator<Item = &'static str>) {
        let label = metric.label.expect("it has a label");
        let These(declared) = label.values else {
            panic!("{} declares no values", metric.name)
        };
        let declared: BTreeSet<&str> = declared.iter().copied().collect();
        assert_eq!(declared, values.into_iter().collect(), "{}", metric.name);
    }

    #[test]
    fn labels_are_what_the_core_calls_things() {
        has_exactly(&JOBS, JobState::ALL.map(JobState::as_str));
        let ends = [EndState::Succeeded, EndState::Failed, EndState::Cancelled];
        has_exactly(&JOBS_ENDED, ends.map(EndState::as_str));
        has_exactly(&WORKERS_LEFT, LeaveReason::ALL.map(LeaveReason::as_str));
        let kinds = FailureKind::ALL.map(FailureKind::as_str);
        has_exactly(&ATTEMPTS, kinds.into_iter().chain(["committed"]));
    }
}
