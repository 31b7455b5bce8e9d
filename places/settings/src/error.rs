//! What can be wrong with the settings of places.

use petctl_codes::Code;
use petctl_keyed::FileErrors;
use std::error::Error;
use std::fmt;
use std::io;

/// Answer of everything that can fail here.
pub type Result<T, E = SettingsError> = std::result::Result<T, E>;

/// What is wrong with the settings.
#[derive(Debug)]
pub enum SettingsError {
    /// A file, or what overrides it, says something wrong: each thing with its place.
    File(Box<FileErrors>),
    /// One thing.
    One(Box<Fault>),
}

/// One thing that is wrong.
#[derive(Debug)]
pub struct Fault {
    /// Its code.
    pub code: Code,
    /// What is wrong, and where.
    pub message: String,
    /// What the system said.
    pub cause: Option<io::Error>,
    /// What to do.
    pub fix: String,
}

impl SettingsError {
    pub(crate) fn new(code: Code, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::One(Box::new(Fault {
            code,
            message: message.into(),
            cause: None,
            fix: fix.into(),
        }))
    }

    pub(crate) fn because(mut self, cause: io::Error) -> Self {
        if let Self::One(fault) = &mut self {
            fault.cause = Some(cause);
        }
        self
    }

    /// The stable code; of a file's errors the first one's.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::File(errors) => errors
                .errors()
                .first()
                .map_or(Code::BadPlace, |error| error.code),
            Self::One(fault) => fault.code,
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(errors) => errors.fmt(f),
            Self::One(fault) => write!(f, "{}\n  fix: {}", fault.message, fault.fix),
        }
    }
}

impl Error for SettingsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::File(_) => None,
            Self::One(fault) => fault.cause.as_ref().map(|cause| cause as _),
        }
    }
}
