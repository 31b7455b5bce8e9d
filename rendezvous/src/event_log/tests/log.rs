use super::{assert_holds, bytes_of, end, record, records, state_of};
use crate::event_log::replay::{FORMAT, META};
use crate::event_log::{
    EventLog, FORMAT_VERSION, KEPT_RECORDS, LogError, MemoryLog, RedbLog, open_offline,
};
use petctl_core::{Config, Millis, Record};
use std::fs;
use std::path::Path;

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = assert_holds(dir.path(), 0);
    log.append(&records(1..=2)).unwrap();
    log.append(&records(3..=5_000)).unwrap();
    drop(log);
    let mut log = assert_holds(dir.path(), 5_000);
    log.append(&records(5_001..=5_001)).unwrap();
    drop(log);
    assert_holds(dir.path(), 5_001);
}

#[test]
fn events_are_read_from_any_record_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut redb = assert_holds(dir.path(), 0);
    let mut memory = MemoryLog::default();
    let logs: [&mut dyn EventLog; 2] = [&mut redb, &mut memory];
    for log in logs {
        log.append(&records(1..=3_000)).unwrap();
        log.append(&records(3_001..=3_010)).unwrap();
        let reader = log.reader();
        assert_eq!(reader.read(0, 3).unwrap(), records(1..=3));
        assert_eq!(reader.read(1_020, 10).unwrap(), records(1_020..=1_029));
        assert_eq!(reader.read(2_995, 1_000).unwrap(), records(2_995..=3_010));
        assert_eq!(reader.read(3_011, 10).unwrap(), []);
    }
}

#[test]
fn a_reader_does_not_keep_a_closed_log_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = assert_holds(dir.path(), 0);
    log.append(&records(1..=2)).unwrap();
    let reader = log.reader();
    drop(log);
    assert_eq!(
        reader.read(1, 1).unwrap_err().code().as_str(),
        "COORDINATOR_STOPPED"
    );
    assert_holds(dir.path(), 2);
}

#[test]
fn a_snapshot_keeps_the_state_and_the_newest_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = assert_holds(dir.path(), 0);
    let newest = 100_002;
    for start in (1..=newest).step_by(10_000) {
        log.append(&records(start..=newest.min(start + 9_999)))
            .unwrap();
    }
    // Enough to make old ones go.
    let more: Vec<Record> = (newest + 1..=newest + 5_000)
        .map(|sequence| Record {
            sequence,
            at: Millis(1),
            event: end(),
        })
        .collect();
    log.append(&more).unwrap();
    let newest = newest + 5_000;
    let state = log.load().unwrap().state;
    log.snapshot(&state).unwrap();
    drop(log);

    let mut log = RedbLog::open(dir.path(), "test").unwrap();
    let loaded = log.load().unwrap();
    assert_eq!(loaded.next_sequence, newest + 1);
    assert!(
        bytes_of(&loaded.state) == bytes_of(&state),
        "the state differs"
    );
    let oldest = log.reader().read(1, 1).unwrap()[0].sequence;
    assert!(oldest > 1, "old records are dropped");
    assert!(
        newest - oldest >= KEPT_RECORDS,
        "the newest {KEPT_RECORDS} stay; the oldest is {oldest}"
    );

    // What comes after a snapshot counts, and so does the next snapshot.
    log.append(&[Record {
        sequence: newest + 1,
        at: Millis(1),
        event: end(),
    }])
    .unwrap();
    let state = log.load().unwrap().state;
    assert_eq!(state.sequence, newest + 1);
    log.snapshot(&state).unwrap();
    assert_eq!(log.load().unwrap().state.sequence, newest + 1);
}

#[test]
fn a_snapshot_is_due_when_the_log_has_grown_over_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = assert_holds(dir.path(), 0);
    log.set_snapshot_after(1_000);
    log.append(&records(1..=1)).unwrap();
    assert!(!log.snapshot_due());
    log.append(&records(2..=2)).unwrap();
    assert!(log.snapshot_due());
    log.snapshot(&state_of(2)).unwrap();
    assert!(!log.snapshot_due());
    drop(log);
    let mut log = assert_holds(dir.path(), 2);
    log.set_snapshot_after(1_000);
    assert!(
        !log.snapshot_due(),
        "the log before the snapshot does not count after a restart"
    );
}

fn set_version(dir: &Path, version: u64) {
    let database = redb::Database::open(dir.join("coordinator.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(META)
        .unwrap()
        .insert(FORMAT, version)
        .unwrap();
    transaction.commit().unwrap();
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(assert_holds(dir.path(), 0));
    set_version(dir.path(), FORMAT_VERSION + 1);
    let error = RedbLog::open(dir.path(), "test").unwrap_err();
    assert!(matches!(error, LogError::VersionNewer { found, known, .. } if found == known + 1));
    assert_eq!(error.code().as_str(), "STATE_VERSION_NEWER");
    assert_eq!(
        offline(dir.path()).unwrap_err().code().as_str(),
        "STATE_VERSION_NEWER"
    );
}

#[test]
fn a_log_that_is_open_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _open = assert_holds(dir.path(), 0);
    assert_eq!(
        RedbLog::open(dir.path(), "test")
            .unwrap_err()
            .code()
            .as_str(),
        "STATE_IN_USE"
    );
}

#[test]
fn an_offline_reader_sees_all_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        offline(dir.path()).unwrap_err().code().as_str(),
        "STATE_FOLDER"
    );
    let mut log = assert_holds(dir.path(), 0);
    log.append(&records(1..=2_000)).unwrap();
    // As after a crash: the file was not closed.
    let crashed = tempfile::tempdir().unwrap();
    fs::copy(
        dir.path().join("coordinator.redb"),
        crashed.path().join("coordinator.redb"),
    )
    .unwrap();
    let before = fs::read(crashed.path().join("coordinator.redb")).unwrap();
    let offline = offline(crashed.path()).unwrap();
    assert!(
        bytes_of(offline.core().state()) == bytes_of(&state_of(2_000)),
        "the state differs"
    );
    assert_eq!(
        offline.events(1_999, 10).unwrap(),
        [record(1_999), record(2_000)]
    );
    drop(offline);
    assert!(
        fs::read(crashed.path().join("coordinator.redb")).unwrap() == before,
        "the file changed"
    );
    assert_eq!(fs::read_dir(crashed.path()).unwrap().count(), 1);
}

fn offline(dir: &Path) -> Result<crate::Offline, LogError> {
    open_offline(dir, Config::default(), Millis(0))
}
