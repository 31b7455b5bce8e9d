//! `matrix`: every combination of its axes, each a list, a range or dates.

use crate::keys::ROOT;
use crate::model::{Axis, ShardSource};
use crate::shards::source::{check_count, check_values, only_source, read_computed};
use crate::shards::{MAX_AXES, matrix_problem};
use petctl_codes::Code;
use petctl_keyed::{Entry, Key, Node, Place, Report, Section, Shape, Value, find, written};
use petctl_text::words::{is_identifier, shown};

/// Sources of an axis that is a table.
const SOURCES: [&str; 3] = ["range", "dates", "values"];

/// Reads the axes in the order in which they are written; `None` where one of them can't be used.
pub(crate) fn read_matrix(table: &Section<'_>, report: &mut Report<'_>) -> Option<ShardSource> {
    let Value::Table(entries) = &table.node("matrix")?.value else {
        return None;
    };
    if entries.is_empty() || entries.len() > MAX_AXES {
        let message = match entries.len() {
            0 => format!("`matrix` in {} has no axis", table.title),
            count => format!("`matrix` in {} has {count} axes", table.title),
        };
        let fix = format!(
            "write 1 to {MAX_AXES} of them, such as `matrix = {{ place = [\"a\", \"b\"], seed = {{ range = [0, 10] }} }}`"
        );
        let code = if entries.is_empty() {
            Code::NoShards
        } else {
            Code::JobFileValue
        };
        add(table, code, table.place_of("matrix"), message, fix, report);
        return None;
    }
    let axes = written(entries)
        .into_iter()
        .map(|(name, entry)| read_axis(table, name, entry, report))
        .collect::<Vec<_>>();
    // All axes are read before one of them ends it, so that all that is wrong is said.
    let axes = axes.into_iter().collect::<Option<Vec<_>>>()?;
    if let Some(why) = matrix_problem(&axes) {
        let message = format!("`matrix` in {}: {why}", table.title);
        let fix = "use shorter names of axes, or shorter values";
        let place = table.place_of("matrix");
        add(table, Code::InvalidShardKey, place, message, fix, report);
        return None;
    }
    check_count(table, "matrix", ShardSource::Matrix(axes), report)
}

fn read_axis(
    table: &Section<'_>,
    name: &str,
    entry: &Entry,
    report: &mut Report<'_>,
) -> Option<Axis> {
    let Entry { key, node, .. } = entry;
    if !is_identifier(name) {
        let message = format!(
            "`matrix.{}` in {} is no name of an axis, which is a parameter",
            shown(name),
            table.title
        );
        let fix = "use letters, digits and `_`, no digit first, at most 128";
        add(table, Code::JobFileValue, *key, message, fix, report);
        return None;
    }
    // Its messages speak of the axis as the table's key.
    let title = format!("axis `{name}` of `matrix` in {}", table.title);
    let path = format!("{}.{name}", table.path_of("matrix"));
    let source = match &node.value {
        Value::List(items) => read_list(table, name, items, node.place, report),
        Value::Table(inner) => {
            let axis = Section::open(axis_keys(), inner, node.place, path, title, report);
            let fix = "write a list, or one of `range`, `dates` and `values`";
            let source = only_source(&axis, &SOURCES, fix, report)?;
            read_computed(&axis, source, report)
        }
        Value::Text(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Switch(_)
        | Value::Date(_) => {
            let message = format!(
                "`matrix.{name}` in {} is {}; it wants a list or a table",
                table.title,
                node.value.kind()
            );
            let fix = format!(
                "write it such as `{name} = [\"a\", \"b\"]` or `{name} = {{ range = [0, 10] }}`"
            );
            add(table, Code::JobFileType, node.place, message, fix, report);
            None
        }
    };
    Some(Axis {
        name: name.to_owned(),
        source: source?,
    })
}

fn read_list(
    table: &Section<'_>,
    name: &str,
    items: &[Node],
    place: Place,
    report: &mut Report<'_>,
) -> Option<ShardSource> {
    let mut all = true;
    for (index, item) in items.iter().enumerate() {
        let finite = |float: &String| !float.contains("nan") && !float.contains("inf");
        let good = match &item.value {
            Value::Float(float) => finite(float),
            Value::Text(_) | Value::Integer(_) | Value::Switch(_) | Value::Date(_) => true,
            Value::List(_) | Value::Table(_) => false,
        };
        if !good {
            let message = format!(
                "`matrix.{name}[{index}]` in {} is {}; it wants a string, a finite number or a boolean",
                table.title,
                item.value.kind()
            );
            let fix = format!("write it such as `{name} = [\"a\", \"b\"]`");
            add(table, Code::JobFileType, item.place, message, fix, report);
            all = false;
        }
    }
    if !all {
        return None;
    }
    if items.is_empty() {
        let message = format!(
            "`matrix.{name}` in {} is empty: the stage has no shards",
            table.title
        );
        let fix = "write one or more values, or take the axis out";
        add(table, Code::NoShards, place, message, fix, report);
        return None;
    }
    check_values(table, &format!("matrix.{name}"), items, report)
}

/// What the key table says of an axis.
fn axis_keys() -> &'static [Key] {
    let shards = find(ROOT, "stage")
        .and_then(|stage| find(stage.shape.keys()?, "shards"))
        .and_then(|shards| find(shards.shape.keys()?, "matrix"));
    match shards.map(|matrix| &matrix.shape) {
        Some(Shape::Matrix { keys, .. }) => keys,
        Some(_) | None => &[],
    }
}

fn add(
    table: &Section<'_>,
    code: Code,
    place: Place,
    message: String,
    fix: impl Into<String>,
    report: &mut Report<'_>,
) {
    report.add(code, place, table.path_of("matrix"), message, fix);
}
