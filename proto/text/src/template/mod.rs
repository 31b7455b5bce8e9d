//! Commands with placeholders: read once per stage, filled in once per attempt.

use petctl_codes::Code;

use crate::words::{nearest, shown};
use std::collections::BTreeMap;

/// Longest filled-in command in bytes, over all its arguments.
pub const MAX_RENDERED_BYTES: usize = 1 << 20;

/// A placeholder of a command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placeholder {
    /// `{input}`: the shard's input file, the first one where it has several.
    Input,
    /// `{inputs}`: each of the shard's input files as an argument of its own.
    Inputs,
    /// `{shard}`: the file that says all of the shard: `shard.json`.
    Shard,
    /// `{output}`: the folder the attempt writes to.
    Output,
    /// `{key}`: the shard's key.
    Key,
    /// `{index}`: the shard's number in its stage, from 0.
    Index,
    /// `{attempt}`: 1 for the first.
    Attempt,
    /// `{output_root}`: the folder with the committed outputs of the whole job.
    OutputRoot,
    /// `{input_root}`: the input folder.
    InputRoot,
    /// `{job}`: the job's name.
    Job,
    /// `{stage}`: the stage's name.
    Stage,
    /// `{checkpoints}`: the folder of a training stage's checkpoints.
    Checkpoints,
    /// `{param.NAME}`: a parameter of the shard, else a constant of the stage.
    Param(String),
}

/// The placeholders without a name of the user's, with what they stand for.
pub const PLACEHOLDERS: [(&str, Placeholder, &str); 12] = [
    (
        "input",
        Placeholder::Input,
        "The shard's input file, the first one where it has several; where shards are listed by `glob` or `manifest`.",
    ),
    (
        "inputs",
        Placeholder::Inputs,
        "All input files of the shard, each as an argument of its own; it stands alone in its argument. Where shards are listed by `glob` or `manifest`.",
    ),
    (
        "output",
        Placeholder::Output,
        "The folder this attempt writes to; committed as a whole when the command succeeds. In `shards` and `once` stages.",
    ),
    (
        "key",
        Placeholder::Key,
        "The shard's key; in `shards` stages.",
    ),
    (
        "index",
        Placeholder::Index,
        "The shard's number in its stage, from 0; in `shards` stages.",
    ),
    (
        "attempt",
        Placeholder::Attempt,
        "1 for the first attempt; in `shards` and `once` stages.",
    ),
    (
        "shard",
        Placeholder::Shard,
        "A JSON file with the shard's key, index, attempt, parameters and inputs; in `shards` stages.",
    ),
    (
        "output_root",
        Placeholder::OutputRoot,
        "The folder with the committed outputs of the whole job.",
    ),
    (
        "input_root",
        Placeholder::InputRoot,
        "The input folder; where `[storage] input` is given.",
    ),
    ("job", Placeholder::Job, "The job's name."),
    ("stage", Placeholder::Stage, "The stage's name."),
    (
        "checkpoints",
        Placeholder::Checkpoints,
        "The folder of the checkpoints; in `train` stages.",
    ),
];

impl Placeholder {
    /// What stands between the braces.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Param(name) => format!("param.{name}"),
            Self::Input
            | Self::Inputs
            | Self::Shard
            | Self::Output
            | Self::Key
            | Self::Index
            | Self::Attempt
            | Self::OutputRoot
            | Self::InputRoot
            | Self::Job
            | Self::Stage
            | Self::Checkpoints => {
                let named = PLACEHOLDERS
                    .iter()
                    .find(|(_, placeholder, _)| placeholder == self);
                named.map_or_else(String::new, |(name, ..)| (*name).to_owned())
            }
        }
    }
}

/// Why a command can't be read or filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No program.
    #[error("the command is empty")]
    Empty,
    /// `{inptu}`.
    #[error("unknown placeholder `{{{}}}`", shown(.name))]
    Unknown {
        /// What stands between the braces.
        name: String,
        /// The placeholder that was most likely meant.
        nearest: Option<String>,
    },
    /// `{` without its `}`.
    #[error("`{{` without its `}}`")]
    Unclosed,
    /// `}` without its `{`.
    #[error("`}}` without its `{{`")]
    Unopened,
    /// `{inputs}` with something around it.
    #[error("`{{inputs}}` becomes one argument for each file, so nothing may stand beside it")]
    NotAlone,
    /// A placeholder for which there is no value.
    #[error("there is no value for `{{{0}}}` in this stage")]
    NoValue(String),
    /// More than [`MAX_RENDERED_BYTES`].
    #[error(
        "the command is longer than {MAX_RENDERED_BYTES} bytes once its placeholders are filled in"
    )]
    TooLong,
}

