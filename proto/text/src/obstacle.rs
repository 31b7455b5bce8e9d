//! What stands in the way of a file, as the system said it, and what a user can do about that. Every error about a file
//! takes its fix from here: a full disk is never told to be a matter of rights.

use std::error::Error;
use std::io;

/// Codes of Linux that the standard library has no stable kind for.
const TOO_MANY_FILES_HERE: i32 = 24;
const TOO_MANY_FILES_AT_ALL: i32 = 23;
const TOO_MANY_LINKS_FOLLOWED: i32 = 40;
const BROKEN: i32 = 5;

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No space is left.
    Full,
    /// The user's share of the disk is used up.
    Quota,
    /// Larger than the file system, or a limit, lets a file be.
    TooLarge,
    /// The file system can't be written at all.
    ReadOnly,
    /// This user may not.
    Rights,
    /// A name is longer than names can be, or holds what none can.
    Name,
    /// Links lead in a circle.
    Circle,
    /// It is not there, or its folder is not.
    Missing,
    /// A file stands where a folder should, or the other way around.
    OtherKind,
    /// This process, or the machine, has too many files open.
    OpenFiles,
    /// The disk, or the network behind it, does not answer as it should.
    Broken,
    /// Anything else: what the system said is all there is.
    Other,
}

impl Obstacle {
    /// By what the system said.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(TOO_MANY_FILES_HERE | TOO_MANY_FILES_AT_ALL) => return Self::OpenFiles,
            Some(TOO_MANY_LINKS_FOLLOWED) => return Self::Circle,
            Some(BROKEN) => return Self::Broken,
            Some(_) | None => {}
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "kinds that say nothing of files are many"
        )]
        match error.kind() {
            io::ErrorKind::StorageFull => Self::Full,
            io::ErrorKind::QuotaExceeded => Self::Quota,
            io::ErrorKind::FileTooLarge => Self::TooLarge,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::PermissionDenied => Self::Rights,
            io::ErrorKind::InvalidFilename => Self::Name,
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::AlreadyExists => Self::OtherKind,
            io::ErrorKind::StaleNetworkFileHandle => Self::Broken,
            _ => Self::Other,
        }
    }

    /// By the first error of the system among an error and its causes.
    #[must_use]
    pub fn behind(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let told = error.downcast_ref::<io::Error>().map(Self::of);
            if let Some(obstacle) = told.filter(|obstacle| *obstacle != Self::Other) {
                return obstacle;
            }
            next = error.source();
        }
        Self::Other
    }

    /// Whether room has to be made, on the disk or in a quota.
    #[must_use]
    pub fn is_full(self) -> bool {
        matches!(self, Self::Full | Self::Quota)
    }

    /// What to do for it to be written, or `instead`: "name another folder".
    #[must_use]
    pub fn fix_writing(self, instead: &str) -> String {
        let mend = match self {
            Self::Full => "make room there",
            Self::Quota => "remove files there, for this user's quota is used up",
            Self::TooLarge => "raise the limit on the size of files (`ulimit -f`)",
            Self::ReadOnly => "mount that file system writable",
            Self::Rights => "give this user the right to write there",
            Self::Name => "use a shorter and plainer name",
            Self::Circle => "mend the links there, which lead in a circle",
            Self::Missing => "make the folder that it is to be in",
            Self::OtherKind => "move away what has that name",
            Self::OpenFiles => "raise the limit on open files (`ulimit -n`)",
            Self::Broken => "look at that disk, or at the network to it",
            Self::Other => return instead.to_owned(),
        };
        or(mend, instead)
    }

    /// What to do for it to be read, or `instead`: "name another file".
    #[must_use]
    pub fn fix_reading(self, instead: &str) -> String {
        let mend = match self {
            Self::Rights => "give this user the right to read it",
            Self::OtherKind => "move away what stands where its folder should",
            Self::Name
            | Self::Circle
            | Self::OpenFiles
            | Self::Broken
            | Self::Full
            | Self::Quota
            | Self::TooLarge
            | Self::ReadOnly => return self.fix_writing(instead),
            Self::Missing | Self::Other => return instead.to_owned(),
        };
        or(mend, instead)
    }
}

fn or(mend: &str, instead: &str) -> String {
    if instead.is_empty() {
        mend.to_owned()
    } else {
        format!("{mend}, or {instead}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux numbers them.
    const CASES: [(i32, Obstacle); 16] = [
        (28, Obstacle::Full),
        (122, Obstacle::Quota),
        (27, Obstacle::TooLarge),
        (30, Obstacle::ReadOnly),
        (13, Obstacle::Rights),
        (1, Obstacle::Rights),
        (36, Obstacle::Name),
        (40, Obstacle::Circle),
        (2, Obstacle::Missing),
        (20, Obstacle::OtherKind),
        (21, Obstacle::OtherKind),
        (17, Obstacle::OtherKind),
        (24, Obstacle::OpenFiles),
        (23, Obstacle::OpenFiles),
        (5, Obstacle::Broken),
        (116, Obstacle::Broken),
    ];

    #[test]
    fn what_the_system_says_is_told_apart() {
        for (number, obstacle) in CASES {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(Obstacle::of(&error), obstacle, "{error}");
            let wrapped = io::Error::other(Wrapped(error));
            assert_eq!(Obstacle::behind(&Outer(wrapped)), obstacle);
        }
        assert_eq!(Obstacle::of(&io::Error::other("x")), Obstacle::Other);
        assert_eq!(Obstacle::behind(&std::fmt::Error), Obstacle::Other);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Wrapped(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn only_a_matter_of_rights_is_told_to_be_one() {
        for (number, obstacle) in CASES {
            let fixes = [
                obstacle.fix_writing("name another folder"),
                obstacle.fix_reading("name another file"),
            ];
            for fix in fixes {
                let rights = fix.contains("right to") || fix.contains("for you");
                assert_eq!(rights, obstacle == Obstacle::Rights, "{number}: {fix}");
            }
        }
        assert_eq!(
            Obstacle::Full.fix_writing("name another folder"),
            "make room there, or name another folder"
        );
        assert_eq!(Obstacle::Full.fix_writing(""), "make room there");
        assert_eq!(
            Obstacle::Missing.fix_reading("name another"),
            "name another"
        );
    }
}
