use super::{assert_holds, bytes_of, records, state_of};
use crate::event_log::{EventLog, LogError, RedbLog, open_offline};
use petctl_core::{Config, Millis, State};
use std::fs;
use std::path::Path;

const FILE: &str = "coordinator.redb";
const NEWEST: u64 = 1_500;

/// A file that was closed well, with a snapshot and a log after it.
fn whole() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut log = assert_holds(dir.path(), 0);
    log.append(&records(1..=1_000)).unwrap();
    log.snapshot(&state_of(1_000)).unwrap();
    log.append(&records(1_001..=NEWEST)).unwrap();
    drop(log);
    fs::read(dir.path().join(FILE)).unwrap()
}

fn load(dir: &Path) -> Result<State, LogError> {
    Ok(RedbLog::open(dir, "test")?.load()?.state)
}

/// What is damaged is refused, or is none of what counts. It is never taken for something else.
fn check(bytes: &[u8], what: &str, expected: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), bytes).unwrap();
    let offline = open_offline(dir.path(), Config::default(), Millis(0))
        .map(|offline| offline.core().state().clone());
    let mut refused = false;
    for loaded in [offline, load(dir.path())] {
        match loaded {
            Ok(state) => assert!(
                bytes_of(&state) == expected,
                "{what}: another state is taken for this one"
            ),
            Err(error) => {
                assert_eq!(error.code().as_str(), "STATE_CORRUPT", "{what}: {error}");
                refused = true;
            }
        }
    }
    refused
}

#[test]
fn flipped_bytes_are_found_or_do_no_harm() {
    let (whole, expected) = (whole(), bytes_of(&state_of(NEWEST)));
    assert!(!check(&whole, "unharmed", &expected));
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut refused = 0;
    // A prime step meets pages at ever other places.
    for offset in (0..used).step_by(5_003) {
        let mut damaged = whole.clone();
        damaged[offset] ^= 0x55;
        refused += u32::from(check(&damaged, &format!("byte {offset}"), &expected));
    }
    assert!(refused > 0, "no damage was found");
}

#[test]
fn a_cut_file_is_refused() {
    let (whole, expected) = (whole(), bytes_of(&state_of(NEWEST)));
    for length in [
        0,
        1,
        100,
        4_095,
        4_096,
        8_192,
        whole.len() / 3,
        whole.len() / 2,
    ] {
        assert!(
            check(&whole[..length], &format!("cut to {length}"), &expected),
            "cut to {length} is not refused"
        );
    }
}

#[test]
fn a_file_of_something_else_is_refused() {
    let expected = bytes_of(&State::default());
    for (what, bytes) in [
        ("text", b"[job]\nname = \"us101\"\n".repeat(1_000)),
        ("zeros", vec![0; 1 << 20]),
        ("ones", vec![0xff; 1 << 20]),
    ] {
        assert!(check(&bytes, what, &expected), "{what} is not refused");
    }
    let dir = tempfile::tempdir().unwrap();
    drop(redb::Database::create(dir.path().join(FILE)).unwrap());
    assert_eq!(
        load(dir.path()).unwrap_err().code().as_str(),
        "STATE_CORRUPT"
    );
}
