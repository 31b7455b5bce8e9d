//! Why the outputs of an attempt could not be committed.

use petctl_text::obstacle::Obstacle;
use std::io;
use std::path::{Path, PathBuf};

use petctl_codes::Code;
use petctl_output::layout::KeyError;
use petctl_output::result::ResultError;

/// Why outputs could not be committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The key can't name a folder.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A later attempt took the folder away, or the command did. Counted as the command's: if it was a later attempt,
    /// the lease is lost too, and the coordinator refuses the result.
    #[error(
        "its output folder is gone; the command must not remove or rename $PETCTL_OUTPUT itself"
    )]
    OutputGone,
    /// No space or quota left.
    #[error("no space left while petctl wanted to {verb} {}; free some space there", path.display())]
    DiskFull {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The output folder does not do what it must.
    #[error("can't {verb} {}: {reason}", path.display())]
    Folder {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// Something that is not this shard's outputs is where they should go.
    #[error("{} holds {holds}; move it away, or choose another output folder", folder.display())]
    Occupied {
        /// Where.
        folder: PathBuf,
        /// What is there.
        holds: String,
    },
    /// The command wrote something that can't be committed.
    #[error("{name} {why}; write regular files below $PETCTL_OUTPUT only")]
    Escapes {
        /// Path below the output folder.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The command wrote a file whose name petctl needs.
    #[error("the command wrote {name} itself; petctl writes that file, so choose another name")]
    ReservedName {
        /// Path below the output folder.
        name: String,
    },
    /// More files than a manifest may name.
    #[error("the command wrote more than {limit} files or folders; pack them into fewer")]
    TooManyFiles {
        /// The bound.
        limit: usize,
    },
    /// A file's name can't stand in a manifest.
    #[error("the name of the output {name:?} is not UTF-8; rename it")]
    NameNotUtf8 {
        /// The name, with replacement characters.
        name: String,
    },
    /// `result.json` is not what it should be.
    #[error(transparent)]
    Report(#[from] ResultError),
}

impl CommitError {
    /// Stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Key(error) => error.code(),
            Self::OutputGone => Code::OutputGone,
            Self::DiskFull { .. } => Code::DiskFull,
            Self::Folder { .. } => Code::OutputFolder,
            Self::Occupied { .. } => Code::OutputOccupied,
            Self::Escapes { .. } => Code::OutputEscapes,
            Self::ReservedName { .. } => Code::OutputReservedName,
            Self::TooManyFiles { .. } => Code::OutputTooManyFiles,
            Self::NameNotUtf8 { .. } => Code::OutputNameNotUtf8,
            Self::Report(error) => error.code(),
        }
    }

    /// Whose fault it is: the output folder's, or the command's.
    pub fn is_infrastructure(&self) -> bool {
        match self {
            Self::DiskFull { .. } | Self::Folder { .. } | Self::Occupied { .. } => true,
            Self::Key(_)
            | Self::OutputGone
            | Self::Escapes { .. }
            | Self::ReservedName { .. }
            | Self::TooManyFiles { .. }
            | Self::NameNotUtf8 { .. }
            | Self::Report(_) => false,
        }
    }

    /// What the system said; a full disk is told apart.
    pub fn io(verb: &'static str, path: &Path, reason: io::Error) -> Self {
        let path = path.to_owned();
        if Obstacle::of(&reason).is_full() {
            Self::DiskFull { verb, path }
        } else {
            Self::Folder { verb, path, reason }
        }
    }
}
