use super::{assert_holds, bytes_of};
use crate::event_log::replay::{FORMAT, META};
use crate::event_log::{
    EventLog, FORMAT_VERSION, LogError, OLDEST_FORMAT, RedbLog, copy_name, open_offline,
};
use flate2::read::GzDecoder;
use petctl_core::{Config, JobState, Millis, State};
use std::fs;
use std::io::Read;
use std::path::Path;

const FILE: &str = "coordinator.redb";

/// The log of a coordinator of the release before, which was killed: a job that failed, a training with a checkpoint
/// that was taken up again, and two jobs in the middle of which it died, of which one had been cancelled and run again.
const RELEASE_BEFORE: &[u8] = include_bytes!("../../../testdata/format-4.redb.gz");

fn folder_of_before() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Vec::new();
    GzDecoder::new(RELEASE_BEFORE)
        .read_to_end(&mut log)
        .unwrap();
    fs::write(dir.path().join(FILE), log).unwrap();
    dir
}

/// Opened, it has all that the release before had written.
fn assert_upgrades(dir: &Path) -> State {
    let mut log = RedbLog::open(dir, "next").unwrap();
    let state = log.load().unwrap().state;
    assert_eq!(
        log.reader().read(1, 1_000).unwrap().len() as u64,
        state.sequence
    );
    drop(log);
    assert_eq!(format_of(&dir.join(FILE)), FORMAT_VERSION);
    assert_eq!(format_of(&dir.join(copy_name(4))), 4);
    let others = fs::read_dir(dir).unwrap();
    assert_eq!(others.count(), 2, "nothing else is left there");
    state
}

fn format_of(file: &Path) -> u64 {
    let database = redb::ReadOnlyDatabase::open(file).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    let meta = transaction.open_table(META).unwrap();
    meta.get(FORMAT).unwrap().unwrap().value()
}

fn set_format(dir: &Path, version: u64) {
    let database = redb::Database::open(dir.join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut meta = transaction.open_table(META).unwrap();
    meta.insert(FORMAT, version).unwrap();
    drop(meta);
    transaction.commit().unwrap();
}

#[test]
fn a_log_of_the_release_before_is_read_beside_as_it_is_and_brought_to_this_format_by_a_start() {
    let dir = folder_of_before();
    let before = fs::read(dir.path().join(FILE)).unwrap();
    let offline = open_offline(dir.path(), Config::default(), Millis(0)).unwrap();
    let jobs: Vec<(String, JobState, u64)> = offline
        .core()
        .jobs()
        .into_iter()
        .map(|job| (job.name, job.state, job.done))
        .collect();
    let said = |name: &str, state, done| (name.to_owned(), state, done);
    assert_eq!(
        jobs,
        [
            said("fit", JobState::Interrupted, 0),
            said("gone", JobState::Interrupted, 1),
            said("half", JobState::Interrupted, 1),
            said("mix", JobState::Failed, 2),
        ]
    );
    let read = bytes_of(offline.core().state());
    let records = offline.events(1, 1_000).unwrap();
    drop(offline);
    assert!(
        fs::read(dir.path().join(FILE)).unwrap() == before,
        "it was changed"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    let state = assert_upgrades(dir.path());
    assert!(bytes_of(&state) == read, "it has become another state");
    // The copy is what it was: the release before goes on with it.
    fs::rename(dir.path().join(copy_name(4)), dir.path().join(FILE)).unwrap();
    let offline = open_offline(dir.path(), Config::default(), Millis(0)).unwrap();
    assert!(bytes_of(offline.core().state()) == read);
    assert_eq!(offline.events(1, 1_000).unwrap(), records);
}

#[test]
fn a_start_that_was_killed_on_the_way_to_this_format_is_followed_by_one_that_gets_there() {
    let whole = folder_of_before();
    let expected = bytes_of(&assert_upgrades(whole.path()));
    let copy = fs::read(whole.path().join(copy_name(4))).unwrap();
    let unfinished = format!("{}.unfinished", copy_name(4));
    // In the middle of the copy; behind it, before its name; behind that, before the change, which is one transaction.
    let left: [(&str, &[u8]); 3] = [
        (&unfinished, &copy[..copy.len() / 2]),
        (&unfinished, &copy),
        (&copy_name(4), &copy),
    ];
    for (name, bytes) in left {
        let dir = folder_of_before();
        fs::write(dir.path().join(name), bytes).unwrap();
        assert!(bytes_of(&assert_upgrades(dir.path())) == expected, "{name}");
    }
    // Behind all of it: there is nothing to do, and the copy is that of before the upgrade.
    assert!(bytes_of(&assert_upgrades(whole.path())) == expected);
    assert!(fs::read(whole.path().join(copy_name(4))).unwrap() == copy);
}

#[test]
fn where_the_copy_can_not_be_made_nothing_is_changed() {
    let dir = folder_of_before();
    let unfinished = dir.path().join(format!("{}.unfinished", copy_name(4)));
    fs::create_dir(&unfinished).unwrap();
    let error = RedbLog::open(dir.path(), "next").unwrap_err();
    assert!(error.to_string().contains(&copy_name(4)), "{error}");
    assert_eq!(format_of(&dir.path().join(FILE)), 4);
    assert!(!dir.path().join(copy_name(4)).exists());
    fs::remove_dir(&unfinished).unwrap();
    assert_upgrades(dir.path());
}

#[test]
fn a_log_of_a_format_to_come_is_refused_with_who_wrote_it_and_the_way_back() {
    let dir = tempfile::tempdir().unwrap();
    drop(RedbLog::open(dir.path(), "0.9.0 (abc)").unwrap());
    let known = fs::read(dir.path().join(FILE)).unwrap();
    set_format(dir.path(), FORMAT_VERSION + 1);
    let refused = || RedbLog::open(dir.path(), "next").unwrap_err();
    let text = refused().to_string();
    assert!(
        text.contains("petctl 0.9.0 (abc) has written it since 20"),
        "{text}"
    );
    assert!(
        text.contains("use petctl 0.9.0 (abc), or choose another folder"),
        "{text}"
    );
    let copy = dir.path().join(copy_name(FORMAT_VERSION));
    fs::write(&copy, known).unwrap();
    let error = refused();
    assert!(matches!(&error, LogError::VersionNewer { copy: Some(found), .. } if *found == copy));
    let text = error.to_string();
    let (from, to) = (copy.display(), dir.path().join(FILE));
    assert!(
        text.contains(&format!("cp {from} {}", to.display())),
        "{text}"
    );
    fs::copy(&copy, to).unwrap();
    drop(assert_holds(dir.path(), 0));
}

#[test]
fn a_log_of_before_the_release_before_is_refused() {
    let dir = folder_of_before();
    set_format(dir.path(), OLDEST_FORMAT - 1);
    let error = RedbLog::open(dir.path(), "next").unwrap_err();
    assert_eq!(error.code().as_str(), "STATE_VERSION_OLDER");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn who_writes_is_said_when_it_is_somebody_else() {
    let dir = tempfile::tempdir().unwrap();
    for (release, expected) in [("one", "one"), ("one", "one"), ("two", "two")] {
        drop(RedbLog::open(dir.path(), release).unwrap());
        set_format(dir.path(), FORMAT_VERSION + 1);
        let text = RedbLog::open(dir.path(), "next").unwrap_err().to_string();
        assert!(
            text.contains(&format!("(petctl {expected} has written")),
            "{text}"
        );
        set_format(dir.path(), FORMAT_VERSION);
    }
}
