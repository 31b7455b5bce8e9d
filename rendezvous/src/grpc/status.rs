//! Refusals as gRPC statuses: "CODE: sentence".

use crate::driver::NotAnswered;
use petctl_core::{Code, Refusal};
use std::fmt::Display;
use tonic::Status;

/// A refusal of the core.
pub(crate) fn status_of(refusal: &Refusal) -> Status {
    Status::new(
        grpc_code(refusal.code),
        format!("{}: {}", refusal.code, refusal.message),
    )
}

/// A message that makes no sense.
pub(super) fn bad(code: &str, why: impl Display) -> Status {
    Status::invalid_argument(format!("{code}: {why}"))
}

impl From<NotAnswered> for Status {
    fn from(error: NotAnswered) -> Self {
        match &error {
            NotAnswered::Refused(refusal) => status_of(refusal),
            NotAnswered::Stopped => Self::unavailable(format!("{}: {error}", error.code())),
        }
    }
}

fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::NoSuchJob | Code::NoSuchShard | Code::NoSuchWorker => tonic::Code::NotFound,
        Code::JobExists | Code::WorkerNameTaken => tonic::Code::AlreadyExists,
        Code::TooManyJobs | Code::TooManyWorkers => tonic::Code::ResourceExhausted,
        Code::BadSubmission | Code::BadScale => tonic::Code::InvalidArgument,
        Code::StreamSuperseded | Code::StaleEpoch | Code::LeaseLost | Code::JobCancelled => {
            tonic::Code::Aborted
        }
        Code::WorkerSilent | Code::WorkerGone | Code::Draining | Code::Recovering => {
            tonic::Code::Unavailable
        }
        Code::Interrupted
        | Code::JobRunning
        | Code::JobEnded
        | Code::ScaledDown
        | Code::BelowMin
        | Code::NeedsPending
        | Code::BackingOff
        | Code::NeedsFailed
        | Code::NoWorkerFits
        | Code::SlotsBusy
        | Code::Quarantined
        | Code::Rebalanced
        | Code::Overtaken
        | Code::StaleOutput
        | Code::LauncherAway
        | Code::SetupFailed
        | Code::Running
        | Code::Committed
        | Code::VerdictFail
        | Code::Suspended
        | Code::StageDeadline
        | Code::Gathering
        | Code::Preparing
        | Code::Stopping
        | Code::WaitsForCheckpoint
        | Code::WorkerLeftOut
        | Code::PreflightFailed
        | Code::StillStopping
        | Code::RankHung
        | Code::Straggler
        | Code::GroupFailed
        | Code::MembershipChanged
        | Code::Training
        | Code::Ready => tonic::Code::FailedPrecondition,
    }
}
