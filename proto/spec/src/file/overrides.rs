//! `--set key=value`: values that stand above those of the file.

use crate::keys::ROOT;
use petctl_codes::Code;
use petctl_keyed::{
    Entry, MAX_OVERRIDES, Node, Place, Problem, Report, Table, Value, find, set_key,
};
use petctl_text::words::{nearest, shown};

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
    if rest.is_empty() && find(ROOT, first).is_some() {
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
    let keys = find(ROOT, "stage").and_then(|key| key.shape.keys());
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
