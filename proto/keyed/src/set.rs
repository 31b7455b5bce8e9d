//! One key set above what a file says.

use crate::key::{Key, Shape, find};
use crate::report::Place;
use crate::tree::{self, Entry, Node, Table, Value};
use petctl_codes::Code;
use petctl_text::words::shown;
use std::collections::BTreeMap;
use toml::de::DeValue;

/// Most overrides of one run.
pub const MAX_OVERRIDES: usize = 1_000;

/// A code, what is wrong, and the fix.
pub type Problem = (Code, String, String);

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
    let shape = &find(keys, first)?.shape;
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
