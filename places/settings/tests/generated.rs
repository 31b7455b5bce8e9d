//! What is written from the key table is checked in, and can't drift from it.

use std::path::Path;

/// Holds a checked-in file to its text, or writes it where `PETCTL_BLESS` is set.
fn hold(name: &str, text: &str) {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    let path = Path::new(&folder).join("../../docs").join(name);
    if std::env::var_os("PETCTL_BLESS").is_some() {
        std::fs::write(&path, text).expect("docs can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/{name} is not what the key table says; write it anew with: PETCTL_BLESS=1 cargo test -p petctl-settings"
    );
}

#[test]
fn the_schema_in_docs_is_that_of_the_code() {
    hold("petctl.schema.json", &petctl_settings::schema_text());
}

#[test]
fn the_reference_in_docs_is_that_of_the_code() {
    hold("places.md", &petctl_settings::reference());
}

#[test]
fn the_example_of_the_reference_is_a_good_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("petctl.toml"), petctl_settings::EXAMPLE).unwrap();
    let places = petctl_settings::Places::find(folder.path(), &[], &|_| None).unwrap();
    assert_eq!(places.all().len(), 3);
    assert_eq!(places.choose(None).unwrap().0.name, "gpu");
}
