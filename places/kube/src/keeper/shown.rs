//! How a job stands, written on its Job for those who look at the cluster with `kubectl`. Pure.
//!
//! It is written when it has changed, never again and again: a job about which nothing new is to be said costs no call.

use crate::names::{REASON, STAGE, STATE};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use petctl_core::Standings;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Longest part of a reason that is written.
const MAX_CHARS: usize = 500;
/// Between two writings, in seconds: what changes faster is told when it has settled.
const EVERY_S: i64 = 5;
/// A sentence of which only numbers change is written when they have stood still for this long, in seconds. Those of a
/// countdown never do.
const SETTLED_S: i64 = 10;

/// What stands on a Job, or is to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    state: Option<String>,
    stage: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

impl Shown {
    /// How a job stands.
    pub(super) fn of(standing: &Standings) -> Self {
        let reason = standing.reason.as_ref();
        Self {
            state: Some(standing.state.as_str().to_owned()),
            stage: standing.stage.clone(),
            code: reason.map(|reason| reason.code.clone()),
            message: reason.map(|reason| reason.message.chars().take(MAX_CHARS).collect()),
        }
    }

    /// What stands on a Job.
    pub(super) fn on(job: &Job) -> Self {
        let of = |all: Option<&BTreeMap<String, String>>, name: &str| all?.get(name).cloned();
        let (labels, annotations) = (&job.metadata.labels, &job.metadata.annotations);
        let label = |name: &str| of(labels.as_ref(), name);
        Self {
            state: label(STATE),
            stage: label(STAGE),
            code: label(REASON),
            message: of(annotations.as_ref(), REASON),
        }
    }

    /// The change of a Job that writes it there; what is not to be said any more goes.
    pub(super) fn change(&self) -> Value {
        json!({ "metadata": {
            "labels": { STATE: self.state, STAGE: self.stage, REASON: self.code },
            "annotations": { REASON: self.message },
        } })
    }

    /// Whether it says the same but for numbers.
    fn is_like(&self, other: &Self) -> bool {
        let words = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            text.replace(|c: char| c.is_ascii_digit(), "")
        };
        let same =
            (&self.state, &self.stage, &self.code) == (&other.state, &other.stage, &other.code);
        same && words(&self.message) == words(&other.message)
    }
}

/// When something was written, and when what is to be written changed last.
#[derive(Clone, Debug, Default)]
pub(super) struct Writing {
    wanted: Shown,
    since: Option<Timestamp>,
    written: Option<Timestamp>,
}

impl Writing {
    /// Whether it is to be written now that a job stands so, where this stands on its Job. It is taken for written.
    pub(super) fn is_due(&mut self, now: Timestamp, wanted: &Shown, there: &Shown) -> bool {
        let age_s = |at: Timestamp| now.as_second() - at.as_second();
        if self.wanted != *wanted {
            self.wanted = wanted.clone();
            self.since = Some(now);
        }
        let rests = self.written.is_some_and(|at| age_s(at) < EVERY_S);
        if wanted == there || rests {
            return false;
        }
        let settled = self.since.is_some_and(|at| age_s(at) >= SETTLED_S);
        if wanted.is_like(there) && !settled {
            return false;
        }
        self.written = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_core::{JobState, Reason};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn shown(state: JobState, message: &str) -> Shown {
        Shown::of(&Standings {
            state,
            stage: Some("resim".to_owned()),
            reason: (!message.is_empty()).then(|| Reason {
                code: "POD_STARTING".to_owned(),
                message: message.to_owned(),
            }),
        })
    }

    #[test]
    fn what_stands_there_is_not_written_again_and_what_is_new_is_at_once() {
        let mut writing = Writing::default();
        let waits = shown(JobState::Waiting, "2 of 2 pods are being made");
        assert!(writing.is_due(at(0), &waits, &Shown::default()));
        for second in 1..100 {
            assert!(!writing.is_due(at(second), &waits, &waits), "{second}");
        }
        let runs = shown(JobState::Running, "");
        assert!(writing.is_due(at(100), &runs, &waits));
        // One that flickers is written no more often than that.
        let changes = (101..161).filter(|second| {
            let (wanted, there) = if second % 2 == 0 {
                (&runs, &waits)
            } else {
                (&waits, &runs)
            };
            writing.is_due(at(*second), wanted, there)
        });
        assert_eq!(changes.count(), 12);
    }

    #[test]
    fn numbers_are_written_when_they_stand_still_and_a_countdown_never_is() {
        let mut writing = Writing::default();
        let first = shown(JobState::Waiting, "the next in 60 s");
        assert!(writing.is_due(at(0), &first, &Shown::default()));
        for second in 1..60 {
            let next = shown(JobState::Waiting, &format!("the next in {} s", 60 - second));
            assert!(!writing.is_due(at(second), &next, &first), "{second}");
        }
        let stands = shown(JobState::Waiting, "the next in 0 s");
        let due = (60..200).find(|second| writing.is_due(at(*second), &stands, &first));
        assert_eq!(due, Some(70));
    }

    #[test]
    fn what_was_written_is_read_and_what_is_over_goes() {
        let waits = shown(JobState::Waiting, "2 of 2 pods are being made");
        let job: Job = serde_json::from_value(waits.change()).unwrap();
        assert_eq!(Shown::on(&job), waits);
        let change = shown(JobState::Running, "").change();
        assert_eq!(change["metadata"]["labels"][STATE], "running");
        assert!(change["metadata"]["labels"][REASON].is_null());
        assert!(change["metadata"]["annotations"][REASON].is_null());
    }
}
