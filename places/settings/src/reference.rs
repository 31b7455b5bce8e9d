//! The reference for people (docs/places.md) and the JSON schema, written from the key table.

use crate::keys::{KUBE, ROOT};
use petctl_keyed::{Key, Shape, document, push_keys};

/// The example that the reference shows; it is a good file.
pub const EXAMPLE: &str = include_str!("../testdata/example.toml");

const INTRODUCTION: &str = "# Places

<!-- Written by the tests of petctl-settings from its key table; PETCTL_BLESS=1 cargo test -p petctl-settings writes it
anew. -->

Where a job runs is a place, and no part of its job file: `local`, which is always there, or a table of `petctl.toml`.
`petctl places` lists them, and `petctl places NAME` shows every key of one with its value and where that comes from.
Editors can use `docs/petctl.schema.json`.

petctl reads the `petctl.toml` beside the job file, or in the nearest folder above it (a command without a job file
begins with the current folder), and the user's file, `$XDG_CONFIG_HOME/petctl/petctl.toml`, mostly
`~/.config/petctl/petctl.toml`. Where both have a place of one name, that of `petctl.toml` stands, whole.

The place of a job is that of `--on NAME`; else of `PETCTL_ON`; else of `default` in `petctl.toml`; else of `default` in
the user's file; else `local`.
";

const OVERRIDES: &str = "
## Overrides

`--set place.NAME.KEY=VALUE` sets a key of a place for one run, above the files: `--set place.gpu.namespace=ml`,
`--set place.gpu.resources.cpu=8`. The value is read as TOML, and as plain text where it is none. It may be given more
than once; the last one stands.
";

/// The reference as it is checked in: Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = format!("{INTRODUCTION}\n```toml\n{EXAMPLE}```\n");
    push_keys(
        &mut out,
        "##",
        "The file",
        "What the whole file can say.",
        ROOT,
    );
    let doc =
        "A place on Kubernetes. Its namespace, and what it takes to work there, must be there.";
    push_keys(&mut out, "##", "[place.NAME]", doc, KUBE);
    push_inner(&mut out, "", KUBE);
    out.push_str(OVERRIDES);
    out
}

fn push_inner(out: &mut String, of: &str, keys: &'static [Key]) {
    for key in keys {
        let path = format!("{of}{}", key.name);
        // What `coordinator` has in common with the place is told there.
        let told = !of.is_empty();
        if let Shape::Table(inner) | Shape::Items { keys: inner, .. } = key.shape
            && (!told || key.name == "blob")
            && key.name != "requests"
        {
            push_keys(
                out,
                "###",
                &format!("`{path}` of [place.NAME]"),
                key.doc,
                inner,
            );
            push_inner(out, &format!("{path}."), inner);
        }
    }
}

/// The schema as it is checked in: pretty, with a line break at its end.
#[must_use]
pub fn schema_text() -> String {
    let schema = document(
        "petctl.toml",
        "Where jobs of petctl can run, in TOML. `petctl places` checks it in full.",
        ROOT,
    );
    format!("{schema:#}\n")
}
