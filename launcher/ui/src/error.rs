//! What went wrong, said once: code, what happened, why, what to do.

pub use petctl_codes::Code;

use petctl_codes::Exit;
use petctl_settings::SettingsError;
use petctl_spec::JobFileErrors;
use petctl_spec::manifest::{Fault, ManifestErrors};
use petctl_storage::{StorageError, StorageProblem};
use petctl_text::secrets::masked;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;

/// Answer of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that a user meets.
#[derive(Debug)]
pub enum Error {
    /// One thing.
    One(Box<Problem>),
    /// What is wrong with a job file, or with a file that says where jobs run.
    JobFile(JobFileErrors),
    /// What is wrong with a manifest of shards.
    Manifest {
        /// Its path or address.
        name: String,
        /// Each fault with its line.
        errors: Box<ManifestErrors>,
    },
}

/// One thing that went wrong.
#[derive(Debug)]
pub struct Problem {
    code: Cow<'static, str>,
    exit: Exit,
    message: String,
    causes: Vec<String>,
    fix: String,
}

impl Error {
    /// An error with a code by which commands end. `message` says what happened and where.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::One(Box::new(Problem {
            code: Cow::Borrowed(code.as_str()),
            // Reasons end nothing; one that does is a mistake of ours.
            exit: code.exit().unwrap_or(Exit::Bug),
            message: message.into(),
            causes: Vec::new(),
            fix: String::new(),
        }))
    }

    /// An error with the code of another part of petctl.
    pub fn foreign(code: impl Into<String>, exit: Exit, message: impl Into<String>) -> Self {
        Self::One(Box::new(Problem {
            code: Cow::Owned(code.into()),
            exit,
            message: message.into(),
            causes: Vec::new(),
            fix: String::new(),
        }))
    }

    /// The same with the reason below it, and the reasons of the reason.
    #[must_use]
    pub fn because(mut self, cause: &(dyn StdError + 'static)) -> Self {
        if let Self::One(problem) = &mut self {
            let mut next = Some(cause);
            while let Some(cause) = next {
                let text = cause.to_string();
                // Some libraries repeat their source in their own message.
                if !problem.causes.iter().any(|said| said.contains(&text)) {
                    problem.causes.push(text);
                }
                next = cause.source();
            }
        }
        self
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        if let Self::One(problem) = &mut self {
            problem.fix = fix.into();
        }
        self
    }

    /// How petctl ends after it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::One(problem) => problem.exit,
            Self::JobFile(errors) => {
                let first = errors.errors().first();
                first
                    .and_then(|error| error.code.exit())
                    .unwrap_or(Exit::BadJobFile)
            }
            Self::Manifest { .. } => Exit::BadJobFile,
        }
    }

    /// The stable code; of a job file's errors the first one's.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::One(problem) => &problem.code,
            Self::JobFile(errors) => errors
                .errors()
                .first()
                .map_or("JOB_FILE", |error| error.code.as_str()),
            Self::Manifest { errors, .. } => errors.code().as_str(),
        }
    }

    /// Whether it has this code; of a job file's errors the first one.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.code() == code.as_str()
    }

    /// What happened, without its causes and its fix; of several things the first.
    #[must_use]
    pub fn sentence(&self) -> String {
        let first = self.blocks().into_iter().next();
        first.map_or_else(String::new, |block| block.text)
    }

    /// The error as lines: `error[CODE]: …`, its causes, and `  fix: …`.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = self.whole_blocks();
        // What was typed is shown back, and may hold what nobody should see.
        for block in &mut blocks {
            for text in block
                .causes
                .iter_mut()
                .chain([&mut block.text, &mut block.fix])
            {
                *text = masked(text);
            }
        }
        blocks
    }

    fn whole_blocks(&self) -> Vec<Block> {
        match self {
            Self::One(problem) => vec![Block {
                code: problem.code.to_string(),
                text: problem.message.clone(),
                causes: problem.causes.clone(),
                fix: problem.fix.clone(),
            }],
            Self::JobFile(errors) => job_file_blocks(errors),
            Self::Manifest { name, errors } => manifest_blocks(name, errors),
        }
    }
}

/// One error, ready to be printed.
pub struct Block {
    /// The stable code.
    pub code: String,
    /// What happened, and where.
    pub text: String,
    /// Why, and why that.
    pub causes: Vec<String>,
    /// What to do; may be empty.
    pub fix: String,
}

fn manifest_blocks(name: &str, errors: &ManifestErrors) -> Vec<Block> {
    let block = |fault: &Fault| Block {
        code: errors.code().as_str().to_owned(),
        text: match fault.line {
            0 => format!("{name}: {}", fault.problem.what),
            line => format!("{name}:{line}: {}", fault.problem.what),
        },
        causes: Vec::new(),
        fix: fault.problem.fix.clone(),
    };
    let mut blocks: Vec<Block> = errors.faults().iter().map(block).collect();
    if errors.left_out() > 0
        && let Some(last) = blocks.last_mut()
    {
        last.causes
            .push(format!("{} more errors are not shown", errors.left_out()));
    }
    blocks
}

fn job_file_blocks(errors: &JobFileErrors) -> Vec<Block> {
    let mut blocks: Vec<Block> = errors
        .errors()
        .iter()
        .map(|error| Block {
            code: error.code.as_str().to_owned(),
            text: error.to_string(),
            causes: Vec::new(),
            fix: String::new(),
        })
        .collect();
    if errors.left_out() > 0
        && let Some(last) = blocks.last_mut()
    {
        last.causes
            .push(format!("{} more errors are not shown", errors.left_out()));
    }
    blocks
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, block) in self.blocks().iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "error[{}]: {}", block.code, block.text)?;
            for cause in &block.causes {
                write!(f, "\n  because: {cause}")?;
            }
            if !block.fix.is_empty() {
                write!(f, "\n  fix: {}", block.fix)?;
            }
        }
        Ok(())
    }
}

impl StdError for Error {}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        let exit = match error.problem {
            StorageProblem::Denied
            | StorageProblem::Blocked
            | StorageProblem::Expired
            | StorageProblem::NoCredential => Exit::NotAllowed,
            StorageProblem::NotFound | StorageProblem::BadName | StorageProblem::Local => {
                Exit::BadConfiguration
            }
            StorageProblem::Changed
            | StorageProblem::Corrupt
            | StorageProblem::Full
            | StorageProblem::Unavailable
            | StorageProblem::Unexpected => Exit::TryAgain,
        };
        let made = Self::foreign(error.code().as_str(), exit, error.message);
        // Tells apart what the service calls by different names, for whoever searches for it.
        let made = if error.service_code.is_empty() {
            made
        } else {
            let cause = io::Error::other(format!("Azure says {}", error.service_code));
            made.because(&cause)
        };
        made.fix(error.fix)
    }
}

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::File(errors) => Self::JobFile(*errors),
            SettingsError::One(fault) => {
                let made = Self::new(fault.code, fault.message).fix(fault.fix);
                match fault.cause {
                    Some(cause) => made.because(&cause),
                    None => made,
                }
            }
        }
    }
}

impl From<JobFileErrors> for Error {
    fn from(errors: JobFileErrors) -> Self {
        Self::JobFile(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let cause = io::Error::other("disk full");
        let error = Error::new(Code::OutputUnwritable, "can't write /out")
            .because(&cause)
            .fix("make room");
        assert_eq!(
            error.to_string(),
            "error[OUTPUT_UNWRITABLE]: can't write /out\n  because: disk full\n  fix: make room"
        );
        assert_eq!(error.exit(), Exit::BadConfiguration);
    }
}
