//! `command` of a stage: its program, and whether each placeholder has a value there.

use crate::model::{Axis, ShardSource, StageKind};
use petctl_codes::Code;
use petctl_keyed::{Report, Section};
use petctl_text::template::{self, Placeholder, TemplateError};
use petctl_text::words::nearest;
use std::collections::BTreeMap;

/// What of a stage decides which placeholders its command may have.
pub(crate) struct CommandStage<'s> {
    /// `None` where it could not be read.
    pub(crate) kind: Option<&'s StageKind>,
    pub(crate) params: &'s BTreeMap<String, String>,
    pub(crate) serves: bool,
    pub(crate) has_input: bool,
}

/// Reads it; `None` where it names no program. Placeholders without a value are reported.
pub(crate) fn read_command(
    section: &Section<'_>,
    stage: &CommandStage<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<String>> {
    let node = section.node("command")?;
    let arguments = section.texts("command");
    if arguments
        .first()
        .is_none_or(|(program, _)| program.is_empty())
    {
        let message = format!("`command` in {} has no program", section.title);
        let fix = "write it such as `command = [\"python3\", \"replay.py\", \"{output}\"]`";
        let place = arguments.first().map_or(node.place, |(_, place)| *place);
        report.add(
            Code::JobFileValue,
            place,
            section.path_of("command"),
            message,
            fix,
        );
        return None;
    }
    for (argument, place) in &arguments {
        let problem = match template::placeholders_of(argument) {
            Ok(placeholders) => placeholders
                .iter()
                .find_map(|placeholder| Some((placeholder.name(), misuse(placeholder, stage)?)))
                .map(|(name, (why, fix))| {
                    (format!("{{{name}}}"), format!("`{{{name}}}` {why}"), fix)
                }),
            Err(error) => Some((marked(&error), error.to_string(), error.fix())),
        };
        if let Some((mark, what, fix)) = problem {
            let message = format!("`command` in {}: {what}", section.title);
            let place = report.within(*place, &mark);
            report.add(
                Code::JobFilePlaceholder,
                place,
                section.path_of("command"),
                message,
                fix,
            );
        }
    }
    Some(
        arguments
            .into_iter()
            .map(|(argument, _)| argument.to_owned())
            .collect(),
    )
}

/// The part of an argument that an error is about.
fn marked(error: &TemplateError) -> String {
    match error {
        TemplateError::Unknown { name, .. } => format!("{{{name}}}"),
        TemplateError::Empty
        | TemplateError::Unclosed
        | TemplateError::Unopened
        | TemplateError::NotAlone
        | TemplateError::NoValue(_)
        | TemplateError::TooLong => String::from("\0"),
    }
}

/// Why a placeholder has no value in this stage, and what to do.
fn misuse(placeholder: &Placeholder, stage: &CommandStage<'_>) -> Option<(String, String)> {
    let source = stage.kind.and_then(StageKind::source);
    let training = stage.kind.is_some_and(|kind| kind.training().is_some());
    let once = stage.kind.is_some() && source.is_none() && !training;
    let of_attempt =
        of_shard(placeholder) || matches!(placeholder, Placeholder::Attempt | Placeholder::Output);
    if training && of_attempt {
        let fix = "use `{checkpoints}` for the checkpoints, `{output_root}` for all outputs, or `{input_root}` for all inputs";
        return Some(("is of one shard, and this stage trains".into(), fix.into()));
    }
    if stage.serves && of_attempt {
        return Some(read_by_the_process());
    }
    if once && of_shard(placeholder) {
        let fix = "use `{output_root}` for all outputs, or `{input_root}` for all inputs";
        return Some((
            "is of one shard, and this stage runs once".into(),
            fix.into(),
        ));
    }
    match placeholder {
        Placeholder::Checkpoints if !training && stage.kind.is_some() => Some((
            "is the folder of a training's checkpoints, and this stage does not train".into(),
            "use `{output_root}/STAGE/checkpoints` for those of the stage STAGE".into(),
        )),
        Placeholder::Input | Placeholder::Inputs
            if source.is_some_and(|source| !has_files(source)) =>
        {
            Some((
                "is a file, and these shards are not listed by `glob` or `manifest`".into(),
                "use `{key}`".into(),
            ))
        }
        // Of a glob without an input it has been said already.
        Placeholder::Input | Placeholder::Inputs
            if !stage.has_input && matches!(source, Some(ShardSource::Manifest(_))) =>
        {
            Some(no_input())
        }
        Placeholder::InputRoot if !stage.has_input => Some(no_input()),
        Placeholder::Param(name) => missing_param(name, stage, source),
        Placeholder::Input
        | Placeholder::Inputs
        | Placeholder::Shard
        | Placeholder::Output
        | Placeholder::Key
        | Placeholder::Index
        | Placeholder::Attempt
        | Placeholder::OutputRoot
        | Placeholder::InputRoot
        | Placeholder::Job
        | Placeholder::Stage
        | Placeholder::Checkpoints => None,
    }
}

/// Whether it says something of one shard, whichever attempt it is.
fn of_shard(placeholder: &Placeholder) -> bool {
    match placeholder {
        Placeholder::Input
        | Placeholder::Inputs
        | Placeholder::Shard
        | Placeholder::Key
        | Placeholder::Index => true,
        Placeholder::Output
        | Placeholder::Attempt
        | Placeholder::OutputRoot
        | Placeholder::InputRoot
        | Placeholder::Job
        | Placeholder::Stage
        | Placeholder::Checkpoints
        | Placeholder::Param(_) => false,
    }
}

fn has_files(source: &ShardSource) -> bool {
    matches!(source, ShardSource::Glob(_) | ShardSource::Manifest(_))
}

fn read_by_the_process() -> (String, String) {
    (
        "is of one shard, and this stage keeps a warm process (`serve = true`)".into(),
        "take it out: the process reads it with each shard, as docs/serve.md says".into(),
    )
}

fn no_input() -> (String, String) {
    (
        "has no value: [storage] has no `input`".into(),
        "add `input = \"drives\"` to [storage]".into(),
    )
}

/// Why a parameter has no value; those of a manifest are known when its lines are read.
fn missing_param(
    name: &str,
    stage: &CommandStage<'_>,
    source: Option<&ShardSource>,
) -> Option<(String, String)> {
    if stage.params.contains_key(name) {
        return None;
    }
    let axes: &[Axis] = match source {
        Some(ShardSource::Manifest(_)) if !stage.serves => return None,
        Some(ShardSource::Matrix(axes)) => axes,
        Some(
            ShardSource::Manifest(_)
            | ShardSource::Glob(_)
            | ShardSource::Range { .. }
            | ShardSource::Dates { .. }
            | ShardSource::Values(_),
        )
        | None => &[],
    };
    if axes.iter().any(|axis| axis.name == *name) {
        return stage.serves.then(read_by_the_process);
    }
    let own = axes.iter().map(|axis| axis.name.as_str());
    let known = stage.params.keys().map(String::as_str).chain(own);
    let fix = nearest(name, known).map_or_else(
        || format!("add `params = {{ {name} = 1 }}`"),
        |near| format!("did you mean `{{param.{near}}}`?"),
    );
    Some((
        "has no value: there is no such entry in `params`".into(),
        fix,
    ))
}
