//! What clusters have said, and what becomes of it.

use super::*;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Pods of a real cluster, in the state that their names say, with their events; three of them with a condition of
/// another kind put in.
#[test]
fn what_a_cluster_says_of_a_pod_becomes_a_sentence() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> = fs::read_dir(folder.join("pods"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut table = String::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
        let pod: Pod = serde_json::from_value(seen["pod"].clone()).unwrap();
        let events: Vec<Event> = serde_json::from_value(seen["events"].clone()).unwrap();
        let name = file.file_stem().unwrap().to_string_lossy();
        let flags = [
            (runs(&pod), "runs"),
            (is_ready(&pod), "ready"),
            (has_ended(&pod), "ended"),
            (is_disrupted(&pod), "disrupted"),
            (node_is_lost(&pod), "node lost"),
        ];
        let flags: Vec<&str> = flags
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, name)| *name)
            .collect();
        writeln!(table, "{name}: {}", flags.join(", ")).unwrap();
        for (what, reason) in [("waits", of_pod(&pod, &events)), ("ends", end_of_pod(&pod))] {
            if let Some(reason) = reason {
                writeln!(table, "  {what} {}: {}", reason.code, reason.message).unwrap();
            }
        }
    }
    let expected = folder.join("pods.txt");
    if std::env::var_os("PETCTL_BLESS").is_some() {
        fs::write(&expected, &table).unwrap();
    }
    assert_eq!(table, fs::read_to_string(&expected).unwrap());
    assert!(files.len() > 20);
}

#[test]
fn what_a_job_says_of_pods_that_can_not_be_made_becomes_a_sentence() {
    let event = |message: &str| Event {
        reason: Some("FailedCreate".to_owned()),
        message: Some(message.to_owned()),
        ..Event::default()
    };
    let cases = [
        (
            "Error creating: pods \"petctl-us101-0-rvkpt\" is forbidden: exceeded quota: two, requested: pods=1, used: pods=2, limited: pods=2",
            "pods can't be made, a quota of the namespace is used up: exceeded quota: two, requested: pods=1, used: pods=2, limited: pods=2",
        ),
        (
            "Error creating: pods \"petctl-us101-0-xbz5m\" is forbidden: violates PodSecurity \"restricted:latest\": restricted volume types (volume \"volume-0\" uses restricted volume type \"hostPath\")",
            "pods can't be made, the namespace's pod security refuses them: violates PodSecurity \"restricted:latest\": restricted volume types (volume \"volume-0\" uses restricted volume type \"hostPath\")",
        ),
        (
            "Error creating: pods \"petctl-us101-0-\" is forbidden: error looking up service account ml/trainer: serviceaccount \"trainer\" not found",
            "pods can't be made, their service account is missing: error looking up service account ml/trainer: serviceaccount \"trainer\" not found",
        ),
    ];
    for (said, sentence) in cases {
        let reason = of_job(&[event(said)]).unwrap();
        assert_eq!(
            (reason.code.as_str(), reason.message.as_str()),
            ("POD_REFUSED", sentence)
        );
    }
    assert_eq!(of_job(&[]), None);
}
