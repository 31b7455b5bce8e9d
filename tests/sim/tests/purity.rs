//! The core stays pure: no runtime, no clock, no thread, no random source, no order by chance.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_core_depends_on_nothing_that_acts() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "petctl-core",
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
    assert!(tree.contains("petctl-spec"), "{tree}");
    for banned in [
        "tokio",
        "tonic",
        "prost",
        "kube",
        "redb",
        "rand",
        "getrandom",
        "chrono",
        "rustix",
        "tracing",
    ] {
        let found = tree.lines().find(|l| l.split(' ').next() == Some(banned));
        assert_eq!(found, None, "petctl-core depends on {banned}");
    }
}

#[test]
fn the_core_names_no_clock_thread_or_unordered_map() {
    let mut files = 0;
    for path in sources(&root().join("rendezvous/core/src")) {
        let text = fs::read_to_string(&path).unwrap();
        for banned in [
            "std::time",
            "std::thread",
            "std::fs",
            "std::net",
            "std::env",
            "HashMap",
            "HashSet",
            "Instant::now",
        ] {
            assert!(!text.contains(banned), "{} names {banned}", path.display());
        }
        files += 1;
    }
    assert!(files > 10, "only {files} files were read");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries
        .flat_map(|p| if p.is_dir() { sources(&p) } else { vec![p] })
        .collect()
}
