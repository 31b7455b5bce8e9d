//! The schemas in `docs/json` are those of the code, and the examples in `docs/json.md` are valid by them.

use petctl_report::model::schemas;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[test]
fn the_schemas_in_docs_are_those_of_the_code() {
    let folder = docs().join("json");
    for (name, text) in schemas() {
        let path = folder.join(format!("{name}.schema.json"));
        if std::env::var_os("PETCTL_BLESS").is_some() {
            fs::write(&path, &text).expect("docs can be written");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "docs/json/{name}.schema.json is not what the code says; write it anew with: \
             PETCTL_BLESS=1 cargo test -p petctl-report"
        );
    }
    let known: BTreeSet<String> = schemas()
        .into_iter()
        .map(|(name, _)| format!("{name}.schema.json"))
        .collect();
    let there: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, known);
}

#[test]
fn the_page_has_a_valid_example_of_each_output() {
    let page = fs::read_to_string(docs().join("json.md")).unwrap();
    for (name, text) in schemas() {
        let schema: Value = serde_json::from_str(&text).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let link = format!("(json/{name}.schema.json)");
        let (_, section) = page
            .split_once(&link)
            .unwrap_or_else(|| panic!("docs/json.md has no {link}"));
        let (_, example) = section.split_once("```json\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let example: Value = serde_json::from_str(example)
            .unwrap_or_else(|error| panic!("the example of {name}: {error}"));
        if let Err(error) = validator.validate(&example) {
            panic!(
                "the example of {name}: {error} at {}",
                error.instance_path()
            );
        }
    }
}
