//! What is written from the key table is checked in, and can't drift from it.

use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests"))
        .join("../../docs")
}

/// Holds a checked-in file to its text, or writes it where `PETCTL_BLESS` is set.
fn hold(name: &str, text: &str) {
    let path = docs().join(name);
    if std::env::var_os("PETCTL_BLESS").is_some() {
        std::fs::write(&path, text).expect("docs can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/{name} is not what the key table says; write it anew with: PETCTL_BLESS=1 cargo test -p petctl-spec"
    );
}

#[test]
fn the_schema_in_docs_is_that_of_the_code() {
    hold("job-file.schema.json", &petctl_spec::schema_text());
}

#[test]
fn the_reference_in_docs_is_that_of_the_code() {
    hold("job-file.md", &petctl_spec::reference());
}

#[test]
fn the_example_of_the_reference_is_a_good_job_file() {
    let spec = petctl_spec::parse(petctl_spec::EXAMPLE, "job.toml", "/jobs", &[]).unwrap();
    assert_eq!(spec.stages.len(), 2);
}
