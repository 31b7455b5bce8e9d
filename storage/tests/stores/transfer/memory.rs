//! Transfers against a store in memory that counts what goes through it, and breaks where a test wants it to.

#![expect(
    clippy::cast_possible_truncation,
    reason = "sizes and seeds of tests are small"
)]
#![expect(
    clippy::unwrap_in_result,
    reason = "a lock of a test that is poisoned has failed it already"
)]

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use md5::{Digest, Md5};
use petctl_storage::{
    BlockId, Body, Condition, ETag, Entry, Page, Properties, PutOutcome, SharedStore, StorageError,
    StorageProblem, Store,
};
use petctl_transfer::{Download, Filter, NameRules, Tuning, Upload, Wanted};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// A block in these tests.
pub(crate) const BLOCK: u64 = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) blobs: Mutex<BTreeMap<String, (Bytes, Properties)>>,
    pub(crate) blocks: Mutex<BTreeMap<String, BTreeMap<BlockId, Bytes>>>,
    pub(crate) counts: Counts,
    /// Sends and fetches that may take place before everything is refused.
    pub(crate) lives: Mutex<Option<u64>>,
    /// Names whose bytes arrive wrong, so many times.
    pub(crate) corrupt: Mutex<BTreeMap<String, u32>>,
    /// Bodies that break off in their middle, so many of them.
    pub(crate) breaks: Mutex<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) lists: AtomicU64,
    pub(crate) heads: AtomicU64,
    pub(crate) puts: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) fetched_bytes: AtomicU64,
    pub(crate) at_once: AtomicU64,
    pub(crate) most_at_once: AtomicU64,
}

impl Memory {
    pub(crate) fn new() -> (Arc<Self>, SharedStore) {
        let memory = Arc::new(Self::default());
        (Arc::clone(&memory), memory)
    }

    pub(crate) fn live(&self) -> Result<(), StorageError> {
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

    pub(crate) fn store(&self, name: &str, bytes: Bytes, md5: [u8; 16]) -> PutOutcome {
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

    pub(crate) fn add(&self, name: &str, bytes: &[u8]) {
        self.store(
            name,
            Bytes::copy_from_slice(bytes),
            Md5::digest(bytes).into(),
        );
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.blobs.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Bytes {
        self.blobs.lock().unwrap()[name].0.clone()
    }

    pub(crate) fn take(&self, counter: impl Fn(&Counts) -> &AtomicU64) -> u64 {
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
                note: None,
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
        Ok(Page::new(entries, mark))
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

pub(crate) fn small(parallel: usize) -> Tuning {
    Tuning::new(BLOCK, parallel)
}

pub(crate) fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(step).collect()
}

pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    age(&path, 60);
    path
}

pub(crate) fn age(path: &Path, s: u64) {
    let then = SystemTime::now() - Duration::from_secs(s);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(then).unwrap();
}

pub(crate) fn upload(from: &Path, to: &SharedStore) -> Upload {
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

pub(crate) fn download(from: &SharedStore, to: &Path) -> Download {
    Download {
        from: Arc::clone(from),
        what: Wanted::Prefix("p".to_owned(), Filter::default()),
        to: to.to_owned(),
        delete: false,
        journal: None,
        tuning: small(4),
    }
}

pub(crate) fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
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

pub(crate) fn assert_send<T: Send>(future: T) -> T {
    future
}
