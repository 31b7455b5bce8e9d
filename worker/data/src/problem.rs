//! Why an attempt could not get its inputs or send its outputs, as the coordinator is told.

use petctl_text::obstacle::Obstacle;
use std::io;
use std::path::Path;

use petctl_attempt::outcome;
use petctl_codes::Code;
use petctl_commit::CommitError;
use petctl_proto::v1::{AttemptResult, Lease, Outcome};
use petctl_storage::{StorageError, StorageProblem};

use crate::scratch::{ScratchError, is_full};

/// What stood in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whose fault it is.
    pub outcome: Outcome,
    /// Stable code.
    pub code: Code,
    /// What happened and what to do.
    pub message: String,
}

impl Problem {
    /// An input is not there: no retry makes it come.
    pub(super) fn input_missing(address: &str) -> Self {
        Self {
            outcome: Outcome::Failed,
            code: Code::InputMissing,
            message: format!(
                "there is no input {address}; it was deleted or renamed since the shards were listed, or the manifest names it wrongly"
            ),
        }
    }

    /// More than the worker may keep.
    pub(super) fn too_large(bytes: u64, limit: u64) -> Self {
        Self {
            outcome: Outcome::Failed,
            code: Code::InputTooLarge,
            message: format!(
                "the shard needs {bytes} bytes staged, and [storage] stage_bytes allows {limit}; raise stage_bytes, or mount the container"
            ),
        }
    }

    /// A part of the scratch folder does not do what it must.
    pub(super) fn scratch(verb: &'static str, path: &Path, error: io::Error) -> Self {
        ScratchError::new(verb, path, error).into()
    }

    /// Something of petctl's own went wrong.
    pub(super) fn broken(message: String) -> Self {
        Self {
            outcome: Outcome::Infrastructure,
            code: Code::StorageUnexpected,
            message,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.code == StorageProblem::Full.code()
    }

    /// What came of the attempt.
    pub fn result(&self, lease: &Lease) -> AttemptResult {
        outcome::ended(lease, self.outcome, self.code, self.message.clone())
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        // No retry makes a name better.
        let outcome = match error.problem == StorageProblem::BadName {
            true => Outcome::Failed,
            false => Outcome::Infrastructure,
        };
        Self {
            outcome,
            code: error.code(),
            message: sentence(&error),
        }
    }
}

impl From<ScratchError> for Problem {
    fn from(error: ScratchError) -> Self {
        Self {
            outcome: Outcome::Infrastructure,
            code: error.code(),
            message: error.to_string(),
        }
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        Self {
            outcome: outcome::of_commit(&error),
            code: error.code(),
            message: error.to_string(),
        }
    }
}

/// What happened and what to do, in one.
pub(crate) fn sentence(error: &StorageError) -> String {
    if error.fix.is_empty() {
        error.message.clone()
    } else {
        format!("{}; {}", error.message, error.fix)
    }
}

/// Of a file in the scratch folder.
pub(super) fn local(verb: &'static str, path: &Path, error: io::Error) -> StorageError {
    let problem = if is_full(&error) {
        StorageProblem::Full
    } else {
        StorageProblem::Local
    };
    StorageError::new(problem, format!("can't {verb} {}: {error}", path.display()))
        .fix(Obstacle::of(&error).fix_writing("name another folder with `petctl worker --scratch`"))
}
