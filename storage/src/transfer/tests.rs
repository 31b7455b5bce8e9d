//! Transfers against a store in memory that counts what goes through it, and breaks where a test wants it to.

#![expect(
    clippy::cast_possible_truncation,
    reason = "sizes and seeds of tests are small"
)]
#![expect(
    clippy::unwrap_in_result,
    reason = "a lock of a test that is poisoned has failed it already"
)]

use super::{
    Download, Filter, NameRules, NoProgress, PART_ENDING, Progress, Tuning, Upload, Wanted,
    fetch_file, send_file,
};
use crate::error::{StorageError, StorageProblem};
use crate::store::{
    BlockId, Body, Condition, ETag, Entry, Page, Properties, PutOutcome, SharedStore, Store,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use md5::{Digest, Md5};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// A block in these tests.
const BLOCK: u64 = 1_000;

#[derive(Debug, Default)]
struct Memory {
    blobs: Mutex<BTreeMap<String, (Bytes, Properties)>>,
    blocks: Mutex<BTreeMap<String, BTreeMap<BlockId, Bytes>>>,
    counts: Counts,
    /// Sends and fetches that may take place before everything is refused.
    lives: Mutex<Option<u64>>,
    /// Names whose bytes arrive wrong, so many times.
    corrupt: Mutex<BTreeMap<String, u32>>,
    /// Bodies that break off in their middle, so many of them.
    breaks: Mutex<u32>,
}

#[derive(Debug, Default)]
struct Counts {
    lists: AtomicU64,
    heads: AtomicU64,
    puts: AtomicU64,
    sent_bytes: AtomicU64,
    fetched_bytes: AtomicU64,
    at_once: AtomicU64,
    most_at_once: AtomicU64,
}

impl Memory {
    fn new() -> (Arc<Self>, SharedStore) {
        let memory = Arc::new(Self::default());
        (Arc::clone(&memory), memory)
    }

    fn live(&self) -> Result<(), StorageError> {
        let mut lives = self.lives.lock().unwrap();
        match lives.as_mut() {
            None => Ok(()),
            Some(0) => Err(StorageError::new(StorageProblem::Unavailable, "killed")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn store(&self, name: &str, bytes: Bytes, md5: [u8; 16]) -> PutOutcome {
        let mut blobs = self.blobs.lock().unwrap();
        let puts = self.counts.puts.fetch_add(1, Ordering::Relaxed);
        let properties = Properties {
            size: bytes.len() as u64,
            etag: ETag(format!("{puts}")),
            modified: SystemTime::now(),
            md5: Some(md5),
        };
        let etag = properties.etag.clone();
        blobs.insert(name.to_owned(), (bytes, properties));
        PutOutcome::Done(etag)
    }

    fn add(&self, name: &str, bytes: &[u8]) {
        self.store(
            name,
            Bytes::copy_from_slice(bytes),
            Md5::digest(bytes).into(),
        );
    }

    fn names(&self) -> Vec<String> {
        self.blobs.lock().unwrap().keys().cloned().collect()
    }

    fn bytes(&self, name: &str) -> Bytes {
        self.blobs.lock().unwrap()[name].0.clone()
    }

    fn take(&self, counter: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        counter(&self.counts).swap(0, Ordering::Relaxed)
    }
}

#[async_trait]
impl Store for Memory {
    fn address(&self, name: &str) -> String {
        format!("memory/{name}")
    }

    async fn list(&self, prefix: &str, mark: Option<&str>) -> Result<Page, StorageError> {
        self.counts.lists.fetch_add(1, Ordering::Relaxed);
        let blobs = self.blobs.lock().unwrap();
        let mut entries: Vec<Entry> = blobs
            .iter()
            .filter(|(name, _)| {
                name.starts_with(prefix) && mark.is_none_or(|mark| name.as_str() > mark)
            })
            .map(|(name, (_, properties))| Entry {
                name: name.clone(),
                properties: properties.clone(),
                is_folder: name.ends_with('/'),
            })
            .collect();
        let more = entries.len() > 3;
        entries.truncate(3);
        let mark = entries
            .last()
            .filter(|_| more)
            .map(|entry| entry.name.clone());
        Ok(Page { entries, mark })
    }

    async fn head(&self, name: &str) -> Result<Option<Properties>, StorageError> {
        self.counts.heads.fetch_add(1, Ordering::Relaxed);
        Ok(self
            .blobs
            .lock()
            .unwrap()
            .get(name)
            .map(|(_, properties)| properties.clone()))
    }

    async fn get(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        etag: Option<&ETag>,
    ) -> Result<Body, StorageError> {
        self.live()?;
        let (bytes, properties) = self.blobs.lock().unwrap()[name].clone();
        if etag.is_some_and(|etag| *etag != properties.etag) {
            return Err(StorageError::new(
                StorageProblem::Changed,
                "another version",
            ));
        }
        let range = range.map_or(0..bytes.len(), |range| {
            range.start as usize..range.end as usize
        });
        let mut bytes = bytes.slice(range).to_vec();
        let mut corrupt = self.corrupt.lock().unwrap();
        if let Some(left) = corrupt.get_mut(name).filter(|left| **left > 0) {
            *left -= 1;
            bytes[0] ^= 1;
        }
        self.counts
            .fetched_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut parts: Vec<Result<Bytes, StorageError>> = bytes
            .chunks(300)
            .map(|part| Ok(Bytes::copy_from_slice(part)))
            .collect();
        let mut breaks = self.breaks.lock().unwrap();
        if *breaks > 0 && parts.len() > 1 {
            *breaks -= 1;
            parts.truncate(1);
            parts.push(Err(StorageError::new(
                StorageProblem::Unavailable,
                "cut off",
            )));
        }
        Ok(Body {
            properties,
            bytes: stream::iter(parts).boxed(),
        })
    }

    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        _condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        self.live()?;
        self.counts
            .sent_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let md5 = Md5::digest(&bytes).into();
        Ok(self.store(name, bytes, md5))
    }

    async fn put_block(
        &self,
        name: &str,
        block: &BlockId,
        bytes: Bytes,
    ) -> Result<(), StorageError> {
        self.live()?;
        assert!(block.0.len() <= 64 && block.0.bytes().all(|b| b.is_ascii_alphanumeric()));
        let now = self.counts.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.counts.most_at_once.fetch_max(now, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.counts.at_once.fetch_sub(1, Ordering::SeqCst);
        self.counts
            .sent_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut blocks = self.blocks.lock().unwrap();
        blocks
            .entry(name.to_owned())
            .or_default()
            .insert(block.clone(), bytes);
        Ok(())
    }

    async fn blocks(&self, name: &str) -> Result<Vec<(BlockId, u64)>, StorageError> {
        let blocks = self.blocks.lock().unwrap();
        let blocks = blocks.get(name).into_iter().flatten();
        Ok(blocks
            .map(|(id, bytes)| (id.clone(), bytes.len() as u64))
            .collect())
    }

    async fn put_blocks(
        &self,
        name: &str,
        blocks: &[BlockId],
        md5: [u8; 16],
        _condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        let sent = self.blocks.lock().unwrap().remove(name).unwrap_or_default();
        let bytes: Vec<u8> = blocks.iter().flat_map(|id| sent[id].to_vec()).collect();
        assert_eq!(md5, <[u8; 16]>::from(Md5::digest(&bytes)));
        Ok(self.store(name, bytes.into(), md5))
    }

    async fn delete(&self, name: &str, _etag: Option<&ETag>) -> Result<bool, StorageError> {
        Ok(self.blobs.lock().unwrap().remove(name).is_some())
    }

    async fn create(&self) -> Result<bool, StorageError> {
        Ok(false)
    }
}

fn small(parallel: usize) -> Tuning {
    Tuning::new(BLOCK, parallel)
}

fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(step).collect()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    age(&path, 60);
    path
}

fn age(path: &Path, s: u64) {
    let then = SystemTime::now() - Duration::from_secs(s);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(then).unwrap();
}

fn upload(from: &Path, to: &SharedStore) -> Upload {
    Upload {
        from: from.to_owned(),
        extras: Vec::new(),
        to: Arc::clone(to),
        prefix: "p".to_owned(),
        filter: Filter::default(),
        delete: false,
        rules: NameRules::Blob,
        may_be_missing: false,
        journal: None,
        tuning: small(4),
    }
}

fn download(from: &SharedStore, to: &Path) -> Download {
    Download {
        from: Arc::clone(from),
        what: Wanted::Prefix("p".to_owned(), Filter::default()),
        to: to.to_owned(),
        delete: false,
        journal: None,
        tuning: small(4),
    }
}

fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    walkdir::WalkDir::new(root)
        .min_depth(1)
        .into_iter()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry
                .path()
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let bytes = if entry.file_type().is_dir() {
                Vec::new()
            } else {
                fs::read(entry.path()).unwrap()
            };
            (name, bytes)
        })
        .collect()
}

