//! A coordinator on its own, a worker on its own, and a client that knows an address and a token.

use crate::harness::{Harness, Running, assert_seen, wait_for};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

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
"#;

/// A coordinator and where it is.
fn coordinator(harness: &Harness) -> (Running, String) {
    let mut running = harness.start("rendezvous --listen 127.0.0.1:0");
    let address = running.read_line();
    assert!(address.starts_with("http://127.0.0.1:"), "{address}");
    let token = harness.home().join("rendezvous/token");
    (
        running,
        format!("--coordinator {address} --token-file {}", token.display()),
    )
}

#[test]
fn a_job_runs_on_a_coordinator_and_a_worker_elsewhere() {
    let harness = Harness::new();
    harness.write("job.toml", JOB);
    let (coordinator, connect) = coordinator(&harness);
    let run = harness.start(&format!("run job.toml {connect}"));
    let worker = harness.start(&format!("worker {connect} --name node-1 --slots 2"));
    let output = run.end();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json = |words: &str| -> Value {
        serde_json::from_slice(&harness.run(&format!("{words} {connect}")).stdout).unwrap()
    };
    assert_eq!(json("status -o json")["state"], "succeeded");
    assert_eq!(json("list -o json")["jobs"][0]["job"], "remote");
    assert_eq!(json("report remote -o json")["rows"][0]["worker"], "node-1");
    let logs = String::from_utf8(harness.run(&format!("logs remote {connect}")).stdout).unwrap();
    assert_eq!(logs, "0: shard 0\n1: shard 1\n2: shard 2\n");
    assert!(
        harness
            .run(&format!("delete remote --yes {connect}"))
            .status
            .success()
    );
    assert_eq!(
        harness
            .run(&format!("status remote {connect}"))
            .status
            .code(),
        Some(66)
    );
    worker.signal("TERM");
    assert_eq!(worker.end().status.code(), Some(0));
    coordinator.signal("INT");
    assert_eq!(coordinator.end().status.code(), Some(130));
}

#[test]
fn a_coordinator_may_be_away_for_a_while() {
    let harness = Harness::new();
    harness.write_gated("gated", 4);
    let mut first = harness.start("rendezvous --listen 127.0.0.1:0");
    let address = first.read_line();
    let token = harness.home().join("rendezvous/token");
    let connect = format!("--coordinator {address} --token-file {}", token.display());
    let worker = harness.start(&format!(
        "worker {connect} --name node-1 --slots 4 --job gated"
    ));
    let run = harness.start(&format!("run gated.toml {connect}"));
    wait_for("all shards to start", || {
        (0..4).all(|key| harness.path(&format!("started-{key}")).exists())
    });
    first.signal("KILL");
    first.end();
    let port = address.rsplit(':').next().unwrap();
    let mut second = harness.start(&format!("rendezvous --listen 127.0.0.1:{port}"));
    assert_eq!(second.read_line(), address);
    for key in 0..4 {
        std::fs::remove_file(harness.path(&format!("started-{key}"))).unwrap();
    }
    harness.open_gate();
    let output = run.end();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // None was started a second time.
    assert!((0..4).all(|key| !harness.path(&format!("started-{key}")).exists()));
    assert_eq!(worker.end().status.code(), Some(0));
    second.signal("TERM");
    assert_eq!(second.end().status.code(), Some(143));
}

#[test]
fn a_wrong_token_is_refused() {
    let harness = Harness::new();
    let (coordinator, connect) = coordinator(&harness);
    harness.write("token", "0123456789abcdef0123456789abcdef\n");
    let wrong = connect.split_whitespace().nth(1).unwrap().to_owned();
    assert_seen!(harness.see(&format!("list --coordinator {wrong} --token-file token")));
    assert_seen!(harness.see(&format!("list --coordinator {wrong}")));
    assert_seen!(harness.see(&format!("status nothing {connect}")));
    let output = harness.run(&format!(
        "worker --coordinator {wrong} --token-file token --name w"
    ));
    assert_eq!(
        output.status.code(),
        Some(77),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    coordinator.signal("INT");
    coordinator.end();
}

#[test]
fn a_token_is_never_taken_from_the_command_line() {
    let seen = Harness::new().see("list --coordinator http://127.0.0.1:9 --token hunter2hunter2");
    assert!(
        !seen
            .replace("--token hunter2hunter2\n", "")
            .contains("hunter2"),
        "{seen}"
    );
    assert_seen!(seen);
}

#[test]
fn a_token_can_come_from_the_environment_or_stdin() {
    let harness = Harness::new();
    let (coordinator, connect) = coordinator(&harness);
    let address = connect.split_whitespace().nth(1).unwrap();
    let token = std::fs::read_to_string(harness.home().join("rendezvous/token")).unwrap();
    let mode = std::fs::metadata(harness.home().join("rendezvous/token"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let list = format!("list --coordinator {address}");
    let from_env = harness
        .command(&format!("{list} --token env:MY_TOKEN"))
        .env("MY_TOKEN", token.trim())
        .output()
        .unwrap();
    assert!(from_env.status.success());
    let file = std::fs::File::open(harness.home().join("rendezvous/token")).unwrap();
    assert!(
        harness
            .command(&format!("{list} --token -"))
            .stdin(file)
            .output()
            .unwrap()
            .status
            .success()
    );
    coordinator.signal("INT");
    coordinator.end();
}

#[test]
fn addresses_that_are_none() {
    let harness = Harness::new();
    harness.write("token", "0123456789abcdef\n");
    assert_seen!(harness.see("list --coordinator foo --token-file token"));
    assert_seen!(harness.see("list --coordinator https://head:7370 --token-file token"));
    assert_seen!(harness.see("list --coordinator http://head --token-file token"));
    assert_seen!(harness.see("list --coordinator http://127.0.0.1:1 --token-file token"));
    assert_seen!(harness.see("list --coordinator http://127.0.0.1:1 --token-file nowhere"));
    assert_seen!(harness.see("worker"));
}

#[test]
fn a_port_and_a_state_folder_are_one_coordinators() {
    let harness = Harness::new();
    let (coordinator, connect) = coordinator(&harness);
    let port = connect
        .split_whitespace()
        .nth(1)
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    let seen = harness.see(&format!(
        "rendezvous --listen 127.0.0.1:{port} --state other"
    ));
    assert_seen!(seen.replace(&port, "[PORT]"));
    assert_seen!(harness.see("rendezvous --listen 127.0.0.1:0"));
    coordinator.signal("INT");
    coordinator.end();
}

#[test]
fn whoever_is_no_coordinator_is_said_to_be_none() {
    let harness = Harness::new();
    harness.write("token", "0123456789abcdef\n");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _read = stream.read(&mut [0; 1024]);
            let _written = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nnot here");
        }
    });
    let output = harness.run(&format!(
        "list --coordinator http://127.0.0.1:{port} --token-file token"
    ));
    assert_eq!(
        output.status.code(),
        Some(69),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
