//! What the tests of this folder share: they read the project's own files and build nothing of it.

use std::fs;
use std::path::{Path, PathBuf};

/// The project's folder: that of the checkout that runs the tests, which need not be the one they were built in.
///
/// # Panics
/// Where cargo does not run them.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests")).join("../..")
}

/// The text of a file; its path starts at the project's folder.
///
/// # Panics
/// Where it can't be read.
#[must_use]
pub fn read(path: &str) -> String {
    let full = root().join(path);
    fs::read_to_string(&full).unwrap_or_else(|error| panic!("can't read {path}: {error}"))
}

/// Files with this ending below a folder, sorted, as paths from the project's folder. Folders that git does not know
/// (`target`) and those whose name starts with a dot are left out.
///
/// # Panics
/// Where a folder can't be read.
#[must_use]
pub fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(folder, ending, &mut found);
    found.sort();
    found
}

fn walk(folder: &str, ending: &str, found: &mut Vec<String>) {
    let entries = fs::read_dir(root().join(folder))
        .unwrap_or_else(|error| panic!("can't list {folder}: {error}"));
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        if entry.path().is_dir() {
            if !name.starts_with('.') && name != "target" {
                walk(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

/// Folders of the workspace's crates, as the workspace lists them.
///
/// # Panics
/// Where the list can't be read.
#[must_use]
pub fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let list = manifest
        .split_once("\nmembers = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.expect("the workspace lists its members");
    let names = list.split('"').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// Sources of the crates that petctl is made of: all of the workspace but tests and benchmarks.
#[must_use]
pub fn product_sources() -> Vec<String> {
    let mut members = members();
    members.retain(|member| member != "benches" && !member.starts_with("tests/"));
    let sources = members
        .iter()
        .flat_map(|member| files(&format!("{member}/src"), ".rs"));
    sources
        .filter(|path| !path.ends_with("/tests.rs") && !path.contains("/tests/"))
        .collect()
}

/// A source without its test module, which stands at its end.
#[must_use]
pub fn without_tests(source: &str) -> &str {
    source
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(source)
}
