//! Refusals as gRPC statuses.

use crate::driver::NotAnswered;
use petctl_codes::Code;
use petctl_core::Refusal;
use std::fmt::Display;
use tonic::Status;

/// A refusal of the core.
pub(crate) fn status_of(refusal: &Refusal) -> Status {
    refused(refusal.code, grpc_code(refusal.code), &refusal.message)
}

/// A refusal of the server itself.
pub(crate) fn refused(code: Code, grpc: tonic::Code, sentence: impl Display) -> Status {
    petctl_proto::refusal(code, grpc, sentence.to_string())
}

/// A message that makes no sense.
pub(super) fn bad(code: Code, why: impl Display) -> Status {
    refused(code, tonic::Code::InvalidArgument, why)
}

impl From<NotAnswered> for Status {
    fn from(error: NotAnswered) -> Self {
        match &error {
            NotAnswered::Refused(refusal) => status_of(refusal),
            NotAnswered::Stopped => refused(error.code(), tonic::Code::Unavailable, &error),
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
