//! What petctl would ask, beside recordings of the service.

use petctl_azure::{Answer, Method, Next, Operation, Refused, ResourceId, Trouble};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One request and its answer.
struct Call {
    method: String,
    url: String,
    answer: Answer,
}

/// All recordings, by their names.
fn recordings() -> Vec<(String, Vec<Call>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let files = fs::read_dir(folder).expect("a folder of recordings");
    let mut all: Vec<(String, Vec<Call>)> = files
        .map(|file| {
            let path = file.expect("a recording").path();
            let text = fs::read_to_string(&path).expect("text");
            let calls = text.lines().map(call).collect();
            (
                path.file_stem().expect("a name").display().to_string(),
                calls,
            )
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(all.len(), 8);
    all
}

fn call(line: &str) -> Call {
    let said: Value = serde_json::from_str(line).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let headers = said["headers"].as_object().expect("headers");
    Call {
        method: text(&said["method"]),
        url: text(&said["uri"]),
        answer: Answer {
            status: u16::try_from(said["status"].as_u64().expect("a status")).expect("a status"),
            headers: headers
                .iter()
                .map(|(name, value)| (name.to_lowercase(), text(value)))
                .collect(),
            body: said["body"].clone(),
        },
    }
}

fn method(word: &str) -> Option<Method> {
    match word {
        "PUT" => Some(Method::Put),
        "DELETE" => Some(Method::Delete),
        "POST" => Some(Method::Post),
        _ => None,
    }
}

/// Follows an operation with the answers that were recorded after it. `None`: the recording stops before its end.
fn follow(calls: &[Call], (mut operation, mut next): (Operation, Next)) -> (Option<Next>, usize) {
    let mut recorded: BTreeMap<&str, std::collections::VecDeque<&Answer>> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.method == "GET") {
        recorded
            .entry(&call.url)
            .or_default()
            .push_back(&call.answer);
    }
    let mut asked = 0;
    loop {
        let Next::Ask { url, .. } = &next else {
            return (Some(next), asked);
        };
        let Some(answer) = recorded
            .get_mut(url.as_str())
            .and_then(|answers| answers.pop_front())
        else {
            return (None, asked);
        };
        asked += 1;
        next = operation.answered(answer);
    }
}

#[test]
fn every_operation_of_the_recordings_ends_as_it_did_by_requests_that_were_made() {
    let (mut done, mut unfollowed, mut asked) = (0, Vec::new(), 0);
    for (name, calls) in recordings() {
        for (at, call) in calls.iter().enumerate() {
            let Some(method) = method(&call.method) else {
                continue;
            };
            if !call.url.starts_with("https://management.azure.com/") || call.answer.status >= 400 {
                continue;
            }
            let begun = Operation::begun(method, &call.url, &call.answer);
            match follow(&calls[at + 1..], begun) {
                (Some(Next::Done(body)), requests) => {
                    done += 1;
                    asked += requests;
                    if method == Method::Put {
                        let state = body.pointer("/properties/provisioningState");
                        assert_eq!(
                            state.and_then(Value::as_str),
                            Some("Succeeded"),
                            "{name} {at}"
                        );
                    }
                }
                (None, _) => unfollowed.push((name.clone(), call.method.clone())),
                (other, _) => panic!("{name} {at}: {other:?}"),
            }
        }
    }
    // Whoever recorded them waited for no deletion at the end, nor for one pool that was told to stop.
    unfollowed.retain(|(_, method)| method != "DELETE");
    let stopped = ("test_aks_nodepool_abort".to_owned(), "PUT".to_owned());
    assert_eq!(unfollowed, [stopped]);
    assert_eq!((done, asked), (26, 185));
}

#[test]
fn ids_of_the_recordings_are_ids_and_the_same_in_any_case() {
    let mut seen = 0;
    for (name, calls) in recordings() {
        for call in &calls {
            // Collections have one too, which is that of no resource.
            if call.answer.provisioning_state().is_none() {
                continue;
            }
            let Some(path) = call.url.strip_prefix("https://management.azure.com") else {
                continue;
            };
            let path = path.split('?').next().unwrap_or_default();
            let Some(id) = call.answer.body.get("id").and_then(Value::as_str) else {
                continue;
            };
            let id = ResourceId::parse(id).unwrap_or_else(|| panic!("{name}: {id}"));
            if matches!(call.method.as_str(), "GET" | "PUT") && call.answer.status < 300 {
                let asked = ResourceId::parse(path).unwrap_or_else(|| panic!("{name}: {path}"));
                assert_eq!(id, asked, "{name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn refusals_of_the_recordings_are_known() {
    let (mut not_there, mut not_yet) = (0, 0);
    for (name, calls) in recordings() {
        for call in calls.iter().filter(|call| call.answer.status >= 400) {
            let refused = Refused::of(&call.answer);
            assert!(!refused.message.is_empty(), "{name}: {refused:?}");
            let trouble = refused.trouble();
            not_there += usize::from(trouble == Trouble::NotThere);
            not_yet += usize::from(trouble == Trouble::NotYet);
            assert_eq!(
                trouble.passes(),
                trouble == Trouble::NotYet,
                "{name}: {refused}"
            );
        }
    }
    assert_eq!((not_there, not_yet), (5, 30));
}
