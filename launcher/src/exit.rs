//! Exit codes: what a script can tell from how petctl ended.

use petctl_proto::v1::JobState;
use std::process::ExitCode;

/// How petctl ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The job succeeded, or the command did what was asked.
    Success,
    /// The job failed.
    JobFailed,
    /// The command line is wrong.
    Usage,
    /// The job was cancelled.
    Cancelled,
    /// The job file is wrong, or names shards that are not there.
    BadJobFile,
    /// There is no such job.
    NoSuchJob,
    /// The coordinator can't be reached, or the job is not running.
    Unreachable,
    /// petctl itself is wrong.
    Bug,
    /// It may work later: the same command again.
    TryAgain,
    /// A token is missing or wrong, or the system says no.
    NotAllowed,
    /// Folders, addresses or settings are wrong.
    BadConfiguration,
    /// `--timeout` passed.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl Exit {
    /// All of them.
    pub(crate) const ALL: &'static [Self] = &[
        Self::Success,
        Self::JobFailed,
        Self::Usage,
        Self::Cancelled,
        Self::BadJobFile,
        Self::NoSuchJob,
        Self::Unreachable,
        Self::Bug,
        Self::TryAgain,
        Self::NotAllowed,
        Self::BadConfiguration,
        Self::TimedOut,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::JobFailed => 1,
            Self::Usage => 2,
            Self::Cancelled => 3,
            Self::BadJobFile => 65,
            Self::NoSuchJob => 66,
            Self::Unreachable => 69,
            Self::Bug => 70,
            Self::TryAgain => 75,
            Self::NotAllowed => 77,
            Self::BadConfiguration => 78,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// How a job in this state ends a command that shows it. A job that goes on is no failure; one that was
    /// interrupted can go on, but nobody works on it.
    #[must_use]
    pub fn of_job(state: JobState) -> Self {
        match state {
            JobState::Unspecified
            | JobState::Waiting
            | JobState::Running
            | JobState::Suspended
            | JobState::Succeeded => Self::Success,
            JobState::Failed => Self::JobFailed,
            JobState::Cancelling | JobState::Cancelled => Self::Cancelled,
            JobState::Interrupted => Self::TryAgain,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// Said by `petctl --help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    succeeded
  1    the job failed
  2    the command line is wrong
  3    the job was cancelled
  65   bad job file, or no shards
  66   no such job
  69   the coordinator can't be reached, or the job is not running
  70   a bug in petctl
  75   not now: the same command may work later
  77   not allowed: token missing or wrong
  78   bad configuration: folders, addresses, settings
  124  --timeout passed
  130  Ctrl-C; 143 SIGTERM";
