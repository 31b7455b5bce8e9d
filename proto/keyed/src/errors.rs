//! What is wrong with a file: where, why, and what to do.

use petctl_codes::Code;
use serde::{Serialize, Serializer};
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileError {
    /// Stable code.
    #[serde(serialize_with = "as_text")]
    pub code: Code,
    /// Where it stands.
    pub location: Location,
    /// The key with its dots, such as `stage.resim.timeout`; empty where no key is meant.
    pub key: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it; may be empty.
    pub fix: String,
}

/// Where an error stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "in")]
pub enum Location {
    /// The file as a whole.
    File {
        /// Name of the file as it was given.
        file: String,
    },
    /// A place in the file.
    Line {
        /// Name of the file as it was given.
        file: String,
        /// First line is 1.
        line: usize,
        /// First character is 1; counted in characters.
        column: usize,
        /// The line, or the part of a long one around the place.
        text: String,
        /// Characters of `text` before the place.
        mark_start: usize,
        /// Characters of `text` that are meant; at least 1.
        mark_length: usize,
    },
    /// An override.
    Option {
        /// As it could be typed: `--set workers.max=4`.
        option: String,
    },
}

impl std::error::Error for FileError {}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::File { file } => write!(f, "{file}: {}", self.message)?,
            Location::Option { option } => write!(f, "{option}: {}", self.message)?,
            Location::Line {
                file,
                line,
                column,
                text,
                mark_start,
                mark_length,
            } => {
                let margin = " ".repeat(line.to_string().len());
                write!(f, "{file}:{line}:{column}: {}", self.message)?;
                write!(f, "\n  {line} | {text}")?;
                write!(
                    f,
                    "\n  {margin}   {}{}",
                    " ".repeat(*mark_start),
                    "^".repeat(*mark_length)
                )?;
            }
        }
        if !self.fix.is_empty() {
            write!(f, "\n  fix: {}", self.fix)?;
        }
        Ok(())
    }
}

/// All that is wrong with a file and its overrides, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileErrors {
    errors: Vec<FileError>,
    left_out: usize,
}

impl FileErrors {
    /// Most errors that are kept.
    pub const MAX: usize = 50;

    pub(crate) fn new(errors: Vec<FileError>, left_out: usize) -> Self {
        Self { errors, left_out }
    }

    /// Nobody knows what is wrong, which is a bug.
    #[must_use]
    pub fn unexplained(file: &str) -> Self {
        let error = FileError {
            code: Code::JobFileValue,
            location: Location::File {
                file: file.to_owned(),
            },
            key: String::new(),
            message: "the file can't be read, and petctl does not know why".into(),
            fix: "report this as a bug, with the file".into(),
        };
        Self::new(vec![error], 0)
    }

    /// The errors, at most [`Self::MAX`]; never empty.
    #[must_use]
    pub fn errors(&self) -> &[FileError] {
        &self.errors
    }

    /// How many more there are.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}

impl std::error::Error for FileErrors {}

impl fmt::Display for FileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        if self.left_out > 0 {
            write!(f, "\n\n{} more errors are not shown", self.left_out)?;
        }
        Ok(())
    }
}

fn as_text<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}
