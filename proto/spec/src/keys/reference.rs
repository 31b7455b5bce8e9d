//! The reference of the job file for people (docs/job-file.md), written from the key table.

use crate::keys::{Choice, Key, NameRule, Presence, ROOT, Shape};
use crate::model::{MAX_SHARDS, MAX_STAGES};
use petctl_text::template::PLACEHOLDERS;
use petctl_text::words::thousands;
use std::fmt::Write as _;

/// The example that the reference shows; it is a good job file.
pub const EXAMPLE: &str = include_str!("../../testdata/example.toml");

/// The reference as it is checked in: Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = String::new();
    out.push_str(INTRODUCTION);
    let _ = write!(out, "\n```toml\n{EXAMPLE}```\n");
    let _ = write!(
        out,
        "\nA job has at most {} stages and {} shards.\n",
        thousands(MAX_STAGES as u128),
        thousands(u128::from(MAX_SHARDS))
    );
    for key in ROOT {
        push_table(&mut out, key);
    }
    push_placeholders(&mut out);
    out.push_str(OVERRIDES);
    out
}

const INTRODUCTION: &str = "# The job file

<!-- Written by the tests of petctl-spec from its key table; PETCTL_BLESS=1 cargo test -p petctl-spec writes it anew. -->

A job file is TOML. `petctl validate JOB.toml` checks it in full and starts nothing; every error names the line, the
key and the fix. Editors can use `docs/job-file.schema.json`.

[Shards](shards.md) says with examples where shards come from and how they are run, [storage](storage.md) how `az://`
is reached, [warm processes](serve.md) what `serve` asks of a command, [training](training.md) what a `train` stage is.
";

const OVERRIDES: &str = "
## Overrides

`--set KEY=VALUE` sets any key for one run, above the file: `--set workers.max=4`, `--set storage.output=/tmp/o`,
`--set stage.NAME.timeout=5m`, `--set stage.NAME.params.v0=30`. The value is read as TOML, and as plain text where it
is none. It may be given more than once; the last one stands.
";

fn push_table(out: &mut String, key: &'static Key) {
    let Some((heading, keys)) = key.shape.header(key.name).zip(key.shape.keys()) else {
        return;
    };
    let needed = if key.presence == Presence::Required {
        " Required."
    } else {
        ""
    };
    push_keys(out, "##", &heading, &format!("{}{needed}", key.doc), keys);
    for inner in keys {
        if let Shape::Table(keys) = inner.shape {
            let of = format!("`{}` of {heading}", inner.name);
            push_keys(out, "###", &of, inner.doc, keys);
        }
    }
}

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
            format!("duration, at most {}", crate::format_duration_ms(*max_ms))
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
        Shape::CountOrPercent => "whole number from 1, or a percentage".into(),
        Shape::Secret => "`env:NAME` or `file:PATH`".into(),
        Shape::Thousandths { max } => {
            format!("number, 0 to {}", thousands(u128::from(max / 1_000)))
        }
        Shape::Switch => "`true` or `false`".into(),
        Shape::Choice(_) => "one of a few".into(),
        Shape::Texts { max } => format!("list of texts, at most {}", thousands(*max as u128)),
        Shape::ExitCodes => "list of exit codes, 1 to 255".into(),
        Shape::Scalars(NameRule::Container) => "table of folders by container".into(),
        Shape::Scalars(NameRule::Foreign) => "table of texts".into(),
        Shape::Scalars(_) => "table of texts, numbers or booleans".into(),
        Shape::Keys => "list of texts or whole numbers".into(),
        Shape::Range => "first and end".into(),
        Shape::Dates => "first and last day".into(),
        Shape::Step => "distance".into(),
        Shape::Table(_) => "table".into(),
        Shape::Tables(_) | Shape::Items { .. } => "tables".into(),
        Shape::Named(_) => "tables by name".into(),
        Shape::Matrix(_) => "table of lists and tables".into(),
    }
}

fn push_placeholders(out: &mut String) {
    out.push_str(
        "\n## Placeholders of `command`\n\n| Placeholder | What it stands for |\n|---|---|\n",
    );
    for (name, _, doc) in PLACEHOLDERS {
        let _ = writeln!(out, "| `{{{name}}}` | {doc} |");
    }
    out.push_str("| `{param.NAME}` | The entry NAME of the stage's `params`, or the shard's own parameter of that name: an axis of `matrix`, or of its line in `manifest`. |\n");
    out.push_str("\nA literal brace is written twice: `{{` and `}}`.\n");
}
