//! What a coordinator refuses, as an error of the launcher.

use petctl_ui::error::{Code, Error};
use petctl_ui::exit::Exit;
use tonic::Status;

/// A status as an error. Coordinators say "CODE: sentence"; what stands between says something else.
pub fn refusal(address: &str, status: &Status) -> Error {
    if let Some((code, message)) = split_code(status.message()) {
        return Error::foreign(code, exit_of(code, status.code()), message);
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
    if split_code(status.message()).is_some() {
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
    let codes = [Code::CoordinatorUnreachable, Code::CoordinatorStopped];
    codes.iter().any(|code| code.as_str() == error.code())
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

fn split_code(message: &str) -> Option<(&str, &str)> {
    let (code, sentence) = message.split_once(": ")?;
    let is_code = code.len() >= 4
        && code
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    is_code.then_some((code, sentence))
}

fn exit_of(code: &str, grpc: tonic::Code) -> Exit {
    match Code::parse(code) {
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
        for (status, code, exit) in [
            (
                Status::not_found("NO_SUCH_JOB: there is no job x"),
                "NO_SUCH_JOB",
                Exit::NoSuchJob,
            ),
            (
                Status::failed_precondition("JOB_RUNNING: it runs"),
                "JOB_RUNNING",
                Exit::TryAgain,
            ),
            (
                Status::unauthenticated("UNAUTHENTICATED: wrong token"),
                "UNAUTHENTICATED",
                Exit::NotAllowed,
            ),
            (
                Status::invalid_argument("BAD_MESSAGE: a reason has control characters"),
                "BAD_MESSAGE",
                Exit::Usage,
            ),
            (
                Status::unauthenticated("no"),
                "UNAUTHENTICATED",
                Exit::NotAllowed,
            ),
            (
                Status::unavailable("connection refused"),
                "COORDINATOR_UNREACHABLE",
                Exit::Unreachable,
            ),
            (
                Status::unknown("<html>"),
                "NOT_A_COORDINATOR",
                Exit::Unreachable,
            ),
        ] {
            let error = refusal("http://h:1", &status);
            assert_eq!((error.code(), error.exit()), (code, exit));
        }
    }
}
