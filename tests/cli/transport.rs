//! TLS and tokens of workers, as their users meet them.

use crate::harness::{Harness, Running, assert_seen};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A coordinator that speaks TLS, and how it is reached.
fn coordinator(harness: &Harness) -> (Running, String) {
    let mut running = harness.start("rendezvous --listen 127.0.0.1:0 --tls");
    let address = running.read_line();
    assert!(address.starts_with("https://127.0.0.1:"), "{address}");
    (running, address)
}

fn file(harness: &Harness, name: &str) -> String {
    let path = harness.home().join("rendezvous").join(name);
    path.display().to_string()
}

fn token(harness: &Harness, words: &str) -> String {
    let output = harness.run(&format!("token {words}"));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    said.trim().to_owned()
}

const JOB: &str = r#"
[job]
name = "remote"
[storage]
output = "out"
[[stage]]
name = "s"
kind = "shards"
shards = { range = [0, 3] }
command = ["sh", "-c", "echo shard $0", "{key}"]
[[stage]]
name = "home"
kind = "once"
run_mode = "local"
needs = ["s"]
command = ["true"]
"#;

#[test]
fn a_job_runs_over_tls_with_a_worker_that_has_a_token_of_its_job() {
    let harness = Harness::new();
    harness.write("job.toml", JOB);
    let (coordinator, address) = coordinator(&harness);
    let (ca, own) = (file(&harness, "tls/ca.pem"), file(&harness, "token"));
    let key = fs::metadata(file(&harness, "tls/ca.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let of_worker = token(&harness, "--job remote");
    assert!(
        of_worker.starts_with("petctl-worker.remote."),
        "{of_worker}"
    );
    assert_eq!(
        token(&harness, &format!("--job remote --token-file {own}")),
        of_worker
    );
    harness.write("worker-token", &of_worker);

    let client = format!("--coordinator {address} --ca-file {ca} --token-file {own}");
    let run = harness.start(&format!("run job.toml {client}"));
    let reach = format!("--coordinator {address} --ca-file {ca} --token-file worker-token");
    // The token says which job it serves.
    let worker = harness.start(&format!("worker {reach} --name node-1"));
    let output = run.end();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let ended = worker.end();
    assert_eq!(ended.status.code(), Some(0));
    // What comes from variables needs no options.
    let status = harness
        .command("status remote -o json")
        .env("PETCTL_COORDINATOR", &address)
        .env("PETCTL_CA_FILE", &ca)
        .env("PETCTL_TOKEN_FILE", &own)
        .output()
        .unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["state"], "succeeded", "{status}");
    assert_seen!(harness.see(&format!("list {reach}")).replace(&reach, "…"));
    assert_seen!(
        harness
            .see(&format!("worker {reach} --job other"))
            .replace(&reach, "…")
    );
    coordinator.signal("INT");
    coordinator.end();
}

#[test]
fn who_trusts_another_ca_or_speaks_otherwise_is_told_what_to_do() {
    let harness = Harness::new();
    let (coordinator, address) = coordinator(&harness);
    let (ca, own) = (file(&harness, "tls/ca.pem"), file(&harness, "token"));
    let plain = address.replace("https://", "http://");
    let mut other = harness.start("rendezvous --listen 127.0.0.1:0 --tls --state other");
    other.read_line();
    let mut open = harness.start("rendezvous --listen 127.0.0.1:0 --state open");
    let no_tls = open.read_line().replace("http://", "https://");
    harness.write("nonsense", "nonsense");
    harness.write("old-token", &token(&harness, "--job remote --state other"));
    let see = |words: &str| {
        let line = format!("{words} --token-file {own}");
        assert_seen!(harness.see(&line).replace(&ca, "CA"));
    };
    see(&format!("list --coordinator {address}"));
    see(&format!("list --coordinator {address} --ca-file nowhere"));
    see(&format!("list --coordinator {address} --ca-file nonsense"));
    see(&format!("list --coordinator {address} --ca-file {own}"));
    see(&format!(
        "list --coordinator {address} --ca-file other/tls/ca.pem"
    ));
    see(&format!(
        "worker --coordinator {address} --ca-file other/tls/ca.pem"
    ));
    see(&format!("list --coordinator {plain} --ca-file {ca}"));
    see(&format!("list --coordinator {plain}"));
    see(&format!("worker --coordinator {plain}"));
    see(&format!("list --coordinator {no_tls} --ca-file {ca}"));
    see(&format!("worker --coordinator {no_tls} --ca-file {ca}"));
    let old = format!("--coordinator {address} --ca-file {ca} --token-file old-token");
    for words in ["list", "worker --name w"] {
        let seen = harness.see(&format!("{words} {old}"));
        assert_seen!(seen.replace(&ca, "CA"));
    }
    for running in [coordinator, other, open] {
        running.signal("INT");
        running.end();
    }
}

#[test]
fn beyond_loopback_tls_is_spoken_unless_plain_text_is_asked_for() {
    let harness = Harness::new();
    for (words, scheme, says) in [
        ("--listen 0.0.0.0:0", "https://", "--ca-file"),
        ("--listen 0.0.0.0:0 --plain-text", "http://", "plain text"),
        ("--listen 127.0.0.1:0", "http://", "--token-file"),
    ] {
        let mut running = harness.start(&format!("rendezvous {words}"));
        let address = running.read_line();
        assert!(address.starts_with(scheme), "{words}: {address}");
        running.signal("INT");
        let said = String::from_utf8(running.end().stderr).unwrap();
        assert!(said.contains(says), "{words}: {said}");
        assert_eq!(
            said.contains("speaks plain text"),
            says == "plain text",
            "{said}"
        );
    }
    assert_seen!(harness.see("rendezvous --tls --plain-text"));
}

#[test]
fn a_token_is_made_of_the_coordinators_own_and_for_a_job_that_can_be() {
    let harness = Harness::new();
    harness.write("own", "0123456789abcdef\n");
    assert_seen!(harness.see("token --job us101"));
    assert_seen!(harness.see("token --job us101 --token-file own"));
    assert_seen!(harness.see("token --job Us_101 --token-file own"));
    harness.write("workers", &token(&harness, "--job us101 --token-file own"));
    assert_seen!(harness.see("token --job us101 --token-file workers"));
    fs::create_dir_all(harness.path("state/tls")).unwrap();
    harness.write("state/tls/ca.pem", "nonsense");
    harness.write("state/tls/ca.key", "nonsense");
    let key = harness.path("state/tls/ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_seen!(harness.see("rendezvous --listen 127.0.0.1:0 --tls --state state"));
}
