//! Exit codes: what a script can tell from how petctl ended.

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
    pub const ALL: &'static [Self] = &[
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
    pub const fn number(self) -> u8 {
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

    /// The one with that number; `None` where petctl never ends so.
    #[must_use]
    pub fn of_number(number: i32) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|exit| i32::from(exit.number()) == number)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