fn assert_send<T: Send>(future: T) -> T {
    future
}

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
    assert_eq!(error.code(), "STORAGE_CHANGED");
    assert!(error.to_string().contains("in2"), "{error}");
    assert!(!memory.names().contains(&"m".to_owned()));
}

#[tokio::test]
async fn a_tree_with_strange_names_and_empty_folders_goes_there_and_back() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for (index, name) in [
        "a b.txt",
        "100%/x%20y",
        "路径/文件",
        "é/ß?#&+.bin",
        "z/large",
    ]
    .iter()
    .enumerate()
    {
        write(&from, name, &noise(700 * (index + 1), index as u8));
    }
    fs::create_dir_all(from.join("empty/deep er")).unwrap();
    let plan = assert_send(upload(&from, &store).plan()).await.unwrap();
    let report = assert_send(plan.run(&NoProgress)).await.unwrap();
    assert!(report.is_whole());
    assert_eq!((report.files, report.folders), (5, 1));
    assert!(memory.names().contains(&"p/empty/deep er/".to_owned()));
    let plan = assert_send(download(&store, &to).plan()).await.unwrap();
    let report = assert_send(plan.run(&NoProgress)).await.unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(tree(&from), tree(&to));
    // Nothing is left to do.
    let plan = upload(&from, &store).plan().await.unwrap();
    assert_eq!(
        (plan.send().count(), plan.folders().len(), plan.unchanged()),
        (0, 0, 5)
    );
}

