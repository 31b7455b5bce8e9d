//! The reference of a file for people, written from its table of keys.

use crate::key::{Choice, Key, NameRule, Presence, Shape};
use petctl_text::format_duration_ms;
use petctl_text::words::thousands;
use std::fmt::Write as _;

/// Writes a table of keys in Markdown, below a heading.
pub fn push_keys(out: &mut String, level: &str, heading: &str, doc: &str, keys: &'static [Key]) {
    let _ = write!(
        out,
        "\n{level} {heading}\n\n{doc}\n\n| Key | Value | Default | What it is for |\n|---|---|---|---|\n"
    );
    for key in keys {
        let default = match key.presence {
            Presence::Required => "required".to_owned(),
            Presence::Optional => "-".to_owned(),
            Presence::Default(text) => format!("`{text}`"),
        };
        let doc = format!("{}{}", key.doc, choices(&key.shape));
        let example = match key.example {
            "" => String::new(),
            example => format!(", such as `{example}`"),
        };
        let row = format!(
            "| `{}` | {}{example} | {default} | {doc} |",
            key.name,
            value(&key.shape)
        );
        let _ = writeln!(out, "{row}");
    }
}

fn choices(shape: &Shape) -> String {
    let (Shape::Choice(choices) | Shape::Count { words: choices, .. }) = shape else {
        return String::new();
    };
    let one = |choice: &Choice| format!("`{}` ({})", choice.value, choice.doc);
    format!(
        " {}.",
        choices.iter().map(one).collect::<Vec<_>>().join(", ")
    )
}

fn value(shape: &Shape) -> String {
    match shape {
        Shape::Name => "name".into(),
        Shape::Text => "text".into(),
        Shape::Duration { max_ms } => {
            format!("duration, at most {}", format_duration_ms(*max_ms))
        }
        Shape::Bytes { .. } => "size: bytes, or text with a unit".into(),
        Shape::Integer { min, max } => {
            format!("whole number, {min} to {}", thousands(u128::from(*max)))
        }
        Shape::Count { max, .. } => {
            format!(
                "whole number, 1 to {}, or a word",
                thousands(u128::from(*max))
            )
        }
        Shape::Share => "number, 0 to 1".into(),
        Shape::CountOrPercent { .. } => "whole number from 1, or a percentage".into(),
        Shape::Secret => "`env:NAME` or `file:PATH`".into(),
        Shape::Thousandths { max } => {
            format!("number, 0 to {}", thousands(u128::from(max / 1_000)))
        }
        Shape::Switch => "`true` or `false`".into(),
        Shape::Choice(_) => "one of a few".into(),
        Shape::Texts { max } => format!("list of texts, at most {}", thousands(*max as u128)),
        Shape::ExitCodes => "list of exit codes, 1 to 255".into(),
        Shape::Scalars(NameRule::Folders { doc, .. }) => (*doc).to_owned(),
        Shape::Scalars(NameRule::Foreign) => "table of texts".into(),
        Shape::Scalars(_) => "table of texts, numbers or booleans".into(),
        Shape::Keys { .. } => "list of texts or whole numbers".into(),
        Shape::Range => "first and end".into(),
        Shape::Dates => "first and last day".into(),
        Shape::Step => "distance".into(),
        Shape::Table(_) => "table".into(),
        Shape::Tables { .. } | Shape::Items { .. } => "tables".into(),
        Shape::Named(_) => "tables by name".into(),
        Shape::Matrix { .. } => "table of lists and tables".into(),
    }
}
