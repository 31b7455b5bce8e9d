//! Killed at every request in turn, and given the same command again.

use crate::harness::User;
use petctl_test_azure::{Hook, Seen};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Parts of names of what differs from one run to the next.
const OTHERWISE: [&str; 11] = [
    "etag",
    "objectid",
    "clientid",
    "principalid",
    "fqdn",
    "issuer",
    "time",
    "creat",
    "date",
    "uid",
    "outboundips",
];

/// Runs a command that is killed when it sends its request of this number, which is done or not.
fn killed_at(user: &User, line: &str, at: usize, done: bool) -> bool {
    let from = user.azure.requests().len();
    let pid = Arc::new(AtomicU32::new(0));
    let known = Arc::clone(&pid);
    let first = Arc::new(std::sync::Mutex::new(None));
    user.azure.on_request(move |_: &Seen, number| {
        let mut first = first.lock().expect("nobody panics");
        let start = *first.get_or_insert(number);
        if number - start != at {
            return Hook::Serve;
        }
        while known.load(Ordering::Acquire) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let pid = known.load(Ordering::Acquire).to_string();
        let killed = Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        if done {
            Hook::DropAfter
        } else {
            Hook::DropBefore
        }
    });
    let mut child = user.spawn(line);
    pid.store(child.id(), Ordering::Release);
    let status = child.wait().expect("it ends");
    user.azure.on_request(|_, _| Hook::Serve);
    assert!(user.azure.requests().len() > from);
    !status.success()
}

/// What is there, without what differs from one run to the next.
fn shape(user: &User) -> BTreeMap<String, Value> {
    fn clean(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|name, _| {
                    let name = name.to_ascii_lowercase();
                    !OTHERWISE.iter().any(|part| name.contains(part))
                });
                map.values_mut().for_each(clean);
            }
            Value::Array(list) => list.iter_mut().for_each(clean),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut all = user.resources();
    all.values_mut().for_each(clean);
    all
}

type Shape = BTreeMap<String, Value>;

#[track_caller]
fn assert_same(is: &Shape, wanted: &Shape, when: &str) {
    let ids = |shape: &Shape| shape.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(is), ids(wanted), "{when}");
    for (id, value) in is {
        assert_eq!(Some(value), wanted.get(id), "{when}: {id}");
    }
}

/// How many requests a command sends where nobody kills it.
fn requests_of(user: &User, line: &str) -> usize {
    user.azure.forget_requests();
    user.run(line).good();
    user.azure.requests().len()
}

#[test]
fn setup_that_is_killed_at_any_request_ends_in_the_same_state() {
    let line = "setup --only azure --yes";
    let whole = User::new();
    let count = requests_of(&whole, line);
    let expected = shape(&whole);
    assert!(count > 40, "{count}");
    let user = User::new();
    for at in 0..count {
        let done = at % 2 == 0;
        let killed = killed_at(&user, line, at, done);
        user.run(line).good();
        assert_same(
            &shape(&user),
            &expected,
            &format!("killed at {at} ({killed})"),
        );
        user.run("delete-resources --yes").good();
        assert!(
            user.resources().is_empty(),
            "killed at {at}: {:#?}",
            user.resources().keys()
        );
    }
}

#[test]
fn a_setup_that_is_never_given_again_is_removed_whole() {
    let line = "setup --only azure --yes";
    let count = requests_of(&User::new(), line);
    let user = User::new();
    for at in (1..count).step_by(2) {
        killed_at(&user, line, at, true);
        user.run("delete-resources --yes").good();
        assert!(
            user.resources().is_empty(),
            "killed at {at}: {:#?}",
            user.resources().keys()
        );
    }
}

#[test]
fn delete_resources_that_is_killed_at_any_request_is_given_again() {
    for line in [
        "delete-resources --yes",
        "delete-resources --yes --keep-data",
    ] {
        let whole = User::new();
        whole.set_up();
        let count = requests_of(&whole, line);
        let expected = shape(&whole);
        let user = User::new();
        for at in 0..count {
            user.set_up();
            killed_at(&user, line, at, at % 2 == 0);
            user.run(line).good();
            assert_same(&shape(&user), &expected, &format!("{line} killed at {at}"));
        }
    }
}
