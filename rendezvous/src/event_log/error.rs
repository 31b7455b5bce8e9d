//! What can be wrong with a state folder.

use super::WrittenBy;
use petctl_codes::Code;
use petctl_text::obstacle::Obstacle;
use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a state folder. Its text says what to do; [`LogError::code`] is stable.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another coordinator, or a reader that does not end.
    #[error("the state folder {dir} is in use by another coordinator{}; use that one, stop it, or choose another \
             folder (PETCTL_HOME)", pid_text(*pid))]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// Whose it is, if known.
        pid: Option<u32>,
    },
    /// No permission to write, or a read-only file system.
    #[error(
        "can't {verb} {path}: the state folder is not writable by this user; {}",
        Obstacle::of(source).fix_writing("choose another folder (PETCTL_HOME)")
    )]
    ReadOnly {
        /// What was tried.
        verb: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Written by a newer program.
    #[error(
        "the state in {dir} has format version {found}{}, and this petctl reads up to version {known}; {}",
        written_text(written.as_ref()), way_back(dir, written.as_ref(), copy.as_deref())
    )]
    VersionNewer {
        /// The folder.
        dir: PathBuf,
        /// Its version.
        found: u64,
        /// The newest one known.
        known: u64,
        /// Who wrote it, where that is said.
        written: Option<WrittenBy>,
        /// What it was before, in a format that is read.
        copy: Option<PathBuf>,
    },
    /// Written by a program older than the release before.
    #[error(
        "the state in {dir} has format version {found}, and this petctl reads version {known} and later; use the older \
         petctl that wrote it, or choose another folder (PETCTL_HOME): finished outputs stay where they are"
    )]
    VersionOlder {
        /// The folder.
        dir: PathBuf,
        /// Its version.
        found: u64,
        /// The oldest one that is read.
        known: u64,
    },
    /// Bytes that are not what was written.
    #[error(
        "the state file {path} is damaged: {what}; put back a copy of it, or move the file away to start with an \
             empty state (finished outputs stay where they are)"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// No room for the log.
    #[error(
        "no space is left for the state file {path}; {}; then start again: nothing acknowledged is lost",
        Obstacle::of(source).fix_writing("")
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Nobody ever coordinated here.
    #[error("there is no state in {dir}; run a job first, or look at another folder (PETCTL_HOME)")]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// The coordinator that wrote it has stopped.
    #[error(
        "the state file {path} is closed: its coordinator has stopped; start it again, or read the state offline"
    )]
    Closed {
        /// The file.
        path: PathBuf,
    },
    /// Any other trouble of the file system.
    #[error(
        "can't {verb} {path}; {}",
        Obstacle::of(source).fix_writing("look at the disk and its file system")
    )]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl LogError {
    /// Stable code, as docs/errors lists it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::InUse { .. } => Code::StateInUse,
            Self::ReadOnly { .. } => Code::StateReadOnly,
            Self::VersionNewer { .. } => Code::StateVersionNewer,
            Self::VersionOlder { .. } => Code::StateVersionOlder,
            Self::Corrupt { .. } => Code::StateCorrupt,
            Self::DiskFull { .. } => Code::StateDiskFull,
            Self::Missing { .. } => Code::StateFolder,
            Self::Closed { .. } => Code::CoordinatorStopped,
            Self::Io { .. } => Code::StateIo,
        }
    }

    /// The system's error while doing `verb` to `path`, told apart by what a user can do about it.
    pub(crate) fn from_io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        let is_one_of = |kinds: &[io::ErrorKind]| kinds.contains(&source.kind());
        let path = path.to_owned();
        if is_one_of(&[
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
        ]) {
            Self::ReadOnly { verb, path, source }
        } else if is_one_of(&[
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ]) {
            Self::DiskFull { path, source }
        } else if is_one_of(&[io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof]) {
            Self::Corrupt {
                path,
                what: source.to_string(),
            }
        } else {
            Self::Io { verb, path, source }
        }
    }

    /// The engine's error while doing `verb` to its file.
    pub(crate) fn from_redb(
        verb: &'static str,
        path: &Path,
        error: impl Into<redb::Error>,
    ) -> Self {
        let error = error.into();
        if let redb::Error::Io(source) = error {
            return Self::from_io(verb, path, source);
        }
        if matches!(error, redb::Error::DatabaseAlreadyOpen) {
            let dir = path.parent().unwrap_or(path).to_owned();
            return Self::InUse { dir, pid: None };
        }
        Self::corrupt(path, error.to_string())
    }

    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

fn written_text(written: Option<&WrittenBy>) -> String {
    written.map_or_else(String::new, |WrittenBy { release, since }| {
        format!(" (petctl {release} has written it since {since})")
    })
}

fn way_back(dir: &Path, written: Option<&WrittenBy>, copy: Option<&Path>) -> String {
    let newer = match written {
        Some(WrittenBy { release, .. }) => format!("use petctl {release}"),
        None => "use the newer petctl that wrote it".to_owned(),
    };
    match copy {
        None => format!("{newer}, or choose another folder (PETCTL_HOME)"),
        Some(copy) => format!(
            "{newer}; or, to go back, stop it and put the copy of before its upgrade in the place of the state: cp {} {} \
             (what was recorded since is lost, and run again where its outputs are not found; committed outputs stay)",
            copy.display(),
            dir.join("coordinator.redb").display()
        ),
    }
}
