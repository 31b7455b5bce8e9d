//! Why the outputs of an attempt could not be committed.

use petctl_text::obstacle::Obstacle;
use std::io;
use std::path::{Path, PathBuf};

use petctl_codes::Code;
use petctl_output::layout::KeyError;
use petctl_output::result::ResultError;

/// One thing in an attempt's folder that can't be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Stable code of what is wrong.
    pub code: Code,
    /// Path below the output folder.
    pub name: String,
    /// What is wrong with it, as the end of a sentence.
    pub why: String,
}

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
    /// A later attempt has taken the shard over.
    #[error("a later attempt has taken the shard over; this one gives up, and nothing is charged")]
    Overtaken,
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
    /// The command wrote what can't be committed: all of it, never none.
    #[error("{}", refused(.0))]
    Refused(Vec<Refused>),
    /// More files than a manifest may name.
    #[error("the command wrote more than {limit} files or folders; pack them into fewer")]
    TooManyFiles {
        /// The bound.
        limit: usize,
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
            Self::Overtaken => Code::Overtaken,
            Self::DiskFull { .. } => Code::DiskFull,
            Self::Folder { .. } => Code::OutputFolder,
            Self::Occupied { .. } => Code::OutputOccupied,
            Self::Refused(refused) => refused.first().map_or(Code::OutputEscapes, |one| one.code),
            Self::TooManyFiles { .. } => Code::OutputTooManyFiles,
            Self::Report(error) => error.code(),
        }
    }

    /// Whose fault it is: the output folder's, or the command's.
    pub fn is_infrastructure(&self) -> bool {
        match self {
            Self::DiskFull { .. } | Self::Folder { .. } | Self::Occupied { .. } => true,
            Self::Key(_)
            | Self::OutputGone
            | Self::Overtaken
            | Self::Refused(_)
            | Self::TooManyFiles { .. }
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

/// Most that a message names: more would be cut on its way.
const MAX_NAMED: usize = 30;
/// Longest name in a message, in characters.
const MAX_NAME_CHARS: usize = 120;

/// Every one of them, and what to do.
fn refused(refused: &[Refused]) -> String {
    let one = |one: &Refused| {
        // Quoted where it holds what a terminal would act on.
        let name: String = one.name.chars().take(MAX_NAME_CHARS).collect();
        let plain = !name.chars().any(|c| c.is_control() || c == '\\');
        match plain {
            true => format!("{name} {}", one.why),
            false => format!("{name:?} {}", one.why),
        }
    };
    let mut said: Vec<String> = refused.iter().take(MAX_NAMED).map(one).collect();
    if refused.len() > MAX_NAMED {
        said.push("there are more".to_owned());
    }
    let mut fixes: Vec<&str> = refused.iter().map(|one| fix(one.code)).collect();
    fixes.sort_unstable();
    fixes.dedup();
    format!("{}; {}", said.join("; "), fixes.join(", "))
}

fn fix(code: Code) -> &'static str {
    if code == Code::OutputReservedName {
        "choose another name"
    } else if code == Code::OutputNameNotUtf8 || code == Code::OutputBadName {
        "let the command give other names"
    } else {
        "write files, folders and links within $PETCTL_OUTPUT only"
    }
}
