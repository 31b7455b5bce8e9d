//! Why a worker ended that was to go on, for the person who started it.

use petctl_ui::terminal::duration;
use petctl_ui::{Code, Error, Exit};
use petctl_worker::WorkerError;

/// The error of a worker's own process.
#[must_use]
pub fn worker_error(error: &WorkerError) -> Error {
    match error {
        WorkerError::BadOption { what, fix } => {
            Error::foreign(error.code(), Exit::Usage, what).fix(*fix)
        }
        WorkerError::CoordinatorLost {
            address,
            waited,
            cause,
        } => {
            let waited = duration(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
            let message = format!("no coordinator at {address} for {waited}");
            Error::foreign(error.code(), Exit::Unreachable, message)
                .because(&std::io::Error::other(cause.clone()))
                .fix("check that it runs, and that the address is right")
        }
        WorkerError::Untrusted { why, .. } => {
            Error::new(why.code(), error.to_string()).fix(why.fix())
        }
        WorkerError::System { source, .. } => {
            Error::foreign(error.code(), Exit::TryAgain, error.to_string())
                .because(source)
                .fix("look at the limits on processes and open files (`ulimit -a`)")
        }
        WorkerError::Refused {
            address,
            code,
            message,
        } => refused(address, code, message),
    }
}

/// A refusal. The coordinator's sentences end with "; what to do", or say only what is wrong.
fn refused(address: &str, code: &str, message: &str) -> Error {
    if !code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
        // No coordinator's word, but that of gRPC.
        let what = format!("{address} is no coordinator, or one of another version");
        return Error::new(Code::NotACoordinator, what)
            .because(&std::io::Error::other(format!("{code}: {message}")))
            .fix("check the address, and that both sides are of the same version (`petctl --version`)");
    }
    let is_one_of = |codes: &[Code]| codes.iter().any(|known| known.as_str() == code);
    let exit = if is_one_of(&[Code::TokenMissing, Code::TokenWrong, Code::TokenOfOtherJob]) {
        Exit::NotAllowed
    } else if is_one_of(&[
        Code::ProtocolMismatch,
        Code::TlsRequired,
        Code::WorkerNameTaken,
    ]) {
        Exit::BadConfiguration
    } else {
        Exit::TryAgain
    };
    let (what, fix) = message
        .split_once("; ")
        .unwrap_or((message, "use one version of petctl everywhere (`petctl --version`); if it is the same, report this as a bug"));
    let what = format!("the coordinator at {address} refused this worker: {what}");
    Error::foreign(code, exit, what).fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_code_once_with_what_to_do_and_its_exit_code() {
        for (code, message, exit) in [
            (
                "TOKEN_WRONG",
                "it is another's; give the right one",
                Exit::NotAllowed,
            ),
            (
                "PROTOCOL_MISMATCH",
                "the worker speaks another version; use one",
                Exit::BadConfiguration,
            ),
            (
                "WORKER_NAME_TAKEN",
                "a worker called `w` is connected; use another",
                Exit::BadConfiguration,
            ),
            (
                "BAD_MESSAGE",
                "a worker's name has 1 to 255 bytes",
                Exit::TryAgain,
            ),
            ("Unimplemented", "no such thing", Exit::Unreachable),
        ] {
            let error = worker_error(&WorkerError::Refused {
                address: "http://h:1".to_owned(),
                code: code.to_owned(),
                message: message.to_owned(),
            });
            let said = error.to_string();
            assert_eq!(error.exit(), exit, "{said}");
            assert_eq!(said.matches(code).count(), 1, "{said}");
            assert!(said.contains("\n  fix: "), "{said}");
        }
    }
}
