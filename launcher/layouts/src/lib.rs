//! Layouts: what a folder must hold before it is worth sending. A layout is a small TOML file; `datagen` is built in.

mod check;
mod json;
mod model;
mod wheel;

pub use check::{Extras, check};
pub use model::UploadLayout;

use petctl_ui::error::{Code, Error, Result};
use std::path::Path;

/// Largest layout file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;
/// Layouts that come with petctl: name and text.
const BUILT_IN: [(&str, &str); 1] = [("datagen", include_str!("datagen.toml"))];

/// The text of a layout: a built-in one by its name, else a file.
pub fn text(name: &str) -> Result<String> {
    if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok((*text).to_owned());
    }
    let bytes = petctl_output::manifest::read_bounded(Path::new(name), MAX_BYTES);
    let bytes = bytes.map_err(|error| {
        let known: Vec<&str> = BUILT_IN.iter().map(|(known, _)| *known).collect();
        bad(name, "can't be read").because(&error).fix(format!(
            "name a TOML file, or a layout that is built in: {}",
            known.join(", ")
        ))
    })?;
    String::from_utf8(bytes).map_err(|error| bad(name, "is not UTF-8 text").because(&error))
}

/// Reads a layout: a built-in one by its name, else a file.
pub fn load(name: &str) -> Result<UploadLayout> {
    let layout: UploadLayout = toml::from_str(&text(name)?).map_err(|error| {
        bad(name, "is no layout")
            .because(&error)
            .fix("`petctl upload --layout datagen --show-layout` shows one that is")
    })?;
    layout.check().map_err(|why| {
        bad(name, &why)
            .fix("`petctl upload --layout datagen --show-layout` shows one that is right")
    })?;
    Ok(layout)
}

fn bad(name: &str, what: &str) -> Error {
    Error::new(Code::BadLayout, format!("the layout {name}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_layouts_are_layouts() {
        for (name, _) in BUILT_IN {
            assert_eq!(load(name).unwrap().name, name);
        }
    }

    #[test]
    fn what_is_no_layout_is_told_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let name = path.to_str().unwrap();
        assert_eq!(load(name).unwrap_err().code(), "BAD_LAYOUT");
        for (text, why) in [
            ("name = 3", "expected a string"),
            ("name = \"x\"\nfils = []", "unknown field `fils`"),
            (
                "name = \"x\"\n[[file]]\npath = \"../x\"",
                "\"../x\" leads out",
            ),
            (
                "name = \"x\"\n[[folder]]\npath = \"a\"\nfiles = \"[\"",
                "\"[\" is no pattern",
            ),
            (
                "name = \"x\"\n[extras.tool]\nkind = \"file\"\nto = \"x\"",
                "unknown",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = load(name).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