impl TemplateError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Empty
            | Self::Unknown { .. }
            | Self::Unclosed
            | Self::Unopened
            | Self::NotAlone
            | Self::NoValue(_) => Code::JobFilePlaceholder,
            Self::TooLong => Code::CommandTooLong,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Empty => "name a program".into(),
            Self::Unknown {
                nearest: Some(near),
                ..
            } => format!("did you mean `{{{near}}}`?"),
            Self::Unknown { nearest: None, .. } => {
                let known = PLACEHOLDERS.iter().map(|(name, ..)| format!("{{{name}}}"));
                format!(
                    "known are {}, {{param.NAME}}; a literal brace is written twice: `{{{{`",
                    known.collect::<Vec<_>>().join(", ")
                )
            }
            Self::Unclosed => {
                "close the placeholder; a literal brace is written twice: `{{`".into()
            }
            Self::Unopened => "open the placeholder; a literal brace is written twice: `}}`".into(),
            Self::NotAlone => {
                "write `\"{inputs}\"` as an argument of its own, or use `{input}`".into()
            }
            Self::NoValue(_) => "take it out, or give it a value".into(),
            Self::TooLong => "put long texts into a file".into(),
        }
    }
}

/// The values for one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Placeholders<'a> {
    /// The shard's input file, where it is not the key below `input_root`: it was staged elsewhere.
    pub input: Option<&'a str>,
    /// All input files of the shard; empty: `input` alone.
    pub inputs: &'a [String],
    /// The file that says all of the shard.
    pub shard: Option<&'a str>,
    /// The input folder.
    pub input_root: Option<&'a str>,
    /// The folder this attempt writes to.
    pub output: &'a str,
    /// The folder with the committed outputs of the whole job.
    pub output_root: &'a str,
    /// The shard's key.
    pub key: &'a str,
    /// The shard's number in its stage.
    pub index: u64,
    /// 1 for the first.
    pub attempt: u32,
    /// The job's name.
    pub job: &'a str,
    /// The stage's name.
    pub stage: &'a str,
    /// The stage's constants.
    pub params: &'a BTreeMap<String, String>,
    /// The shard's own parameters, above those of the stage.
    pub shard_params: Option<&'a BTreeMap<String, String>>,
    /// The folder of the checkpoints; of a training stage only.
    pub checkpoints: Option<&'a str>,
}

/// A command, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    arguments: Vec<Vec<Piece>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Placeholder(Placeholder),
}

impl Template {
    /// Reads a command.
    ///
    /// # Errors
    /// [`TemplateError`]: no program, an unknown placeholder, a brace without its counterpart.
    pub fn parse(command: &[String]) -> Result<Self, TemplateError> {
        if command.first().is_none_or(String::is_empty) {
            return Err(TemplateError::Empty);
        }
        let arguments = command
            .iter()
            .map(|argument| parse_argument(argument))
            .collect::<Result<_, _>>()?;
        Ok(Self { arguments })
    }

    /// The placeholders it uses, each once.
    #[must_use]
    pub fn placeholders(&self) -> Vec<&Placeholder> {
        let mut all = self
            .arguments
            .iter()
            .flatten()
            .filter_map(Piece::placeholder)
            .collect::<Vec<_>>();
        all.sort();
        all.dedup();
        all
    }

    /// Fills in the values; one string per argument, the program first.
    ///
    /// # Errors
    /// [`TemplateError::NoValue`] and [`TemplateError::TooLong`].
    pub fn render(&self, values: &Placeholders<'_>) -> Result<Vec<String>, TemplateError> {
        let mut left = MAX_RENDERED_BYTES;
        let mut out = Vec::with_capacity(self.arguments.len());
        for pieces in &self.arguments {
            let every_input = matches!(pieces[..], [Piece::Placeholder(Placeholder::Inputs)]);
            if every_input && !values.inputs.is_empty() {
                for input in values.inputs {
                    left = left
                        .checked_sub(input.len())
                        .ok_or(TemplateError::TooLong)?;
                    out.push(input.clone());
                }
            } else {
                out.push(render_argument(pieces, values, &mut left)?);
            }
        }
        Ok(out)
    }
}

