//! What can go wrong with a store, told so that a user knows what to do.

use petctl_codes::Code;
use std::fmt;

/// An operation on a store failed for good: what is worth a retry has been retried.
#[derive(Debug)]
pub struct StorageError {
    /// What kind of failure it is.
    pub problem: StorageProblem,
    /// One sentence: what was tried, on which name, and what the service or the system said. Holds no secret.
    pub message: String,
    /// What to do; empty where there is nothing to say.
    pub fix: String,
    /// Azure's own error code, such as `AuthorizationPermissionMismatch`; empty where there is none.
    pub service_code: String,
}

/// Kinds of failure, each with a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageProblem {
    /// The container, folder or blob is not there.
    NotFound,
    /// The credential may not do this; where a SAS lacks a permission, the message names it.
    Denied,
    /// A single name is in a state that does not allow it: archived, leased, kept by a policy.
    Blocked,
    /// The SAS is over, or not valid yet.
    Expired,
    /// No credential was found, or it can't be read.
    NoCredential,
    /// An address, container or blob name that the service refuses.
    BadName,
    /// What is there changed while it was worked with: its ETag is another one.
    Changed,
    /// Bytes arrived that are not those that were sent: a checksum does not hold.
    Corrupt,
    /// The local disk, or the account's quota, is full.
    Full,
    /// The service can't be reached, or went on failing through all retries.
    Unavailable,
    /// A local file or folder can't be read or written.
    Local,
    /// Something that the service should not say.
    Unexpected,
}

impl StorageProblem {
    /// Stable code; each has a page in docs/errors.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::NotFound => Code::StorageNotFound,
            Self::Denied => Code::StorageDenied,
            Self::Blocked => Code::StorageBlocked,
            Self::Expired => Code::StorageExpired,
            Self::NoCredential => Code::StorageNoCredential,
            Self::BadName => Code::StorageBadName,
            Self::Changed => Code::StorageChanged,
            Self::Corrupt => Code::StorageCorrupt,
            Self::Full => Code::DiskFull,
            Self::Unavailable => Code::StorageUnavailable,
            Self::Local => Code::StorageLocal,
            Self::Unexpected => Code::StorageUnexpected,
        }
    }

    /// Whether the next file would fail alike.
    #[must_use]
    pub fn stops_everything(self) -> bool {
        match self {
            Self::Denied | Self::Expired | Self::NoCredential | Self::Full | Self::Unavailable => {
                true
            }
            Self::NotFound
            | Self::Blocked
            | Self::BadName
            | Self::Changed
            | Self::Corrupt
            | Self::Local
            | Self::Unexpected => false,
        }
    }
}

impl StorageError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.problem.code()
    }

    /// Whether the same request may succeed later though nobody changes anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self.problem {
            StorageProblem::Changed
            | StorageProblem::Corrupt
            | StorageProblem::Full
            | StorageProblem::Unavailable => true,
            StorageProblem::Blocked => {
                self.service_code == "BlobBeingRehydrated" || self.service_code.contains("Lease")
            }
            // What the service refuses with a reason of its own, it goes on refusing.
            StorageProblem::Unexpected => self.service_code.is_empty(),
            StorageProblem::NotFound
            | StorageProblem::Denied
            | StorageProblem::Expired
            | StorageProblem::NoCredential
            | StorageProblem::BadName
            | StorageProblem::Local => false,
        }
    }

    /// An error without a fix.
    pub fn new(problem: StorageProblem, message: impl Into<String>) -> Self {
        Self {
            problem,
            message: message.into(),
            fix: String::new(),
            service_code: String::new(),
        }
    }

    /// Says what to do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StorageError {}
