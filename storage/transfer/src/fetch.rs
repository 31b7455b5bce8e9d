//! One file, fetched from a store.

use super::download::Item;
use super::local::{blocking, local_error};
use super::part::{Part, open_in_folder, part_path};
use super::ranged::{Ranged, Sink};
use super::tuning::{Progress, Tuning};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, TryStreamExt};
use md5::{Digest, Md5};
use petctl_storage::{ETag, Properties, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use sha2::Sha256;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use tokio::sync::mpsc as mpsc_async;

/// Bytes that are written to disk at a time.
pub(super) const WRITE_BYTES: usize = 1024 * 1024;
/// Bytes that are hashed at a time.
const HASH_BYTES: usize = 1024 * 1024;

/// A file that is here now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What the store knows of the version that was fetched.
    pub properties: Properties,
    /// Of the whole, as it was written here; it is the store's, where the store keeps one.
    pub md5: [u8; 16],
    /// Of the whole, as it was written here.
    pub sha256: [u8; 32],
}

/// Fetches a name to a file: into `<to>.petctl-part`, by ranges in parallel, then renamed. Ranges that an earlier
/// attempt has fetched of the same version are not fetched again. With `etag`, only that version will do.
///
/// # Errors
/// [`StorageError`]; nothing there is [`NotFound`](StorageProblem::NotFound), another version
/// [`Changed`](StorageProblem::Changed), bytes that don't fit the kept MD5 [`Corrupt`](StorageProblem::Corrupt).
pub fn fetch_file<'a>(
    store: &'a SharedStore,
    name: &'a str,
    to: &'a Path,
    etag: Option<&'a ETag>,
    tuning: &'a Tuning,
    progress: &'a dyn Progress,
) -> BoxFuture<'a, Result<Fetched, StorageError>> {
    // Boxed, so that callers need not prove again that it may change threads.
    Box::pin(async move {
        let Some(properties) = store.head(name).await? else {
            return Err(StorageError::new(
                StorageProblem::NotFound,
                format!("there is no {}", store.address(name)),
            ));
        };
        if etag.is_some_and(|etag| *etag != properties.etag) {
            return Err(changed(store, name));
        }
        fetch_known(store, name, &properties, None, to, tuning, progress).await
    })
}

/// Fetches the version of a name that a listing or a look has shown, with a SHA-256 where one is known.
pub(crate) async fn fetch_known(
    store: &SharedStore,
    name: &str,
    properties: &Properties,
    sha256: Option<&[u8; 32]>,
    to: &Path,
    tuning: &Tuning,
    progress: &dyn Progress,
) -> Result<Fetched, StorageError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let told = Told {
            progress,
            bytes: AtomicU64::new(0),
        };
        let fetched = if properties.size <= tuning.block_bytes() {
            fetch_whole(store, name, properties, sha256, to, tuning, &told).await
        } else {
            fetch_blocks(store, name, properties, sha256, to, tuning, &told).await
        };
        match fetched {
            Ok(fetched) => {
                progress.file_done(name);
                return Ok(fetched);
            }
            Err(error) => {
                progress.taken_back(told.bytes.load(Ordering::Relaxed));
                // Once it may be the network, twice it is what lies there.
                if error.problem != StorageProblem::Corrupt || attempt == 2 {
                    return Err(error);
                }
            }
        }
    }
}

/// Fetches the bytes of a name in their order, without a file, and checks them as [`fetch_file`] does: what was taken is
/// whole only if this succeeds.
///
/// # Errors
/// As [`fetch_file`]; [`Local`](StorageProblem::Local) where nobody takes them any more.
pub async fn pour(
    store: &SharedStore,
    item: &Item,
    sender: mpsc_async::Sender<Bytes>,
    progress: &dyn Progress,
) -> Result<(), StorageError> {
    read(store, item, Some(sender), progress).await
}

/// Reads a name whole and checks its bytes as [`fetch_file`] does; nobody takes them.
///
/// # Errors
/// As [`fetch_file`].
pub async fn check_file(
    store: &SharedStore,
    item: &Item,
    progress: &dyn Progress,
) -> Result<(), StorageError> {
    read(store, item, None, progress).await
}

