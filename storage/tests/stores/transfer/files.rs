//! Single files: sent and fetched by block, killed and gone on with.

use super::memory::*;
use petctl_storage::StorageProblem;
use petctl_transfer::{NoProgress, Progress, fetch_file, send_file};
use sha2::Digest as _;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

#[tokio::test]
async fn files_of_all_sizes_arrive_and_come_back() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    for length in [0, 1, 999, 1_000, 1_001, 2_000, 10_500] {
        let bytes = noise(length, 1);
        let path = write(folder.path(), "in", &bytes);
        let sent = assert_send(send_file(&store, "n", &path, &small(3), &NoProgress))
            .await
            .unwrap();
        assert_eq!((sent.size, sent.sent_bytes), (length as u64, length as u64));
        assert_eq!(memory.bytes("n"), bytes);
        let back = folder.path().join("deep/out");
        let fetched = assert_send(fetch_file(
            &store,
            "n",
            &back,
            Some(&sent.etag),
            &small(3),
            &NoProgress,
        ))
        .await
        .unwrap();
        assert_eq!(fs::read(&back).unwrap(), bytes, "{length}");
        assert_eq!(fetched.md5, sent.md5);
        assert_eq!(
            fetched.sha256,
            <[u8; 32]>::from(sha2::Sha256::digest(&bytes))
        );
        let left: Vec<_> = fs::read_dir(folder.path().join("deep")).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}

#[tokio::test]
async fn an_upload_that_died_sends_no_block_twice() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "in", &noise(20_300, 2));
    *memory.lives.lock().unwrap() = Some(9);
    let error = send_file(&store, "n", &path, &small(4), &NoProgress)
        .await
        .unwrap_err();
    assert_eq!(error.problem, StorageProblem::Unavailable);
    assert!(
        memory.names().is_empty(),
        "nothing shows before it is whole"
    );
    let first = memory.take(|counts| &counts.sent_bytes);
    // Those that were on their way when the first was refused are dropped.
    assert!((5 * BLOCK..=9 * BLOCK).contains(&first), "{first}");
    memory.take(|counts| &counts.at_once);

    *memory.lives.lock().unwrap() = None;
    let sent = send_file(&store, "n", &path, &small(4), &NoProgress)
        .await
        .unwrap();
    assert_eq!(sent.sent_bytes, 20_300 - first);
    assert_eq!(memory.take(|counts| &counts.sent_bytes), 20_300 - first);
    assert_eq!(memory.bytes("n"), noise(20_300, 2));
    assert!(memory.take(|counts| &counts.most_at_once) <= 4);
}

#[tokio::test]
async fn an_upload_dropped_at_any_moment_goes_on() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "in", &noise(20_300, 2));
    let mut total = 0;
    let mut is_sent = false;
    for _ in 0..4 {
        let tuning = small(2);
        let sending = send_file(&store, "n", &path, &tuning, &NoProgress);
        let three = async {
            while memory.counts.sent_bytes.load(Ordering::Relaxed) < 3 * BLOCK {
                tokio::task::yield_now().await;
            }
        };
        is_sent = tokio::select! { _ = sending => true, () = three => false };
        total += memory.take(|counts| &counts.sent_bytes);
        // It may have been faster than whoever watches it.
        if is_sent {
            break;
        }
    }
    if !is_sent {
        send_file(&store, "n", &path, &small(2), &NoProgress)
            .await
            .unwrap();
        total += memory.take(|counts| &counts.sent_bytes);
    }
    // Of each of the four deaths, at most the blocks that were on their way.
    assert!(total <= 20_300 + 4 * 2 * BLOCK, "{total}");
    assert_eq!(memory.bytes("n"), noise(20_300, 2));
}

#[tokio::test]
async fn a_file_that_changed_since_takes_only_the_blocks_that_are_still_its_own() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = noise(10_000, 3);
    let path = write(folder.path(), "in", &bytes);
    *memory.lives.lock().unwrap() = Some(5);
    send_file(&store, "n", &path, &small(1), &NoProgress)
        .await
        .unwrap_err();
    bytes[1_500] ^= 1;
    let path = write(folder.path(), "in", &bytes);
    *memory.lives.lock().unwrap() = None;
    let sent = send_file(&store, "n", &path, &small(1), &NoProgress)
        .await
        .unwrap();
    assert_eq!(sent.sent_bytes, 6 * BLOCK);
    assert_eq!(memory.bytes("n"), bytes);
}

