//! `[[stage]]`: one table each, then what they need of one another.

use crate::errors::ErrorCode;
use crate::keys;
use crate::model::{Budgets, DispatchSpec, MAX_SHARDS, MAX_STAGES, StageKind, StageSpec};
use crate::needs::{Named, read_needs};
use crate::report::{Place, Report};
use crate::section::Section;
use crate::shape::too_many_shards;
use crate::shards;
use crate::source::read_source;
use crate::template::{self, Placeholder, TemplateError};
use crate::train::{self, read_train};
use crate::tree::{Node, Value};
use crate::words::{nearest, shown, thousands};
use std::collections::BTreeMap;

/// What a stage needs to know of the rest of the file.
#[derive(Clone, Copy)]
pub(crate) struct Neighbours<'s, 'a> {
    pub(crate) workers: Option<&'s Section<'a>>,
    pub(crate) storage: Option<&'s Section<'a>>,
    /// Against which relative paths are resolved.
    pub(crate) folder: &'s str,
}

/// Reads all stages; `None` where one of them can't be used.
pub(crate) fn read_stages(
    file: &Section<'_>,
    neighbours: Neighbours<'_, '_>,
    report: &mut Report<'_>,
) -> Option<Vec<StageSpec>> {
    let items = file.list("stage");
    if file.node("stage").is_some() && items.is_empty() {
        let message = "there is no [[stage]]";
        let fix = "add [[stage]] with `name`, `kind` and `command`";
        report.add(
            ErrorCode::Missing,
            file.place_of("stage"),
            "stage",
            message,
            fix,
        );
        return None;
    }
    if items.len() > MAX_STAGES {
        let message = format!("the job has {} stages", thousands(items.len() as u128));
        let fix = format!(
            "use at most {}; a stage can have many shards",
            thousands(MAX_STAGES as u128)
        );
        report.add(
            ErrorCode::Value,
            file.place_of("stage"),
            "stage",
            message,
            fix,
        );
        return None;
    }
    let sections = open_stages(items, report);
    let stages = sections
        .iter()
        .map(|section| read_stage(section, neighbours, report))
        .collect::<Vec<_>>();
    let names = sections
        .iter()
        .zip(&stages)
        .map(|(section, stage)| Named {
            name: section.text("name"),
            kind: stage.as_ref().map(|stage| &stage.kind),
            section,
        })
        .collect::<Vec<_>>();
    let needs = read_needs(&names, report);
    check_total(&stages, file.place_of("stage"), report);
    stages
        .into_iter()
        .zip(needs)
        .map(|(stage, needs)| stage.map(|stage| StageSpec { needs, ..stage }))
        .collect()
}

fn open_stages<'a>(items: &'a [Node], report: &mut Report<'_>) -> Vec<Section<'a>> {
    let Some(keys) = keys::find(keys::ROOT, "stage").and_then(|key| key.shape.keys()) else {
        return Vec::new();
    };
    let mut sections = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Value::Table(table) = &item.value else {
            continue;
        };
        let name = match table.get("name").map(|entry| &entry.node.value) {
            Some(Value::Text(name)) => Some(shown(name)),
            _ => None,
        };
        let (path, title) = match name {
            Some(name) => (format!("stage.{name}"), format!("[[stage]] \"{name}\"")),
            None => (
                format!("stage[{index}]"),
                format!("[[stage]] number {}", index + 1),
            ),
        };
        sections.push(Section::open(keys, table, item.place, path, title, report));
    }
    sections
}

fn read_stage(
    section: &Section<'_>,
    neighbours: Neighbours<'_, '_>,
    report: &mut Report<'_>,
) -> Option<StageSpec> {
    let storage = neighbours.storage;
    train::check_keys(section, report);
    let kind = read_kind(section, neighbours, report);
    let env = section.scalars("env");
    let params = section.scalars("params");
    let command = read_command(section, kind.as_ref(), &params, storage, report);
    let budgets = read_budgets(section, report);
    Some(StageSpec {
        name: section.text("name")?.to_owned(),
        kind: kind?,
        needs: Vec::new(),
        command: command?,
        env,
        params,
        timeout_ms: section.duration_ms("timeout")?,
        grace_ms: section.duration_ms("grace")?,
        budgets: budgets?,
        backoff_ms: section.duration_ms("backoff")?,
        log_bytes: section.bytes("log_bytes")?,
        cpu_milli: section.thousandths("cpus"),
        memory_mib: section.bytes("memory")?.div_ceil(1 << 20),
        deadline_ms: section.duration_ms("deadline")?,
        dispatch: DispatchSpec::default(),
    })
}

fn read_kind(
    section: &Section<'_>,
    neighbours: Neighbours<'_, '_>,
    report: &mut Report<'_>,
) -> Option<StageKind> {
    let Neighbours {
        workers,
        storage,
        folder,
    } = neighbours;
    let title = &section.title;
    if section.text("kind") == Some("train") {
        return read_train(section, workers, folder, report).map(StageKind::Train);
    }
    let once = section.text("kind") == Some("once");
    if once {
        if section.is_given("shards") {
            let message = format!("{title} runs once, so it has no `shards`");
            let fix = "take `shards` out, or write `kind = \"shards\"`";
            report.add(
                ErrorCode::Value,
                section.place_of("shards"),
                section.path_of("shards"),
                message,
                fix,
            );
        }
        return Some(StageKind::Once);
    }
    let Some(table) = section.table("shards", format!("`shards` of {title}"), report) else {
        if section.text("kind") == Some("shards") && !section.is_given("shards") {
            let message = format!("`shards` is missing in {title}");
            let fix = "add `shards = { glob = \"**/*.xml\" }`, or a `range`, `dates` or `values`; or write `kind = \"once\"`";
            report.add(
                ErrorCode::Missing,
                section.place,
                section.path_of("shards"),
                message,
                fix,
            );
        }
        return None;
    };
    let source = read_source(&table, report)?;
    if matches!(source, crate::ShardSource::Glob(_))
        && storage.is_some_and(|storage| !storage.is_given("input"))
    {
        let message = format!("{title} lists its shards by `glob`, but [storage] has no `input`");
        let place = storage.map_or(Place::Whole, |storage| storage.place);
        report.add(
            ErrorCode::Missing,
            place,
            "storage.input",
            message,
            "add a line such as `input = \"drives\"` to [storage]",
        );
    }
    Some(StageKind::Shards(source))
}

