//! What a coordinator refuses, as an error of the launcher.

use petctl_proto::Refusal;
use petctl_ui::error::{Code, Error};
use petctl_ui::exit::Exit;
use tonic::Status;

/// A status as an error: a coordinator's refusal, or what stands between says something else.
pub fn refusal(address: &str, status: &Status) -> Error {
    if let Some(refusal) = Refusal::of(status) {
        let exit = exit_of(refusal.known(), status.code());
        return Error::foreign(refusal.code, exit, refusal.sentence);
    }
    if is_lost(status) {
        return crate::client::unreachable(address).because(status_cause(status).as_ref());
    }
    match status.code() {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => Error::new(
            Code::Unauthenticated,
            format!("{address} does not accept this token"),
        )
        .fix("give the token of that coordinator by --token-file"),
        tonic::Code::Unimplemented => Error::new(
            Code::NotACoordinator,
            format!("{address} is no coordinator, or one of another version"),
        )
        .fix("check the address, and that both sides are of the same version (`petctl --version`)"),
        tonic::Code::Ok
        | tonic::Code::Cancelled
        | tonic::Code::Unknown
        | tonic::Code::InvalidArgument
        | tonic::Code::DeadlineExceeded
        | tonic::Code::NotFound
        | tonic::Code::AlreadyExists
        | tonic::Code::ResourceExhausted
        | tonic::Code::FailedPrecondition
        | tonic::Code::Aborted
        | tonic::Code::OutOfRange
        | tonic::Code::Internal
        | tonic::Code::Unavailable
        | tonic::Code::DataLoss => {
            let what = format!(
                "{address} answered in a way no coordinator does ({:?})",
                status.code()
            );
            let error =
                Error::new(Code::NotACoordinator, what).because(status_cause(status).as_ref());
            error.fix("check the address: it must be that of a petctl coordinator")
        }
    }
}

/// Whether the connection is gone, rather than the request refused: the same may work in a moment.
pub fn is_lost(status: &Status) -> bool {
    use std::error::Error as _;
    if Refusal::of(status).is_some() {
        return status.code() == tonic::Code::Unavailable;
    }
    match status.code() {
        tonic::Code::Unavailable => true,
        // A connection that breaks in the middle of an answer has no code of its own.
        tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::Cancelled => {
            status.source().is_some()
        }
        tonic::Code::Ok
        | tonic::Code::InvalidArgument
        | tonic::Code::DeadlineExceeded
        | tonic::Code::NotFound
        | tonic::Code::AlreadyExists
        | tonic::Code::PermissionDenied
        | tonic::Code::ResourceExhausted
        | tonic::Code::FailedPrecondition
        | tonic::Code::Aborted
        | tonic::Code::OutOfRange
        | tonic::Code::Unimplemented
        | tonic::Code::DataLoss
        | tonic::Code::Unauthenticated => false,
    }
}

/// Whether nobody answered, so that the same may work in a moment.
pub fn is_away(error: &Error) -> bool {
    let codes = [
        Code::CoordinatorUnreachable,
        Code::CoordinatorStopped,
        Code::CoordinatorStarting,
        Code::ClusterUnreachable,
    ];
    codes.iter().any(|code| code.as_str() == error.code())
}

/// The coordinator has gone in the middle of a job.
pub fn stopped() -> Error {
    Error::new(Code::CoordinatorStopped, "the coordinator stopped")
        .fix("run the same command again to go on")
}

fn status_cause(status: &Status) -> Box<dyn std::error::Error + 'static> {
    let text: String = status
        .message()
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect();
    if text.is_empty() {
        format!("{:?}", status.code()).into()
    } else {
        text.into()
    }
}

fn exit_of(code: Option<Code>, grpc: tonic::Code) -> Exit {
    match code {
        // Of a call that was refused, the code says less than the call: the job's own end has the exit of the catalogue.
        Some(Code::JobCancelled) => Exit::Unreachable,
        Some(Code::CoordinatorBug) | None => exit_of_grpc(grpc),
        Some(code) => code.exit().unwrap_or_else(|| exit_of_grpc(grpc)),
    }
}

fn exit_of_grpc(code: tonic::Code) -> Exit {
    match code {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => Exit::NotAllowed,
        tonic::Code::NotFound => Exit::NoSuchJob,
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Exit::BadJobFile,
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => {
            Exit::Unreachable
        }
        tonic::Code::ResourceExhausted | tonic::Code::Aborted => Exit::TryAgain,
        tonic::Code::AlreadyExists
        | tonic::Code::FailedPrecondition
        | tonic::Code::Unimplemented => Exit::BadConfiguration,
        tonic::Code::Ok | tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::DataLoss => {
            Exit::Bug
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_coordinator_are_kept() {
        for (code, grpc, exit) in [
            (Code::NoSuchJob, tonic::Code::NotFound, Exit::NoSuchJob),
            (
                Code::JobRunning,
                tonic::Code::FailedPrecondition,
                Exit::TryAgain,
            ),
            (
                Code::TokenWrong,
                tonic::Code::Unauthenticated,
                Exit::NotAllowed,
            ),
            (Code::BadMessage, tonic::Code::InvalidArgument, Exit::Usage),
        ] {
            let status = petctl_proto::refusal(code, grpc, "why: it is so");
            let error = refusal("http://h:1", &status);
            assert_eq!((error.code(), error.exit()), (code.as_str(), exit));
            assert!(error.to_string().contains("why: it is so"), "{error}");
        }
    }

    #[test]
    fn what_no_coordinator_says_is_told_by_its_grpc_code() {
        for (status, code, exit) in [
            (
                Status::unauthenticated("no"),
                Code::Unauthenticated,
                Exit::NotAllowed,
            ),
            (
                Status::unavailable("connection refused"),
                Code::CoordinatorUnreachable,
                Exit::Unreachable,
            ),
            (
                Status::unknown("<html>"),
                Code::NotACoordinator,
                Exit::Unreachable,
            ),
        ] {
            let error = refusal("http://h:1", &status);
            assert_eq!((error.code(), error.exit()), (code.as_str(), exit));
        }
    }
}