#[tokio::test]
async fn a_download_that_died_fetches_no_block_twice() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    memory.add("n", &noise(20_300, 4));
    let to = folder.path().join("out");
    *memory.lives.lock().unwrap() = Some(9);
    let error = fetch_file(&store, "n", &to, None, &small(4), &NoProgress)
        .await
        .unwrap_err();
    assert_eq!(error.problem, StorageProblem::Unavailable);
    assert!(!to.exists(), "nothing shows before it is whole");
    let first = memory.take(|counts| &counts.fetched_bytes);

    *memory.lives.lock().unwrap() = None;
    fetch_file(&store, "n", &to, None, &small(4), &NoProgress)
        .await
        .unwrap();
    let second = memory.take(|counts| &counts.fetched_bytes);
    assert!(first + second <= 20_300 + 4 * BLOCK, "{first} and {second}");
    assert!(second < 15_000, "{second}");
    assert_eq!(fs::read(&to).unwrap(), noise(20_300, 4));
}

#[tokio::test]
async fn a_part_of_another_version_counts_for_nothing() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    memory.add("n", &noise(5_000, 5));
    let to = folder.path().join("out");
    *memory.lives.lock().unwrap() = Some(3);
    fetch_file(&store, "n", &to, None, &small(1), &NoProgress)
        .await
        .unwrap_err();
    memory.add("n", &noise(5_000, 6));
    *memory.lives.lock().unwrap() = None;
    memory.take(|counts| &counts.fetched_bytes);
    fetch_file(&store, "n", &to, None, &small(1), &NoProgress)
        .await
        .unwrap();
    assert_eq!(memory.take(|counts| &counts.fetched_bytes), 5_000);
    assert_eq!(fs::read(&to).unwrap(), noise(5_000, 6));
}

#[tokio::test]
async fn a_body_that_breaks_off_goes_on_where_it_broke() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    for length in [900, 5_000] {
        memory.add("n", &noise(length, 7));
        *memory.breaks.lock().unwrap() = 2;
        let to = folder.path().join(format!("out{length}"));
        fetch_file(&store, "n", &to, None, &small(2), &NoProgress)
            .await
            .unwrap();
        assert_eq!(fs::read(&to).unwrap(), noise(length, 7));
    }
}

#[tokio::test]
async fn bytes_that_arrive_wrong_are_fetched_again_once() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    for length in [900_usize, 5_000] {
        memory.add("n", &noise(length, 8));
        let to = folder.path().join(format!("out{length}"));
        memory.corrupt.lock().unwrap().insert("n".to_owned(), 1);
        fetch_file(&store, "n", &to, None, &small(2), &NoProgress)
            .await
            .unwrap();
        assert_eq!(fs::read(&to).unwrap(), noise(length, 8));

        let to = folder.path().join(format!("never{length}"));
        memory.corrupt.lock().unwrap().insert("n".to_owned(), 99);
        let error = fetch_file(&store, "n", &to, None, &small(2), &NoProgress)
            .await
            .unwrap_err();
        assert_eq!(error.problem, StorageProblem::Corrupt);
        assert!(!to.exists());
        memory.corrupt.lock().unwrap().clear();
    }
}

/// Lets a file grow whenever bytes of it have been sent.
struct Grower {
    path: PathBuf,
    times: AtomicU64,
}

impl Progress for Grower {
    fn moved(&self, _bytes: u64) {
        let left = self.times.load(Ordering::Relaxed);
        if left > 0 {
            self.times.store(left - 1, Ordering::Relaxed);
            let mut bytes = fs::read(&self.path).unwrap();
            bytes.push(b'x');
            fs::write(&self.path, bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_that_grows_while_read_is_tried_once_more_and_then_told() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "in", &noise(3_000, 9));
    let once = Grower {
        path: path.clone(),
        times: AtomicU64::new(1),
    };
    send_file(&store, "n", &path, &small(1), &once)
        .await
        .unwrap();
    assert_eq!(memory.bytes("n").len(), 3_001);

    let path = write(folder.path(), "in2", &noise(3_000, 9));
    let always = Grower {
        path: path.clone(),
        times: AtomicU64::new(99),
    };
    let error = send_file(&store, "m", &path, &small(1), &always)
        .await
        .unwrap_err();
    assert_eq!(error.code().as_str(), "STORAGE_CHANGED");
    assert!(error.to_string().contains("in2"), "{error}");
    assert!(!memory.names().contains(&"m".to_owned()));
}