fn read_command(
    section: &Section<'_>,
    kind: Option<&StageKind>,
    params: &BTreeMap<String, String>,
    storage: Option<&Section<'_>>,
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
            ErrorCode::Value,
            place,
            section.path_of("command"),
            message,
            fix,
        );
        return None;
    }
    let has_input = storage.is_none_or(|storage| storage.is_given("input"));
    for (argument, place) in &arguments {
        let problem = match template::placeholders_of(argument) {
            Ok(placeholders) => placeholders
                .iter()
                .find_map(|placeholder| {
                    Some((
                        placeholder.name(),
                        misuse(placeholder, kind, params, has_input)?,
                    ))
                })
                .map(|(name, (why, fix))| {
                    (format!("{{{name}}}"), format!("`{{{name}}}` {why}"), fix)
                }),
            Err(error) => Some((marked(&error), error.to_string(), error.fix())),
        };
        if let Some((mark, what, fix)) = problem {
            let message = format!("`command` in {}: {what}", section.title);
            let place = report.within(*place, &mark);
            report.add(
                ErrorCode::Placeholder,
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
        | TemplateError::NoValue(_)
        | TemplateError::TooLong => String::from("\0"),
    }
}

/// Why a placeholder has no value in this stage, and what to do.
fn misuse(
    placeholder: &Placeholder,
    kind: Option<&StageKind>,
    params: &BTreeMap<String, String>,
    has_input: bool,
) -> Option<(String, String)> {
    let source = match kind {
        Some(StageKind::Shards(source)) => Some(source),
        Some(StageKind::Once | StageKind::Train(_)) | None => None,
    };
    let once = kind == Some(&StageKind::Once);
    let training = matches!(kind, Some(StageKind::Train(_)));
    match placeholder {
        Placeholder::Input
        | Placeholder::Key
        | Placeholder::Index
        | Placeholder::Attempt
        | Placeholder::Output
            if training =>
        {
            let fix = "use `{checkpoints}` for the checkpoints, `{output_root}` for all outputs, or `{input_root}` for all inputs";
            Some(("is of one shard, and this stage trains".into(), fix.into()))
        }
        Placeholder::Checkpoints if !training && kind.is_some() => Some((
            "is the folder of a training's checkpoints, and this stage does not train".into(),
            "use `{output_root}/STAGE/checkpoints` for those of the stage STAGE".into(),
        )),
        Placeholder::Input | Placeholder::Key | Placeholder::Index if once => {
            let fix = "use `{output_root}` for all outputs, or `{input_root}` for all inputs";
            Some((
                "is of one shard, and this stage runs once".into(),
                fix.into(),
            ))
        }
        Placeholder::Input
            if source.is_some_and(|source| !matches!(source, crate::ShardSource::Glob(_))) =>
        {
            Some((
                "is a file, and these shards are not listed by `glob`".into(),
                "use `{key}`".into(),
            ))
        }
        Placeholder::InputRoot if !has_input => Some((
            "has no value: [storage] has no `input`".into(),
            "add `input = \"drives\"` to [storage]".into(),
        )),
        Placeholder::Param(name) if !params.contains_key(name) => {
            let fix = nearest(name, params.keys().map(String::as_str)).map_or_else(
                || format!("add `params = {{ {name} = 1 }}`"),
                |near| format!("did you mean `{{param.{near}}}`?"),
            );
            Some((
                "has no value: there is no such entry in `params`".into(),
                fix,
            ))
        }
        Placeholder::Input
        | Placeholder::Output
        | Placeholder::Key
        | Placeholder::Index
        | Placeholder::Attempt
        | Placeholder::OutputRoot
        | Placeholder::InputRoot
        | Placeholder::Job
        | Placeholder::Stage
        | Placeholder::Checkpoints
        | Placeholder::Param(_) => None,
    }
}

fn read_budgets(section: &Section<'_>, report: &mut Report<'_>) -> Option<Budgets> {
    let title = format!("`budgets` of {}", section.title);
    let retries = section.integer_u32("retries");
    let table = section.table_or_empty("budgets", title, report)?;
    if section.text("kind") == Some("train") {
        train::check_budgets(&table, report);
    }
    Some(Budgets {
        failed: table.integer_u32("failed").or(retries)?,
        timed_out: table.integer_u32("timed_out").or(retries)?,
        worker_lost: table.integer_u32("worker_lost")?,
        infrastructure: table.integer_u32("infrastructure")?,
        preempted: table.integer_u32("preempted")?,
    })
}

/// The bound holds for the job as a whole; a stage over it has been reported already.
fn check_total(stages: &[Option<StageSpec>], place: Place, report: &mut Report<'_>) {
    let counts = stages
        .iter()
        .flatten()
        .filter_map(|stage| shards::stage_count(&stage.kind));
    let total = counts.map(u128::from).sum::<u128>();
    if total > u128::from(MAX_SHARDS) {
        let (message, fix) = too_many_shards(total);
        report.add(
            ErrorCode::TooManyShards,
            place,
            "stage",
            format!("all stages together: {message}"),
            fix,
        );
    }
}
