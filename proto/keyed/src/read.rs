//! From text to a tree of values, with what is no TOML in it.

use crate::report::{Kind, Place, Report};
use crate::tree::{self, Table};
use petctl_codes::Code;
use petctl_text::words::thousands;
use toml::de::DeTable;

/// Most errors of syntax that are shown; later ones often follow from the first.
const MAX_SYNTAX_ERRORS: usize = 5;
/// Largest text in which more than the first error of syntax is looked for, in bytes.
const MAX_RECOVERABLE_BYTES: usize = 64 * 1024;

/// Reads the text of a file as TOML; `None` where it is none, which is reported then.
pub fn read_toml(text: &str, report: &mut Report<'_>) -> Option<Table> {
    let kind = report.kind();
    if text.len() > kind.max_bytes {
        let message = format!(
            "{} has {} bytes; it may have {}",
            kind.name,
            thousands(text.len() as u128),
            thousands(kind.max_bytes as u128)
        );
        report.add(Code::JobFileValue, Place::Whole, "", message, kind.larger);
        return None;
    }
    let first = match DeTable::parse(text) {
        Ok(document) => return Some(tree::from_document(document.get_ref())),
        Err(first) => first,
    };
    // A large file that is not TOML has errors without end.
    let errors = if text.len() <= MAX_RECOVERABLE_BYTES {
        DeTable::parse_recoverable(text).1
    } else {
        vec![first]
    };
    let mut found = errors
        .iter()
        .map(|error| (Place::text(error.span().unwrap_or(0..0)), error.message()))
        .collect::<Vec<_>>();
    found.sort();
    found.truncate(100 * MAX_SYNTAX_ERRORS);
    // One a line: what else is said of it follows from the first.
    found.dedup_by_key(|(place, _)| report.line(*place));
    for (place, message) in found.into_iter().take(MAX_SYNTAX_ERRORS) {
        report.add(
            Code::JobFileSyntax,
            place,
            "",
            format!("not TOML: {message}"),
            syntax_fix(message, kind),
        );
    }
    None
}

fn syntax_fix(message: &str, kind: &Kind) -> String {
    let fix = if message.contains("duplicate key") {
        "take one of the two out"
    } else if message.contains("must be quoted") || message.contains("invalid basic string") {
        "put the text in \"quotes\""
    } else if message.contains("invalid date") || message.contains("invalid time") {
        "write a date that exists"
    } else if message.contains("key with no value") {
        "write `key = value`"
    } else if message.contains("unclosed") || message.contains("missing comma") {
        "close what is open, with commas between its items"
    } else {
        return format!(
            "write `key = value` under {}; texts stand in \"quotes\"",
            kind.tables
        );
    };
    fix.to_owned()
}