async fn read(
    store: &SharedStore,
    item: &Item,
    sender: Option<mpsc_async::Sender<Bytes>>,
    progress: &dyn Progress,
) -> Result<(), StorageError> {
    let told = Told {
        progress,
        bytes: AtomicU64::new(0),
    };
    let mut kept = item.properties.clone();
    let whole = Ranged {
        store,
        name: &item.source,
        etag: &item.properties.etag,
        range: 0..item.properties.size,
    };
    let mut sink = Sink::Channel {
        sender,
        md5: Md5::new(),
        sha: Sha256::new(),
    };
    whole.fetch(&told, &mut kept, &mut sink).await?;
    if let Sink::Channel { md5, sha, .. } = sink {
        let fetched = Fetched {
            properties: kept,
            md5: md5.finalize().into(),
            sha256: sha.finalize().into(),
        };
        check(store, &item.source, &fetched, item.sha256.as_ref())?;
    }
    progress.file_done(&item.name);
    Ok(())
}

async fn fetch_whole(
    store: &SharedStore,
    name: &str,
    properties: &Properties,
    sha256: Option<&[u8; 32]>,
    to: &Path,
    tuning: &Tuning,
    told: &Told<'_>,
) -> Result<Fetched, StorageError> {
    let _share = tuning.take(properties.size).await;
    let mut kept = properties.clone();
    let mut sink = Sink::Chunks(Vec::new());
    let whole = Ranged {
        store,
        name,
        etag: &properties.etag,
        range: 0..properties.size,
    };
    whole.fetch(told, &mut kept, &mut sink).await?;
    let Sink::Chunks(chunks) = sink else {
        return Err(StorageError::new(
            StorageProblem::Unexpected,
            "no bytes were kept",
        ));
    };
    let path = to.to_owned();
    let (md5, sha) = blocking(move || {
        let (mut md5, mut sha) = (Md5::new(), Sha256::new());
        for chunk in &chunks {
            md5.update(chunk);
            sha.update(chunk);
        }
        let part = part_path(&path);
        let write = || {
            let mut file = open_in_folder(&part)?;
            file.set_len(0)?;
            for chunk in &chunks {
                file.write_all(chunk)?;
            }
            Ok(())
        };
        write().map_err(|error| local_error("write", &part, &error))?;
        Ok((md5.finalize().into(), sha.finalize().into()))
    })
    .await?;
    let fetched = Fetched {
        properties: kept,
        md5,
        sha256: sha,
    };
    let part = part_path(to);
    if let Err(error) = check(store, name, &fetched, sha256) {
        let _removed = fs::remove_file(&part);
        return Err(error);
    }
    fs::rename(&part, to).map_err(|error| local_error("write", to, &error))?;
    Ok(fetched)
}

async fn fetch_blocks(
    store: &SharedStore,
    name: &str,
    properties: &Properties,
    sha256: Option<&[u8; 32]>,
    to: &Path,
    tuning: &Tuning,
    told: &Told<'_>,
) -> Result<Fetched, StorageError> {
    let block_bytes = tuning.block_bytes_for(properties.size);
    let (path, wanted) = (to.to_owned(), properties.clone());
    let (part, done) = blocking(move || Part::open(&path, &wanted, block_bytes)).await?;
    let part = Arc::new(part);

    // The hashes follow behind the blocks, as far as there is no gap.
    let (ready, blocks) = mpsc::channel();
    let (hashed, count) = (Arc::clone(&part), done.len());
    let hashes = blocking(move || hash_blocks(&hashed, count, &blocks));
    for (block, _) in done.iter().enumerate().filter(|(_, done)| **done) {
        told.skipped(part.length(block));
        let _hashed = ready.send(block);
    }
    let (part_ref, ready_ref) = (&part, &ready);
    let missing = done.iter().enumerate().filter(|(_, done)| !**done);
    let fetches = stream::iter(missing.map(|(block, _)| Ok(block))).try_for_each_concurrent(
        tuning.parallel(),
        |block| async move {
            let _share = tuning.take(part_ref.length(block)).await;
            fetch_block(store, name, properties, part_ref, block, told).await?;
            let _hashed = ready_ref.send(block);
            Ok::<(), StorageError>(())
        },
    );
    let outcome = fetches.await;
    // Nothing more comes: after a failure the hashing ends too.
    drop(ready);
    let hashes = hashes.await;
    outcome?;
    let (md5, sha) = hashes?;
    let fetched = Fetched {
        properties: properties.clone(),
        md5,
        sha256: sha,
    };
    if let Err(error) = check(store, name, &fetched, sha256) {
        part.remove();
        return Err(error);
    }
    let to = to.to_owned();
    blocking(move || part.finish(&to)).await?;
    Ok(fetched)
}

