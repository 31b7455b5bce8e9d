//! The walls of the house: how large a crate, a folder and a file may be, and who is built without whom.

use petctl_test_docs::{files, members, product_sources, read, root};
use std::collections::BTreeMap;
use std::process::Command;

/// Lines of a crate's own sources.
const MAX_CRATE_LINES: usize = 9_000;
/// Sources side by side in one folder.
const MAX_FOLDER_FILES: usize = 20;
/// Lines of one source.
const MAX_FILE_LINES: usize = 500;
/// Half of the sources are shorter than this.
const MEDIAN_FILE_LINES: usize = 170;
/// The one crate that may be larger: all decisions of a coordinator belong together.
const LARGE_CRATE: &str = "rendezvous/core";
/// Tables.
const LONG_FILES: [&str; 2] = [
    "proto/spec/src/keys/tables.rs",
    "proto/codes/src/catalogue.rs",
];

#[test]
fn no_crate_but_the_core_is_large() {
    for member in members() {
        let sources = files(&format!("{member}/src"), ".rs");
        let lines: usize = sources.iter().map(|path| read(path).lines().count()).sum();
        assert!(
            lines <= MAX_CRATE_LINES || member == LARGE_CRATE,
            "{member} has {lines} lines: is there a natural wall inside?"
        );
    }
}

#[test]
fn no_folder_is_full() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for path in product_sources() {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        *folders.entry(folder.to_owned()).or_default() += 1;
    }
    for (folder, count) in folders {
        assert!(
            count <= MAX_FOLDER_FILES,
            "{folder} has {count} sources side by side: make rooms"
        );
    }
}

#[test]
fn files_are_short() {
    let mut lengths = Vec::new();
    for path in product_sources() {
        let lines = read(&path).lines().count();
        lengths.push(lines);
        assert!(
            lines <= MAX_FILE_LINES || LONG_FILES.contains(&path.as_str()),
            "{path} has {lines} lines: has it outgrown its room?"
        );
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(
        median < MEDIAN_FILE_LINES,
        "the median file has {median} lines"
    );
}

#[test]
fn crates_are_built_without_what_is_none_of_their_business() {
    let foreign = [
        // The coordinator has nothing to do with blob storage, nor with workers.
        (
            "petctl-rendezvous",
            [
                "azure_core",
                "petctl-storage",
                "petctl-worker",
                "petctl-process",
            ],
        ),
        // What an output holds is told without a network and without threads.
        (
            "petctl-output",
            ["tokio", "tonic", "petctl-proto", "petctl-storage"],
        ),
        // A place is a contract.
        (
            "petctl-places",
            ["tokio", "petctl-proto", "petctl-ui", "petctl-core"],
        ),
        // What a place is travels to the coordinator.
        (
            "petctl-settings",
            ["tokio", "petctl-proto", "petctl-ui", "petctl-storage"],
        ),
        ("petctl-codes", ["serde", "tokio", "tonic", "thiserror"]),
    ];
    for (member, banned) in foreign {
        let tree = Command::new(env!("CARGO"))
            .args([
                "tree",
                "-p",
                member,
                "-e",
                "normal",
                "--prefix",
                "none",
                "--offline",
            ])
            .current_dir(root())
            .output()
            .unwrap();
        let tree = String::from_utf8_lossy(&tree.stdout);
        assert!(tree.contains(member), "{tree}");
        for name in banned {
            let found = tree
                .lines()
                .find(|line| line.split(' ').next() == Some(name));
            assert_eq!(found, None, "{member} depends on {name}");
        }
    }
}
