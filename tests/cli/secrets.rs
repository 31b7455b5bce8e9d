//! What `petctl storage-secret`, `docker-secret` and `setup --gpu` say without a cluster.

use crate::harness::{Harness, assert_seen};
use std::process::Output;

const PLACE: &str =
    "default = \"gpu\"\n[place.gpu]\nbackend = \"kube\"\ncontext = \"aks\"\nnamespace = \"ml\"\n";
const HIDDEN: &str = "aHVudGVyMmh1bnRlcjJodW50ZXIy";

fn harness() -> Harness {
    let harness = Harness::new();
    harness.write("petctl.toml", PLACE);
    harness
}

fn with_secret(harness: &Harness, words: &str) -> Output {
    let output = harness
        .command(words)
        .env("HIDDEN", HIDDEN)
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        !said.contains("aHVudGVy") && !said.contains("hunter2"),
        "{words}: {said}"
    );
    output
}

#[test]
fn secrets_are_printed_without_their_values() {
    let harness = harness();
    for words in [
        "storage-secret --account-name myaccount --account-key env:HIDDEN --print",
        "docker_secret --server registry.example --username ci --password env:HIDDEN --print",
    ] {
        let output = with_secret(&harness, words);
        assert_seen!(harness.show(&format!("petctl {words}"), &output));
    }
}

#[test]
fn secrets_on_the_command_line_are_refused_and_not_repeated() {
    let harness = harness();
    for words in [
        format!("storage-secret --account-name myaccount --account-key {HIDDEN}"),
        format!("storage-secret --account_name myaccount --account_key {HIDDEN}"),
        "storage-secret --account-name myaccount --sas-token sv=1&sig=hunter2".to_owned(),
        "docker-secret --server registry.example --username ci --password hunter2".to_owned(),
        "docker-secret --server ci:hunter2@registry.example --username ci --password env:HIDDEN"
            .to_owned(),
    ] {
        let output = with_secret(&harness, &words);
        assert_eq!(output.status.code(), Some(2), "{words}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("SECRET_ON_COMMAND_LINE") && said.contains("env:NAME"),
            "{words}: {said}"
        );
    }
}

#[test]
fn the_old_spelling_takes_a_typed_secret_and_warns_without_repeating_it() {
    let harness = harness();
    for words in [
        format!("storage_secret --account_name myaccount --account_key {HIDDEN}"),
        format!("--storage_secret --account_name=myaccount --account_key={HIDDEN}"),
    ] {
        let output = with_secret(&harness, &format!("{words} --print"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("--account_key: every user of this machine can read it there"),
            "{said}"
        );
        assert!(!said.contains(HIDDEN), "{said}");
        assert!(!said.contains("SECRET_ON_COMMAND_LINE"), "{said}");
    }
}

#[test]
fn what_is_no_secret_is_told_by_its_kind_and_not_by_its_text() {
    let harness = harness();
    for (words, code) in [
        (
            "storage-secret --account-name myaccount --account-key env:NOT_THERE",
            77,
        ),
        (
            "storage-secret --account-name myaccount --sas-token env:HIDDEN",
            77,
        ),
        (
            "storage-secret --account-name My --account-key env:HIDDEN",
            2,
        ),
        ("storage-secret --account-name myaccount", 2),
    ] {
        let output = with_secret(&harness, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}: {said}");
    }
}

#[test]
fn a_device_plugin_is_printed_and_sharing_without_one_is_refused() {
    let harness = harness();
    assert_seen!(harness.see("setup --gpu-sharing 4 --print"));
    let printed = harness.run("setup --gpu device-plugin --gpu-sharing 4 --print");
    assert_eq!(printed.status.code(), Some(0));
    let text = String::from_utf8(printed.stdout).unwrap();
    for part in [
        "kind: DaemonSet",
        "replicas: 4",
        "scalesetpriority",
        "nvcr.io/nvidia/k8s-device-plugin:",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let without = String::from_utf8(harness.run("setup --print").stdout).unwrap();
    assert!(!without.contains("DaemonSet"), "{without}");
}