#[tokio::test]
async fn what_has_not_changed_costs_a_listing_and_no_reading() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    for index in 0..7 {
        write(&from, &format!("f{index}"), &noise(50, index));
    }
    let journal = Some(folder.path().join("journal"));
    let plan = Upload {
        journal: journal.clone(),
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    assert_eq!(plan.run(&NoProgress).await.unwrap().files, 7);
    drop(plan);
    memory.take(|counts| &counts.lists);

    // The same size and time, but other bytes: who still finds it has read it.
    let path = from.join("f3");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, noise(50, 99)).unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let plan = Upload {
        journal: journal.clone(),
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    assert_eq!((plan.send().count(), plan.unchanged()), (0, 7));
    assert_eq!(
        memory.take(|counts| &counts.lists),
        3,
        "seven names in pages of three"
    );
    assert_eq!(memory.take(|counts| &counts.heads), 0);
    drop(plan);

    // Without the journal the bytes are compared.
    let plan = upload(&from, &store).plan().await.unwrap();
    assert_eq!(plan.send().collect::<Vec<_>>(), [("f3", 50)]);

    // Somebody else wrote there: the journal is not believed.
    memory.add("p/f1", &noise(50, 77));
    let plan = Upload {
        journal,
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    assert_eq!(plan.send().collect::<Vec<_>>(), [("f1", 50)]);
}

#[tokio::test]
async fn a_download_takes_only_what_changed_and_mends_what_was_edited_here() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    for name in ["p/a", "p/b", "p/c"] {
        memory.add(name, &noise(2_500, name.as_bytes()[2]));
    }
    let journal = Some(folder.path().join("journal"));
    let plan = || {
        Download {
            journal: journal.clone(),
            ..download(&store, &to)
        }
        .plan()
    };
    assert_eq!(
        plan().await.unwrap().run(&NoProgress).await.unwrap().files,
        3
    );
    let again = plan().await.unwrap();
    assert_eq!((again.fetch().count(), again.unchanged()), (0, 3));
    drop(again);
    memory.add("p/a", &noise(2_500, 1));
    fs::write(to.join("b"), noise(2_500, 2)).unwrap();
    let again = plan().await.unwrap();
    let names: BTreeSet<&str> = again.fetch().map(|(name, _)| name).collect();
    assert_eq!(names, BTreeSet::from(["a", "b"]));
    again.run(&NoProgress).await.unwrap();
    assert_eq!(fs::read(to.join("b")).unwrap(), noise(2_500, b'b'));
}

