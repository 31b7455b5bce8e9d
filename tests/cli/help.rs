//! Help texts.

use crate::harness::{Harness, assert_seen};
use crate::tree;
use std::fs;
use std::path::Path;

macro_rules! helps {
    ($($name:ident: $words:literal,)*) => {
        $(
            #[test]
            fn $name() {
                assert_seen!(Harness::new().see($words));
            }
        )*
    };
}

helps! {
    help: "--help",
    help_short: "-h",
    help_version: "--version",
    help_run: "run --help",
    help_status: "status --help",
    help_logs: "logs --help",
    help_scale: "scale --help",
    help_drain: "drain --help",
    help_suspend: "suspend --help",
    help_resume: "resume --help",
    help_checkpoint: "checkpoint --help",
    help_cancel: "cancel --help",
    help_list: "list --help",
    help_prune: "prune --help",
    help_delete: "delete --help",
    help_report: "report --help",
    help_explain: "explain --help",
    help_events: "events --help",
    help_validate: "validate --help",
    help_verify: "verify --help",
    help_places: "places --help",
    help_rendezvous: "rendezvous --help",
    help_token: "token --help",
    help_upload: "upload --help",
    help_download: "download --help",
    help_storage: "storage --help",
    help_storage_ls: "storage ls --help",
    help_storage_cat: "storage cat --help",
    help_storage_rm: "storage rm --help",
    help_storage_create: "storage create --help",
    help_storage_serve: "storage serve --help",
    help_configure: "configure --help",
    help_setup: "setup --help",
    help_uninstall: "uninstall --help",
    help_stop: "stop --help",
    help_start: "start --help",
    help_delete_resources: "delete-resources --help",
    help_storage_secret: "storage-secret --help",
    help_docker_secret: "docker-secret --help",
    help_worker: "worker --help",
    help_completions: "completions --help",
    help_no_command: "",
    help_unknown_command: "statsu",
    help_unknown_option: "run job.toml --worker 3",
    help_missing_argument: "run",
    help_bad_duration: "status --wait --timeout 5",
}

#[test]
fn every_command_has_examples_and_a_snapshot_of_its_help() {
    let snapshots = snapshots();
    let helps = tree::helps(&Harness::new());
    assert!(helps.len() > 20, "{:?}", helps.keys());
    for (command, help) in helps {
        let examples = help.contains("Examples:\n");
        assert!(examples, "`petctl {command} --help` has no examples");
        let shown = format!("\n$ petctl {command} --help\n");
        assert!(
            snapshots.iter().any(|text| text.contains(&shown)),
            "`petctl {command} --help` has no snapshot: a line of `helps!` makes one"
        );
    }
}

fn snapshots() -> Vec<String> {
    let folder =
        Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../tests/cli/snapshots");
    let entries = fs::read_dir(folder).unwrap().flatten();
    let text = |entry: fs::DirEntry| fs::read_to_string(entry.path()).unwrap();
    entries.map(text).collect()
}

#[test]
fn completions_are_printed_for_every_shell() {
    let harness = Harness::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = harness.run(&format!("completions {shell}"));
        assert!(output.status.success());
        assert!(
            String::from_utf8(output.stdout).unwrap().contains("petctl"),
            "{shell}"
        );
    }
}
