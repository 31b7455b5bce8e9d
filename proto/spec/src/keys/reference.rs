//! The reference of the job file for people (docs/job-file.md), written from the key table.

use crate::keys::ROOT;
use crate::model::{MAX_SHARDS, MAX_STAGES};
use petctl_keyed::{Key, Presence, Shape, push_keys};
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
