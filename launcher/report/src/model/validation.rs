//! What a job file says and what is wrong with it: `petctl validate`.

use super::StageKind;
use petctl_spec::{JobFileError, Location as Place};
use petctl_ui::error::{Block, Error};
use schemars::JsonSchema;
use serde::Serialize;

/// A job that can be started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Validated {
    /// True.
    pub valid: bool,
    /// The job's name.
    pub job: String,
    /// What makes it this job: the digest of all that decides what it does.
    pub fingerprint: String,
    /// All of its shards.
    pub shards: u64,
    /// Its stages, in the order of the job file.
    pub stages: Vec<CheckedStage>,
    /// What may be wrong.
    pub warnings: Vec<String>,
    /// Nothing.
    pub errors: Vec<Wrong>,
}

/// A stage of a job that can be started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckedStage {
    /// Its name.
    pub stage: String,
    /// What it is.
    pub kind: StageKind,
    /// Its shards.
    pub shards: u64,
    /// What must be done before it.
    pub needs: String,
    /// Its command, with its placeholders.
    pub command: Vec<String>,
}

/// A job that can't be started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Refused {
    /// False.
    pub valid: bool,
    /// Why.
    pub errors: Vec<Wrong>,
}

impl From<&Error> for Refused {
    fn from(error: &Error) -> Self {
        Self {
            valid: false,
            errors: match error {
                Error::JobFile(errors) => errors.errors().iter().map(Wrong::from).collect(),
                Error::One(_) | Error::Manifest { .. } => {
                    error.blocks().into_iter().map(Wrong::from).collect()
                }
            },
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Wrong {
    /// Its code; a page of the docs tells of it.
    pub code: String,
    /// What is wrong, and where.
    pub message: String,
    /// Why, and why that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Vec<String>>,
    /// What to do; may be empty.
    pub fix: String,
    /// The key of the job file with its dots, such as `stage.resim.timeout`; may be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where it stands in the job file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

impl From<&JobFileError> for Wrong {
    fn from(error: &JobFileError) -> Self {
        Self {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            because: None,
            fix: error.fix.clone(),
            key: Some(error.key.clone()),
            location: Some(Location::from(&error.location)),
        }
    }
}

impl From<Block> for Wrong {
    fn from(block: Block) -> Self {
        Self {
            code: block.code,
            message: block.text,
            because: Some(block.causes),
            fix: block.fix,
            key: None,
            location: None,
        }
    }
}

/// Where something stands in a job file or in what overrides it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "in")]
pub enum Location {
    /// The job file as a whole.
    File {
        /// As it was given.
        file: String,
    },
    /// A line of the job file.
    Line {
        /// As it was given.
        file: String,
        /// The first is 1.
        line: usize,
        /// In characters; the first is 1.
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

impl From<&Place> for Location {
    fn from(place: &Place) -> Self {
        match place.clone() {
            Place::File { file } => Self::File { file },
            Place::Line {
                file,
                line,
                column,
                text,
                mark_start,
                mark_length,
            } => Self::Line {
                file,
                line,
                column,
                text,
                mark_start,
                mark_length,
            },
            Place::Option { option } => Self::Option { option },
        }
    }
}