/// Reads and fills in a command in one go; use [`Template`] where there are many shards.
///
/// # Errors
/// As [`Template::parse`] and [`Template::render`].
pub fn render(command: &[String], values: &Placeholders<'_>) -> Result<Vec<String>, TemplateError> {
    Template::parse(command)?.render(values)
}

/// The placeholders of one argument.
pub fn placeholders_of(argument: &str) -> Result<Vec<Placeholder>, TemplateError> {
    let pieces = parse_argument(argument)?;
    Ok(pieces
        .iter()
        .filter_map(Piece::placeholder)
        .cloned()
        .collect())
}

impl Piece {
    fn placeholder(&self) -> Option<&Placeholder> {
        match self {
            Self::Literal(_) => None,
            Self::Placeholder(placeholder) => Some(placeholder),
        }
    }
}

fn parse_argument(argument: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = argument;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        literal.push_str(before);
        if let Some(after) = brace.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = brace.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else if let Some(inner) = brace.strip_prefix('{') {
            let (name, after) = inner.split_once('}').ok_or(TemplateError::Unclosed)?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Placeholder(parse_name(name)?));
            rest = after;
        } else {
            return Err(TemplateError::Unopened);
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    let every_input = Piece::Placeholder(Placeholder::Inputs);
    if pieces.len() > 1 && pieces.contains(&every_input) {
        return Err(TemplateError::NotAlone);
    }
    Ok(pieces)
}

fn parse_name(name: &str) -> Result<Placeholder, TemplateError> {
    if let Some((_, placeholder, _)) = PLACEHOLDERS.iter().find(|(known, ..)| *known == name) {
        return Ok(placeholder.clone());
    }
    match name.strip_prefix("param.") {
        Some(param) if crate::words::is_identifier(param) => {
            Ok(Placeholder::Param(param.to_owned()))
        }
        Some(_) | None => Err(TemplateError::Unknown {
            name: name.to_owned(),
            nearest: nearest(name, PLACEHOLDERS.iter().map(|(known, ..)| *known))
                .map(str::to_owned),
        }),
    }
}

fn render_argument(
    pieces: &[Piece],
    values: &Placeholders<'_>,
    left: &mut usize,
) -> Result<String, TemplateError> {
    let mut out = String::new();
    for piece in pieces {
        let before = out.len();
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Placeholder(placeholder) => push_value(&mut out, placeholder, values)?,
        }
        *left = left
            .checked_sub(out.len() - before)
            .ok_or(TemplateError::TooLong)?;
    }
    Ok(out)
}

fn push_value(
    out: &mut String,
    placeholder: &Placeholder,
    values: &Placeholders<'_>,
) -> Result<(), TemplateError> {
    let no_value = || TemplateError::NoValue(placeholder.name());
    match placeholder {
        // More than one input never comes here: each is an argument of its own.
        Placeholder::Input | Placeholder::Inputs => {
            let first = values.input.or(values.inputs.first().map(String::as_str));
            match (first, values.input_root) {
                (Some(input), _) => out.push_str(input),
                (None, Some(root)) => {
                    out.push_str(root.trim_end_matches('/'));
                    out.push('/');
                    out.push_str(values.key);
                }
                (None, None) => return Err(no_value()),
            }
        }
        Placeholder::Shard => out.push_str(values.shard.ok_or_else(no_value)?),
        Placeholder::Output => out.push_str(values.output),
        Placeholder::Key => out.push_str(values.key),
        Placeholder::Index => out.push_str(&values.index.to_string()),
        Placeholder::Attempt => out.push_str(&values.attempt.to_string()),
        Placeholder::OutputRoot => out.push_str(values.output_root),
        Placeholder::InputRoot => out.push_str(values.input_root.ok_or_else(no_value)?),
        Placeholder::Job => out.push_str(values.job),
        Placeholder::Stage => out.push_str(values.stage),
        Placeholder::Checkpoints => out.push_str(values.checkpoints.ok_or_else(no_value)?),
        Placeholder::Param(name) => {
            let own = values.shard_params.and_then(|params| params.get(name));
            let value = own.or_else(|| values.params.get(name));
            out.push_str(value.ok_or_else(no_value)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
