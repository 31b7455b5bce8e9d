//! Help texts.

use crate::desk::{Desk, assert_seen};

macro_rules! helps {
    ($($name:ident: $words:literal,)*) => {
        $(
            #[test]
            fn $name() {
                assert_seen!(Desk::new().see($words));
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
    help_delete: "delete --help",
    help_report: "report --help",
    help_explain: "explain --help",
    help_events: "events --help",
    help_validate: "validate --help",
    help_rendezvous: "rendezvous --help",
    help_upload: "upload --help",
    help_download: "download --help",
    help_storage: "storage --help",
    help_storage_ls: "storage ls --help",
    help_storage_cat: "storage cat --help",
    help_storage_rm: "storage rm --help",
    help_storage_create: "storage create --help",
    help_storage_serve: "storage serve --help",
    help_worker: "worker --help",
    help_completions: "completions --help",
    help_no_command: "",
    help_unknown_command: "statsu",
    help_unknown_option: "run job.toml --worker 3",
    help_missing_argument: "run",
    help_bad_duration: "status --wait --timeout 5",
}

#[test]
fn every_command_has_examples() {
    let desk = Desk::new();
    let commands = "run status logs scale drain suspend resume checkpoint cancel list delete report explain events validate rendezvous worker completions upload download storage";
    for command in commands.split_whitespace() {
        let help = String::from_utf8(desk.run(&format!("{command} --help")).stdout).unwrap();
        assert!(help.contains("Examples:\n"), "{command} has no examples");
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = desk.run(&format!("completions {shell}"));
        assert!(output.status.success());
        assert!(
            String::from_utf8(output.stdout).unwrap().contains("petctl"),
            "{shell}"
        );
    }
}
