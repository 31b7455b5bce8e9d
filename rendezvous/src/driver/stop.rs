//! Why a coordinator stopped.

use crate::event_log::LogError;
use petctl_codes::Code;
use std::fmt;
use std::sync::Arc;

/// Why a coordinator stopped.
#[derive(Clone, Debug)]
pub enum StopReason {
    /// It was told to.
    Requested,
    /// Its log can't be written. What it did not acknowledge is lost, nothing else.
    EventLog(Arc<LogError>),
    /// Its thread or its server ended by itself.
    Bug(String),
}

impl StopReason {
    /// Stable code; `None` where nothing is wrong.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Requested => None,
            Self::EventLog(error) => Some(error.code()),
            Self::Bug(_) => Some(Code::CoordinatorBug),
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("it was told to stop"),
            Self::EventLog(error) => error.fmt(f),
            Self::Bug(what) => write!(
                f,
                "{what}; this is a bug of petctl, please report it with the log"
            ),
        }
    }
}