async fn fetch_block(
    store: &SharedStore,
    name: &str,
    properties: &Properties,
    part: &Arc<Part>,
    block: usize,
    told: &Told<'_>,
) -> Result<(), StorageError> {
    let start = part.offset(block);
    let ranged = Ranged {
        store,
        name,
        etag: &properties.etag,
        range: start..start + part.length(block),
    };
    let mut kept = properties.clone();
    let mut sink = Sink::Part {
        part: Arc::clone(part),
        offset: start,
        waiting: Vec::with_capacity(WRITE_BYTES),
    };
    ranged.fetch(told, &mut kept, &mut sink).await?;
    sink.flush().await?;
    let part = Arc::clone(part);
    blocking(move || part.mark(block)).await
}

/// Hashes blocks in their order as they become ready, on a thread of its own.
fn hash_blocks(
    part: &Part,
    count: usize,
    ready: &mpsc::Receiver<usize>,
) -> Result<([u8; 16], [u8; 32]), StorageError> {
    let (mut md5, mut sha) = (Md5::new(), Sha256::new());
    let mut here = vec![false; count];
    let mut next = 0;
    let mut buffer = vec![0_u8; HASH_BYTES];
    while next < count {
        let Ok(block) = ready.recv() else {
            return Err(StorageError::new(
                StorageProblem::Unexpected,
                "blocks are missing",
            ));
        };
        if let Some(here) = here.get_mut(block) {
            *here = true;
        }
        while here.get(next) == Some(&true) {
            let (mut at, end) = (part.offset(next), part.offset(next) + part.length(next));
            while at < end {
                let step =
                    usize::try_from(end - at).map_or(HASH_BYTES, |left| left.min(HASH_BYTES));
                part.read(&mut buffer[..step], at)?;
                md5.update(&buffer[..step]);
                sha.update(&buffer[..step]);
                at += step as u64;
            }
            next += 1;
        }
    }
    Ok((md5.finalize().into(), sha.finalize().into()))
}

fn check(
    store: &SharedStore,
    name: &str,
    fetched: &Fetched,
    sha256: Option<&[u8; 32]>,
) -> Result<(), StorageError> {
    let md5_differs = fetched.properties.md5.is_some_and(|md5| md5 != fetched.md5);
    let sha_differs = sha256.is_some_and(|sha| *sha != fetched.sha256);
    let what = match (md5_differs, sha_differs) {
        (false, false) => return Ok(()),
        (true, _) => "the MD5 that is kept with it",
        (false, true) => "the SHA-256 in its manifest",
    };
    Err(StorageError::new(
        StorageProblem::Corrupt,
        format!(
            "the bytes of {} don't fit {what}",
            store.address(name)
        ),
    )
    .fix("fetch it again; if that does not help, what lies there is damaged: send it again from its source"))
}

pub(super) fn changed(store: &SharedStore, name: &str) -> StorageError {
    StorageError::new(
        StorageProblem::Changed,
        format!("{} is another version by now", store.address(name)),
    )
    .fix("fetch it again when nobody writes to it")
}

/// What the progress was told of one file, to take it back where the file starts afresh.
pub(super) struct Told<'a> {
    progress: &'a dyn Progress,
    bytes: AtomicU64,
}

impl Told<'_> {
    pub(super) fn moved(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress.moved(bytes);
    }

    fn skipped(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress.skipped(bytes);
    }
}
