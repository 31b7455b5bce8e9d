//! Refusals as gRPC statuses: "CODE: sentence".

use crate::driver::NotAnswered;
use petctl_codes::Code;
use petctl_core::Refusal;
use std::fmt::Display;
use tonic::Status;

/// A refusal of the core.
pub(crate) fn status_of(refusal: &Refusal) -> Status {
    Status::new(
        grpc_code(refusal.code),
        coded(refusal.code, &refusal.message),
    )
}

/// How a code and its sentence go over the wire.
pub(crate) fn coded(code: impl Display, sentence: impl Display) -> String {
    format!("{code}: {sentence}")
}

/// A message that makes no sense.
pub(super) fn bad(code: impl Display, why: impl Display) -> Status {
    Status::invalid_argument(coded(code, why))
}

impl From<NotAnswered> for Status {
    fn from(error: NotAnswered) -> Self {
        match &error {
            NotAnswered::Refused(refusal) => status_of(refusal),
            NotAnswered::Stopped => Self::unavailable(coded(error.code(), &error)),
        }
    }
}

/// Codes of refusals by the gRPC code that programs see; all others are failed preconditions.
const GRPC_CODES: [(tonic::Code, &[Code]); 6] = [
    (
        tonic::Code::NotFound,
        &[Code::NoSuchJob, Code::NoSuchShard, Code::NoSuchWorker],
    ),
    (
        tonic::Code::AlreadyExists,
        &[Code::JobExists, Code::WorkerNameTaken],
    ),
    (
        tonic::Code::ResourceExhausted,
        &[Code::TooManyJobs, Code::TooManyWorkers],
    ),
    (
        tonic::Code::InvalidArgument,
        &[Code::BadSubmission, Code::BadScale],
    ),
    (
        tonic::Code::Aborted,
        &[
            Code::StreamSuperseded,
            Code::StaleEpoch,
            Code::LeaseLost,
            Code::JobCancelled,
        ],
    ),
    (
        tonic::Code::Unavailable,
        &[
            Code::WorkerSilent,
            Code::WorkerGone,
            Code::CoordinatorDraining,
            Code::Recovering,
        ],
    ),
];

fn grpc_code(code: Code) -> tonic::Code {
    let found = GRPC_CODES.iter().find(|(_, codes)| codes.contains(&code));
    found.map_or(tonic::Code::FailedPrecondition, |(grpc, _)| *grpc)
}
