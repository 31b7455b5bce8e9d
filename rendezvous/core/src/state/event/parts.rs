//! What events are made of.

use crate::WorkerId;
use serde::{Deserialize, Serialize};

/// A member, as an epoch records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Its process.
    pub worker: WorkerId,
    /// For people.
    pub name: String,
    /// Its host.
    pub host: String,
    /// How other workers reach it; a loopback address: on the coordinator's host.
    pub address: String,
    /// Training processes it starts.
    pub processes: u32,
}

/// Why a member is none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LeaveReason {
    /// Its process died or its stream stayed broken.
    Gone,
    /// It was silent.
    Silent,
    /// It announced its leave.
    Left,
    /// The pool shrank.
    ScaledDown,
    /// It did not come back after the coordinator's restart.
    NotBack,
    /// The job ended.
    JobEnded,
    /// Somebody drained it.
    Drained,
    /// It stays, outside: training goes better without it, or `unit` leaves no place for it.
    LeftOut,
}

impl LeaveReason {
    /// Every reason, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Gone,
        Self::Silent,
        Self::Left,
        Self::ScaledDown,
        Self::NotBack,
        Self::JobEnded,
        Self::Drained,
        Self::LeftOut,
    ];

    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Silent => "silent",
            Self::Left => "left",
            Self::ScaledDown => "scaled_down",
            Self::NotBack => "not_back",
            Self::JobEnded => "job_ended",
            Self::Drained => "drained",
            Self::LeftOut => "left_out",
        }
    }
}

/// The kinds of failure, each with a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureKind {
    /// The command's own.
    Failed,
    /// Ran into `timeout`.
    TimedOut,
    /// Its worker died or went silent.
    WorkerLost,
    /// Disk full, process not startable.
    Infrastructure,
    /// Its worker announced its leave.
    Preempted,
}

impl FailureKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 5] = [
        Self::Failed,
        Self::TimedOut,
        Self::WorkerLost,
        Self::Infrastructure,
        Self::Preempted,
    ];

    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::WorkerLost => "worker_lost",
            Self::Infrastructure => "infrastructure",
            Self::Preempted => "preempted",
        }
    }
}

/// What is known of a failed attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Wall time of the command.
    pub duration_ms: u64,
    /// If it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it; 0: none.
    pub signal: u32,
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Last lines of its log.
    pub log_tail: String,
}

/// A shard's own judgement of its outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// It gave none.
    #[default]
    None,
    /// Its checks passed.
    Pass,
    /// Its checks failed.
    Fail,
    /// There was nothing to check.
    Skipped,
}

impl Verdict {
    /// As it is printed; `None` where it gave none.
    #[must_use]
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Pass => Some("pass"),
            Self::Fail => Some("fail"),
            Self::Skipped => Some("skipped"),
        }
    }
}
