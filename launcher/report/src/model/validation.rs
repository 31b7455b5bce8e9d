//! What a job file says and what is wrong with it: `petctl validate`.

use super::StageKind;
use petctl_spec::JobFileError;
use petctl_ui::error::{Block, Error};
use schemars::JsonSchema;
use serde::Serialize;

/// What a job is, or what is wrong with it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Validation {
    /// It can be started.
    pub valid: bool,
    /// The job's name; null where it can't be started.
    pub job: Option<String>,
    /// What makes it this job: the digest of all that decides what it does; null where it can't be started.
    pub fingerprint: Option<String>,
    /// All of its shards; null where it can't be started.
    pub shards: Option<u64>,
    /// Its stages, in the order of the job file; none where it can't be started.
    pub stages: Vec<CheckedStage>,
    /// What may be wrong.
    pub warnings: Vec<String>,
    /// What is wrong; none where it can be started.
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
    pub needs: Vec<Need>,
    /// Its command, with its placeholders.
    pub command: Vec<String>,
}

/// A stage that another one needs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Need {
    /// The stage that is needed.
    pub stage: String,
    /// Each shard needs only the one with its key, not the whole stage.
    pub per_shard: bool,
}

impl From<&Error> for Validation {
    fn from(error: &Error) -> Self {
        Self {
            valid: false,
            job: None,
            fingerprint: None,
            shards: None,
            stages: Vec::new(),
            warnings: Vec::new(),
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
    pub because: Vec<String>,
    /// What to do; null: nothing is known.
    pub fix: Option<String>,
    /// The key of the job file with its dots, such as `stage.resim.timeout`; null: none is meant.
    pub key: Option<String>,
    /// Where it stands in the job file; null: it does not.
    pub location: Option<Location>,
}

impl From<&JobFileError> for Wrong {
    fn from(error: &JobFileError) -> Self {
        Self {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            because: Vec::new(),
            fix: fix_of(&error.fix),
            key: (!error.key.is_empty()).then(|| error.key.clone()),
            location: Some(Location::from(&error.location)),
        }
    }
}

impl From<Block> for Wrong {
    fn from(block: Block) -> Self {
        Self {
            code: block.code,
            message: block.text,
            because: block.causes,
            fix: fix_of(&block.fix),
            key: None,
            location: None,
        }
    }
}

fn fix_of(fix: &str) -> Option<String> {
    (!fix.is_empty()).then(|| fix.to_owned())
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

impl From<&petctl_spec::Location> for Location {
    fn from(location: &petctl_spec::Location) -> Self {
        match location.clone() {
            petctl_spec::Location::File { file } => Self::File { file },
            petctl_spec::Location::Line {
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
            petctl_spec::Location::Option { option } => Self::Option { option },
        }
    }
}
