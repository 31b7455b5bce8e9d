//! What the documents point to is there.

use petctl_test_docs::{files, members, read, root};
use std::path::Path;

#[test]
fn links_lead_to_files_that_exist() {
    let mut documents = vec!["README.md".to_owned()];
    documents.extend(files("docs", ".md"));
    documents.extend(files("examples", ".md"));
    let mut links = 0;
    for document in &documents {
        let folder = Path::new(document).parent().unwrap_or(Path::new(""));
        for target in links_of(&without_code(&read(document))) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if elsewhere || path.is_empty() {
                continue;
            }
            assert!(
                root().join(folder).join(path).exists(),
                "{document} links to {target}, which is not there"
            );
            links += 1;
        }
    }
    assert!(
        documents.len() > 50 && links > 50,
        "{links} links in {} documents",
        documents.len()
    );
}

#[test]
fn the_tables_of_the_architecture_name_paths_and_tests_that_exist() {
    let text = read("docs/ARCHITECTURE.md");
    let folders = members().into_iter().chain(["tests".to_owned()]);
    let sources: Vec<String> = folders.flat_map(|folder| files(&folder, ".rs")).collect();
    let (mut paths, mut tests) = (0, 0);
    for row in text.lines().filter(|line| line.starts_with('|')) {
        for name in row.split('`').skip(1).step_by(2) {
            if is_path(name) {
                assert!(
                    exists(name),
                    "docs/ARCHITECTURE.md names `{name}`, which is not there"
                );
                paths += 1;
            } else if is_test_name(name) {
                let start = format!("fn {name}(");
                let found = sources.iter().any(|path| read(path).contains(&start));
                assert!(
                    found,
                    "docs/ARCHITECTURE.md names the test `{name}`, which is not there"
                );
                tests += 1;
            }
        }
    }
    assert!(
        paths > 15 && tests > 2,
        "{paths} paths and {tests} tests were found"
    );
}

/// A path from the project's folder, or a file of the core. Commands, crates and names of functions are none.
fn is_path(name: &str) -> bool {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    let first = name.split('/').next().unwrap_or_default();
    let top = [
        "proto",
        "rendezvous",
        "output",
        "storage",
        "worker",
        "launcher",
        "tests",
        "benches",
        "docs",
        "examples",
        "docker",
    ];
    plain && (top.contains(&first) || name.ends_with(".rs") || name.starts_with("testdata/"))
}

fn exists(name: &str) -> bool {
    let from = ["", "rendezvous/core/src", "rendezvous/core"];
    from.iter()
        .any(|folder| root().join(folder).join(name).exists())
}

/// Tests have names like sentences.
fn is_test_name(name: &str) -> bool {
    name.matches('_').count() >= 3
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The text without its blocks and spans of code: what looks like a link there is none.
fn without_code(text: &str) -> String {
    let mut plain = String::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.starts_with("    ") {
            plain.extend(line.split('`').step_by(2));
            plain.push('\n');
        }
    }
    plain
}

/// Targets of `[text](target)`.
fn links_of(text: &str) -> Vec<&str> {
    let ends = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    ends.map(|(target, _)| target.split(' ').next().unwrap_or(target))
        .collect()
}

#[test]
fn links_are_found_and_code_is_not_looked_at() {
    let text = "a [b](c.md) and [`d`](e/f.md#g)\n```\n[x](y)\n```\n`[x](y)`\n";
    assert_eq!(links_of(&without_code(text)), ["c.md", "e/f.md#g"]);
}
