//! `[[stage]]`: one table each, then what they need of one another.

use crate::keys;
use crate::model::{Budgets, MAX_SHARDS, MAX_STAGES, ShardSource, StageKind, StageSpec};
use crate::parts::command::{CommandStage, read_command};
use crate::parts::dispatch::{check_min_done, read_dispatch};
use crate::parts::needs::{Named, read_needs};
use crate::parts::train::{self, read_train};
use crate::shards;
use crate::shards::source::read_source;
use crate::shards::source::too_many_shards;
use petctl_codes::Code;
use petctl_keyed::{Node, Place, Report, Section, Value, find};
use petctl_text::words::{shown, thousands};
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
            Code::JobFileMissing,
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
            Code::JobFileValue,
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
    let Some(keys) = find(keys::ROOT, "stage").and_then(|key| key.shape.keys()) else {
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
    train::check_keys(section, report);
    let kind = read_kind(section, neighbours, report);
    let env = section.scalars("env");
    let params = section.scalars("params");
    check_shadowed(section, kind.as_ref(), &params, report);
    let dispatch = read_dispatch(section, neighbours.workers, report);
    let stage = CommandStage {
        kind: kind.as_ref(),
        params: &params,
        serves: section.switch("serve"),
        has_input: neighbours
            .storage
            .is_none_or(|storage| storage.is_given("input")),
    };
    let command = read_command(section, &stage, report);
    check_min_done(section, kind.as_ref(), report);
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
        dispatch: dispatch?,
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
        let outputs_are_blobs = storage
            .and_then(|storage| storage.text("output"))
            .is_some_and(|output| output.starts_with("az://"));
        let train = read_train(section, workers, folder, report)?;
        if outputs_are_blobs && !section.is_given("checkpoints") {
            let message =
                format!("{title} has no `checkpoints`, and the output of [storage] is no folder");
            let fix = "add a folder that every worker sees, such as `checkpoints = \"/shared/checkpoints\"`";
            let path = section.path_of("checkpoints");
            report.add(Code::JobFileMissing, section.place, path, message, fix);
        }
        return Some(StageKind::Train(train));
    }
    let once = section.text("kind") == Some("once");
    if once {
        if section.is_given("shards") {
            let message = format!("{title} runs once, so it has no `shards`");
            let fix = "take `shards` out, or write `kind = \"shards\"`";
            report.add(
                Code::JobFileValue,
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
            let fix = "add `shards = { glob = \"**/*.xml\" }`, or a `range`, `dates`, `values`, `manifest` or `matrix`; or write `kind = \"once\"`";
            report.add(
                Code::JobFileMissing,
                section.place,
                section.path_of("shards"),
                message,
                fix,
            );
        }
        return None;
    };
    let source = read_source(&table, folder, report)?;
    if matches!(source, ShardSource::Glob(_))
        && storage.is_some_and(|storage| !storage.is_given("input"))
    {
        let message = format!("{title} lists its shards by `glob`, but [storage] has no `input`");
        let place = storage.map_or(Place::Whole, |storage| storage.place);
        report.add(
            Code::JobFileMissing,
            place,
            "storage.input",
            message,
            "add a line such as `input = \"drives\"` to [storage]",
        );
    }
    Some(StageKind::Shards(source))
}

/// A parameter of the stage that an axis would always hide.
fn check_shadowed(
    section: &Section<'_>,
    kind: Option<&StageKind>,
    params: &BTreeMap<String, String>,
    report: &mut Report<'_>,
) {
    let Some(StageKind::Shards(ShardSource::Matrix(axes))) = kind else {
        return;
    };
    for axis in axes.iter().filter(|axis| params.contains_key(&axis.name)) {
        let name = &axis.name;
        let message = format!(
            "`params.{name}` in {} is never seen: `{name}` is an axis of its `matrix`",
            section.title
        );
        report.add(
            Code::JobFileValue,
            section.place_of("params"),
            section.path_of("params"),
            message,
            format!("take `{name}` out of `params`, or give the axis another name"),
        );
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
            Code::TooManyShards,
            place,
            "stage",
            format!("all stages together: {message}"),
            fix,
        );
    }
}
