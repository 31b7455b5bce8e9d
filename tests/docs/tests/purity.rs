//! The core stays pure: no runtime, no clock, no thread, no random source, no order by chance.

use petctl_test_docs::{files, read, root};
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
    let sources = files("rendezvous/core/src", ".rs");
    for path in &sources {
        let text = read(path);
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
            assert!(!text.contains(banned), "{path} names {banned}");
        }
    }
    assert!(sources.len() > 10, "only {} files were read", sources.len());
}
