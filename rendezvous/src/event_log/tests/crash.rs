use super::{assert_holds, records};
use crate::event_log::redb_log::builder;
use crate::event_log::{EventLog, RedbLog};
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const FILE: &str = "coordinator.redb";

#[test]
fn a_crash_after_any_append_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = assert_holds(dir.path(), 0);
    let mut newest = 0;
    for size in [1, 1, 3, 200, 1, 2_000, 7] {
        log.append(&records(newest + 1..=newest + size)).unwrap();
        newest += size;
        let crashed = tempfile::tempdir().unwrap();
        fs::copy(dir.path().join(FILE), crashed.path().join(FILE)).unwrap();
        assert_holds(crashed.path(), newest);
    }
}

/// Copies the file before everything that is done to it: each copy is what a process that was killed then leaves.
#[derive(Debug)]
struct Copying {
    inner: FileBackend,
    from: PathBuf,
    to: PathBuf,
    copies: Arc<AtomicU64>,
    armed: Arc<AtomicBool>,
}

impl Copying {
    fn copy(&self) -> io::Result<()> {
        if self.armed.load(Ordering::SeqCst) {
            let number = self.copies.fetch_add(1, Ordering::SeqCst);
            fs::copy(&self.from, self.to.join(number.to_string()))?;
        }
        Ok(())
    }
}

impl StorageBackend for Copying {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.copy()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.copy()?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.copy()?;
        self.inner.write(offset, data)
    }
}

#[test]
fn a_crash_at_any_write_of_an_append_or_snapshot_leaves_all_of_it_or_nothing() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join(FILE);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    let (count, armed) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let backend = Copying {
        inner: FileBackend::new(file).unwrap(),
        from: path.clone(),
        to: copies.path().to_owned(),
        copies: Arc::clone(&count),
        armed: Arc::clone(&armed),
    };
    let database = builder().create_with_backend(backend).unwrap();
    let mut log = RedbLog::in_database(&path, database).unwrap();
    log.append(&records(1..=3)).unwrap();
    armed.store(true, Ordering::SeqCst);
    let mut newest = 3;
    for size in [1, 40, 1_100] {
        let first = count.load(Ordering::SeqCst);
        log.append(&records(newest + 1..=newest + size)).unwrap();
        check_copies(
            copies.path(),
            first..count.load(Ordering::SeqCst),
            &[newest, newest + size],
        );
        newest += size;
    }
    let first = count.load(Ordering::SeqCst);
    log.snapshot(&super::state_of(newest)).unwrap();
    check_copies(
        copies.path(),
        first..count.load(Ordering::SeqCst),
        &[newest],
    );
    assert!(count.load(Ordering::SeqCst) > 10, "nothing was copied");
}

fn check_copies(copies: &Path, range: std::ops::Range<u64>, allowed: &[u64]) {
    for number in range {
        let dir = tempfile::tempdir().unwrap();
        fs::rename(copies.join(number.to_string()), dir.path().join(FILE)).unwrap();
        let mut log = RedbLog::open(dir.path(), "test").unwrap();
        let newest = log.load().unwrap().state.sequence;
        assert!(
            allowed.contains(&newest),
            "after copy {number} the newest record is {newest}, not of {allowed:?}"
        );
        drop(log);
        assert_holds(dir.path(), newest);
    }
}

const CHILD: &str = "PETCTL_TEST_APPEND_IN";
const ROUNDS: u64 = 10;

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    if let Some(dir) = std::env::var_os(CHILD) {
        append_until_killed(Path::new(&dir));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "event_log::tests::crash::a_killed_process_loses_nothing_that_it_acknowledged",
            ])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        let mut seen = 0;
        // A different moment each round, in the middle of an append that nobody waits for.
        while seen < 5 + round * 3 {
            let line = lines.next().expect("the child ended by itself").unwrap();
            if let Some(newest) = line.strip_prefix("appended ") {
                acknowledged = newest.parse().unwrap();
                seen += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died counts as well.
        for line in lines.map_while(Result::ok) {
            acknowledged = line
                .strip_prefix("appended ")
                .and_then(|n| n.parse().ok())
                .unwrap_or(acknowledged);
        }
        let mut log = RedbLog::open(dir.path(), "test").unwrap();
        let newest = log.load().unwrap().state.sequence;
        assert!(
            newest >= acknowledged,
            "{acknowledged} was acknowledged, {newest} is there"
        );
        drop(log);
        assert_holds(dir.path(), newest);
    }
}

fn append_until_killed(dir: &Path) {
    let mut log = RedbLog::open(dir, "test").unwrap();
    let mut newest = log.load().unwrap().state.sequence;
    loop {
        let size = 1 + newest % 17;
        log.append(&records(newest + 1..=newest + size)).unwrap();
        newest += size;
        println!("appended {newest}");
    }
}

#[test]
fn a_full_disk_says_so_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let backend = Full {
        inner: FileBackend::new(file).unwrap(),
        full: Arc::clone(&full),
    };
    let database = builder().create_with_backend(backend).unwrap();
    let mut log = RedbLog::in_database(&path, database).unwrap();
    log.append(&records(1..=3)).unwrap();
    full.store(true, Ordering::SeqCst);
    let error = log.append(&records(4..=4)).unwrap_err();
    assert_eq!(error.code().as_str(), "STATE_DISK_FULL", "{error}");
    assert!(log.append(&records(4..=4)).is_err());
    drop(log);
    assert_holds(dir.path(), 3);
}

#[derive(Debug)]
struct Full {
    inner: FileBackend,
    full: Arc<AtomicBool>,
}

impl Full {
    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl StorageBackend for Full {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.inner.write(offset, data)
    }
}
