//! What the service says here, beside what it said to those who recorded it.

use crate::client::Client;
use petctl_test_azure::Azure;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

struct Call {
    method: String,
    uri: String,
    asked: Value,
    status: u16,
    headers: Vec<String>,
    body: Value,
}

fn recording(name: &str) -> Vec<Call> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../places/azure/tests/transcripts");
    let text = fs::read_to_string(folder.join(name)).expect("a recording");
    let read = |line: &str| {
        let said: Value = serde_json::from_str(line).expect("JSON");
        let headers = said["headers"].as_object().expect("headers");
        Call {
            method: said["method"].as_str().expect("a method").to_owned(),
            uri: said["uri"].as_str().expect("a uri").to_owned(),
            asked: said["req"].clone(),
            status: u16::try_from(said["status"].as_u64().expect("a status")).expect("a status"),
            headers: headers.keys().map(|name| name.to_lowercase()).collect(),
            body: said["body"].clone(),
        }
    };
    text.lines().map(read).collect()
}

/// All ways to a value, without numbers of lists.
fn keys(value: &Value, way: &str, all: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let way = if way.is_empty() {
            name.clone()
        } else {
            format!("{way}.{name}")
        };
        keys(value, &way, all);
        all.insert(way);
    }
    for value in value.as_array().into_iter().flatten() {
        keys(value, way, all);
    }
}

fn assert_has_all(ours: &Value, theirs: &Value) {
    let (mut has, mut had) = (BTreeSet::new(), BTreeSet::new());
    keys(ours, "", &mut has);
    keys(theirs, "", &mut had);
    let missing: Vec<&String> = had.difference(&has).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn recorded_requests_are_answered_with_all_that_was_recorded() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    let client = Client::new(&azure);
    let group = client.group();
    let mut compared = 0;
    for name in [
        "test_aks_create_with_workload_identity_enabled.jsonl",
        "test_aks_nodepool_abort.jsonl",
    ] {
        for call in recording(name) {
            let Some((_, path)) = call.uri.split_once("/resourceGroups/clitest000001") else {
                continue;
            };
            let body = if call.asked.is_object() {
                call.asked.to_string()
            } else {
                String::new()
            };
            let ours = client
                .send(&call.method, &format!("{group}{path}"), &[], &body)
                .unwrap();
            assert_eq!(
                ours.status, call.status,
                "{} {path}: {:#}",
                call.method, ours.body
            );
            for header in ["azure-asyncoperation", "location"] {
                let had = call.headers.iter().any(|own| own == header);
                assert_eq!(
                    ours.headers.contains_key(header),
                    had,
                    "{header} of {} {path}",
                    call.method
                );
            }
            assert_has_all(&ours.body, &call.body);
            assert_eq!(ours.body["type"], call.body["type"]);
            compared += 1;
            // What was polled then is polled here until it ends; an abort takes what is under way.
            let aborts =
                call.asked.pointer("/properties/powerState/code") == Some(&json!("Stopped"));
            if !aborts && ours.headers.contains_key("azure-asyncoperation") {
                client.follow(&ours);
            }
        }
    }
    assert!(compared >= 10, "{compared}");
}
