//! `--set key=value`: values that stand above those of the file.

use crate::file::report::{Place, Report};
use crate::file::tree::{self, Entry, Node, Table, Value};
use crate::keys::{self, Key, ROOT, Shape};
use petctl_codes::Code;
use petctl_text::words::{nearest, shown};
use std::collections::BTreeMap;
use toml::de::DeValue;

/// Most overrides of one run.
pub const MAX_OVERRIDES: usize = 1_000;
/// Longest override in bytes.
const MAX_OVERRIDE_BYTES: usize = 128 * 1024;

/// Puts the overrides into the tree, the later ones above the earlier.
pub(crate) fn apply(root: &mut Table, overrides: &[(String, String)], report: &mut Report<'_>) {
    for (index, (path, text)) in overrides.iter().enumerate() {
        let place = Place::Option(index);
        if index >= MAX_OVERRIDES || path.len() + text.len() > MAX_OVERRIDE_BYTES {
            let message = "too many overrides, or too long a one";
            report.add(
                Code::JobFileValue,
                place,
                path.as_str(),
                message,
                "write it into the job file",
            );
            return;
        }
        if let Err((code, message, fix)) = apply_one(root, path, text, index) {
            report.add(code, place, path.as_str(), message, fix);
        }
    }
}

/// A code, what is wrong, and the fix.
pub type Problem = (Code, String, String);

fn apply_one(root: &mut Table, path: &str, text: &str, index: usize) -> Result<(), Problem> {
    let parts = path.split('.').collect::<Vec<_>>();
    let form = || {
        "write `--set TABLE.KEY=VALUE`, such as `workers.max=4` or `stage.NAME.timeout=5m`"
            .to_owned()
    };
    if parts.iter().any(|part| part.is_empty()) {
        return Err((
            Code::JobFileValue,
            format!("`{}` is no key", shown(path)),
            form(),
        ));
    }
    let (first, rest) = parts
        .split_first()
        .ok_or_else(|| (Code::JobFileValue, "no key".to_owned(), form()))?;
    if rest.is_empty() && keys::find(ROOT, first).is_some() {
        return Err((
            Code::JobFileValue,
            format!("`{first}` is a table, not a key"),
            form(),
        ));
    }
    if *first != "stage" {
        return set_key(root, ROOT, &parts, text, index);
    }
    let (name, rest) = rest
        .split_first()
        .ok_or_else(|| (Code::JobFileValue, "no stage".to_owned(), form()))?;
    if rest.is_empty() {
        return Err((
            Code::JobFileValue,
            format!("`stage.{}` is a table, not a key", shown(name)),
            form(),
        ));
    }
    let keys = keys::find(ROOT, "stage").and_then(|key| key.shape.keys());
    let table = find_stage(root, name)?;
    set_key(table, keys.unwrap_or_default(), rest, text, index)
}

/// The stage of that name.
fn find_stage<'a>(root: &'a mut Table, name: &str) -> Result<&'a mut Table, Problem> {
    let mut found = None;
    let mut names = Vec::new();
    if let Some(Entry {
        node: Node {
            value: Value::List(items),
            ..
        },
        ..
    }) = root.get_mut("stage")
    {
        for item in items {
            let Value::Table(table) = &mut item.value else {
                continue;
            };
            let Some(Value::Text(own)) = table.get("name").map(|entry| &entry.node.value) else {
                continue;
            };
            names.push(own.clone());
            if own == name {
                found = Some(table);
                break;
            }
        }
    }
    found.ok_or_else(|| {
        let fix = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `stage.{}`?", shown(near)),
            None => {
                let names = names
                    .iter()
                    .take(10)
                    .map(|name| shown(name))
                    .collect::<Vec<_>>();
                format!("stages of this file: {}", names.join(", "))
            }
        };
        (
            Code::JobFileValue,
            format!("there is no stage `{}`", shown(name)),
            fix,
        )
    })
}

/// Sets a key below a table with these keys: `value` is read as TOML, and as text where it is none. `index` is that of
/// the override.
///
/// # Errors
/// Its code, what is wrong, and the fix.
pub fn set_key(
    table: &mut Table,
    keys: &[Key],
    parts: &[&str],
    value: &str,
    index: usize,
) -> Result<(), Problem> {
    let node = read(value, shape_of(keys, parts), index);
    set(table, parts, node, Place::Option(index))
}

fn set(table: &mut Table, parts: &[&str], node: Node, place: Place) -> Result<(), Problem> {
    let Some((first, rest)) = parts.split_first() else {
        return Ok(());
    };
    // What stands in the file keeps its place there.
    let next = || table.values().map(|entry| entry.order).max();
    let order = table.get(*first).map(|entry| entry.order);
    let order = order.unwrap_or_else(|| next().map_or(0, |last| last.saturating_add(1)));
    if rest.is_empty() {
        let entry = Entry {
            key: place,
            order,
            node,
        };
        table.insert((*first).to_owned(), entry);
        return Ok(());
    }
    let entry = table.entry((*first).to_owned()).or_insert_with(|| Entry {
        key: place,
        order,
        node: Node {
            place,
            value: Value::Table(BTreeMap::new()),
        },
    });
    if let Value::Table(inner) = &mut entry.node.value {
        return set(inner, rest, node, place);
    }
    let kind = entry.node.value.kind();
    let message = format!(
        "`{}` is {kind}, so it has no `{}`",
        shown(first),
        shown(&rest.join("."))
    );
    Err((
        Code::JobFileType,
        message,
        format!("set `{}` itself", shown(first)),
    ))
}

/// What the key table says of a key; `None` where it does not know it.
fn shape_of<'k>(keys: &'k [Key], parts: &[&str]) -> Option<&'k Shape> {
    let (first, rest) = parts.split_first()?;
    let shape = &keys::find(keys, first)?.shape;
    if rest.is_empty() {
        Some(shape)
    } else {
        shape_of(shape.keys()?, rest)
    }
}

/// The value as TOML reads it, else the text itself. Keys that want text get it without quotes too.
fn read(text: &str, shape: Option<&Shape>, index: usize) -> Node {
    let plain = || Node {
        place: Place::Option(index),
        value: Value::Text(text.to_owned()),
    };
    let Ok(value) = DeValue::parse(text) else {
        return plain();
    };
    let wants_text = match shape {
        Some(
            Shape::Name
            | Shape::Text
            | Shape::Duration { .. }
            | Shape::Choice(_)
            | Shape::Step
            | Shape::Secret,
        ) => true,
        Some(_) | None => false,
    };
    if wants_text && !matches!(value.get_ref(), DeValue::String(_)) {
        return plain();
    }
    tree::from_override(&value, index)
}
