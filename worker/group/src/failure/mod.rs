//! What is said of a process that failed by itself.

pub(crate) mod error_file;

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Instant, SystemTime};

use petctl_codes::Code;
use petctl_process::killed_by;
use petctl_proto::v1::RankFailure;
use petctl_text::words::last_line;

use crate::Failure;
use crate::failure::error_file::ErrorFile;

/// Whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) rank: u32,
    pub(crate) local_rank: u32,
    pub(crate) pid: u32,
}

/// It exited with another code than 0, or a signal ended it. `ended` is when that was seen.
pub(crate) fn ended(
    who: Who,
    status: ExitStatus,
    ended: Instant,
    file: Option<&ErrorFile>,
    log_tail: String,
) -> Failure {
    let signal = status.signal().unwrap_or(0);
    let how = match (status.code(), signal) {
        (Some(code), _) => format!("exited with {code}"),
        (None, 0) => "ended in an unknown way".to_owned(),
        (None, signal) => killed_by(signal),
    };
    let message = match file {
        Some(file) => format!("{} ({how})", file.message),
        None => last_line(&log_tail).map_or(how.clone(), |line| format!("{how}: {line}")),
    };
    let code = if signal == 0 {
        Code::RankFailed
    } else {
        Code::RankSignalled
    };
    Failure {
        at: file
            .and_then(|file| raised_at(file, ended))
            .unwrap_or(ended),
        what: RankFailure {
            exit_code: status.code(),
            signal: u32::try_from(signal).unwrap_or(0),
            log_tail,
            ..said(who, code, message)
        },
    }
}

/// It could not be started.
pub(crate) fn not_started(who: Who, message: String) -> Failure {
    Failure {
        at: Instant::now(),
        what: said(who, Code::RankNotStarted, message),
    }
}

fn said(who: Who, code: Code, message: String) -> RankFailure {
    RankFailure {
        rank: who.rank,
        local_rank: who.local_rank,
        pid: who.pid,
        code: code.to_string(),
        message,
        ..RankFailure::default()
    }
}

/// When the exception was raised, by our clock; a time in the future is not believed.
pub(crate) fn raised_at(file: &ErrorFile, ended: Instant) -> Option<Instant> {
    let age = SystemTime::now().duration_since(file.at?).ok()?;
    Instant::now().checked_sub(age).map(|at| at.min(ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const WHO: Who = Who {
        rank: 5,
        local_rank: 1,
        pid: 77,
    };

    fn message(raw: i32, file: Option<&ErrorFile>, tail: &str) -> (String, String) {
        let status = ExitStatus::from_raw(raw);
        let failure = ended(WHO, status, Instant::now(), file, tail.to_owned()).what;
        (failure.code, failure.message)
    }

    #[test]
    fn a_failure_says_the_exception_or_the_last_line_or_the_signal() {
        let file = ErrorFile {
            message: "ValueError: bad".into(),
            at: None,
        };
        let said = |code: &str, message: &str| (code.to_owned(), message.to_owned());
        assert_eq!(
            message(1 << 8, Some(&file), "x"),
            said("RANK_FAILED", "ValueError: bad (exited with 1)")
        );
        assert_eq!(
            message(2 << 8, None, "Traceback\nKeyError: 'a'\n\n"),
            said("RANK_FAILED", "exited with 2: KeyError: 'a'")
        );
        assert_eq!(
            message(11, None, ""),
            said("RANK_SIGNALLED", "killed by SIGSEGV (11)")
        );
    }

    #[test]
    fn a_failure_is_as_old_as_its_exception_but_not_of_the_future() {
        let now = Instant::now();
        let at = |when| {
            let file = ErrorFile {
                message: String::new(),
                at: Some(when),
            };
            raised_at(&file, now)
        };
        let second = Duration::from_secs(1);
        let age = now.duration_since(at(SystemTime::now() - second).unwrap());
        assert!(
            age > Duration::from_millis(900) && age < 2 * second,
            "{age:?}"
        );
        assert_eq!(at(SystemTime::now() + 3_600 * second), None);
    }
}