#[tokio::test]
async fn what_the_source_has_no_more_goes_only_when_asked_and_never_what_is_left_out() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    write(&from, "kept.txt", b"1");
    for name in ["p/old.txt", "p/sub/old.txt", "p/old.log", "q/other.txt"] {
        memory.add(name, b"x");
    }
    let text_only = || Filter::new(&[], &["*.log".to_owned()]).unwrap();
    let plan = Upload {
        filter: text_only(),
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    assert_eq!(plan.delete().count(), 0);
    let plan = Upload {
        filter: text_only(),
        delete: true,
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    let doomed: Vec<&str> = plan.delete().map(|(name, _)| name).collect();
    assert_eq!(doomed, ["old.txt", "sub/old.txt"]);
    assert_eq!(plan.run(&NoProgress).await.unwrap().deleted, 2);
    assert_eq!(memory.names(), ["p/kept.txt", "p/old.log", "q/other.txt"]);

    let to = folder.path().join("to");
    write(&to, "sub/deep/gone.txt", b"1");
    write(&to, "kept.txt", b"2");
    let what = Wanted::Prefix("p".to_owned(), text_only());
    let plan = Download {
        what,
        delete: true,
        ..download(&store, &to)
    }
    .plan()
    .await
    .unwrap();
    assert_eq!(
        plan.delete().collect::<Vec<_>>(),
        [("sub/deep/gone.txt", 1)]
    );
    plan.run(&NoProgress).await.unwrap();
    assert_eq!(
        tree(&to),
        BTreeMap::from([("kept.txt".to_owned(), b"1".to_vec())])
    );
}

#[tokio::test]
async fn nothing_is_deleted_when_something_could_not_be_sent() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    write(&from, "new.txt", b"1");
    memory.add("p/old.txt", b"x");
    let plan = Upload {
        delete: true,
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    fs::remove_file(from.join("new.txt")).unwrap();
    let report = plan.run(&NoProgress).await.unwrap();
    assert_eq!((report.failed.len(), report.deleted), (1, 0));
    assert_eq!(memory.names(), ["p/old.txt"]);
}

#[tokio::test]
async fn all_names_that_the_target_refuses_are_told_before_a_byte_is_sent() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    for name in ["good", "dot.", "line\nbreak", "sub./x"] {
        write(&from, name, b"1");
    }
    std::os::unix::fs::symlink("nowhere", from.join("broken")).unwrap();
    std::os::unix::fs::symlink("good", from.join("linked")).unwrap();
    std::os::unix::fs::symlink(".", from.join("loop")).unwrap();
    let plan = upload(&from, &store).plan().await.unwrap();
    let named: BTreeSet<&str> = plan
        .faults()
        .iter()
        .map(|fault| fault.name.as_str())
        .collect();
    assert_eq!(
        named,
        BTreeSet::from(["dot.", "line\nbreak", "sub./x", "broken"])
    );
    assert_eq!(plan.notes(), ["loop is a link to a folder: left out"]);
    assert!(plan.send().any(|(name, _)| name == "linked"));
    plan.run(&NoProgress).await.unwrap_err();
    assert!(memory.names().is_empty());
}

#[tokio::test]
async fn names_that_lead_out_of_the_folder_are_refused() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    for name in ["p/ok", "p/../../evil", "p/ok/below", "p//x"] {
        memory.add(name, b"1");
    }
    let plan = download(&store, &to).plan().await.unwrap();
    let named: BTreeSet<&str> = plan
        .faults()
        .iter()
        .map(|fault| fault.name.as_str())
        .collect();
    assert_eq!(named, BTreeSet::from(["../../evil", "ok/below", "/x"]));
    plan.run(&NoProgress).await.unwrap_err();
    assert!(!to.exists());
}

#[tokio::test]
async fn a_tree_stops_when_the_store_is_gone_and_goes_on_later() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    for index in 0..100 {
        write(&from, &format!("f{index:03}"), &noise(100, index));
    }
    *memory.lives.lock().unwrap() = Some(60);
    let plan = upload(&from, &store).plan().await.unwrap();
    let report = plan.run(&NoProgress).await.unwrap();
    assert_eq!(
        report.stopped.as_ref().map(StorageError::code),
        Some("STORAGE_UNAVAILABLE")
    );
    assert_eq!(report.files, 60);
    *memory.lives.lock().unwrap() = None;
    let plan = upload(&from, &store).plan().await.unwrap();
    assert_eq!((plan.unchanged(), plan.send().count()), (60, 40));
    assert!(plan.run(&NoProgress).await.unwrap().is_whole());
}

#[tokio::test]
async fn unfinished_files_of_downloads_are_no_part_of_a_tree() {
    let (_, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &format!("a{PART_ENDING}"), b"1");
    write(folder.path(), "b", b"1");
    let plan = upload(folder.path(), &store).plan().await.unwrap();
    assert_eq!(plan.send().collect::<Vec<_>>(), [("b", 1)]);
}
