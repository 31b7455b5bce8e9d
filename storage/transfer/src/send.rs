//! One file, sent to a store.

use super::local::{blocking, local_error};
use super::tuning::{Progress, Share, Tuning};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use petctl_storage::{BlockId, Condition, ETag, PutOutcome, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use petctl_text::hex;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

/// A file that is in the store now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its size.
    pub size: u64,
    /// Bytes of it that went over the wire; the others were there already.
    pub sent_bytes: u64,
    /// MD5 of the whole, kept with it.
    pub md5: [u8; 16],
    /// Its version in the store.
    pub etag: ETag,
    /// When the file was last written, in ns since 1970, as it was when it was read.
    pub mtime_ns: i128,
}

/// Sends a file under a name, replacing what is there: at once where it fits into one block, else by blocks, in
/// parallel. Blocks that an earlier attempt has sent are not sent again. The name shows when all of it is there.
///
/// # Errors
/// [`StorageError`]; a file that changed while it was read, twice in a row, is [`Changed`](StorageProblem::Changed).
pub fn send_file<'a>(
    store: &'a SharedStore,
    name: &'a str,
    path: &'a Path,
    tuning: &'a Tuning,
    progress: &'a dyn Progress,
) -> BoxFuture<'a, Result<Sent, StorageError>> {
    // Boxed, so that callers need not prove again that it may change threads.
    Box::pin(async move {
        match send_once(store, name, path, tuning, progress).await {
            // It may have been somebody's last line.
            Err(error) if error.problem == StorageProblem::Changed => {
                send_once(store, name, path, tuning, progress).await
            }
            answer => answer,
        }
    })
}

async fn send_once(
    store: &SharedStore,
    name: &str,
    path: &Path,
    tuning: &Tuning,
    progress: &dyn Progress,
) -> Result<Sent, StorageError> {
    let source = Source::open(path).await?;
    let told = Told::new(progress);
    let answer = if source.stamp.size <= tuning.block_bytes() {
        send_whole(store, name, &source, tuning, &told).await
    } else {
        send_blocks(store, name, &source, tuning, &told).await
    };
    match answer {
        Ok(sent) => {
            progress.file_done(name);
            Ok(sent)
        }
        Err(error) => {
            told.take_back();
            Err(error)
        }
    }
}

async fn send_whole(
    store: &SharedStore,
    name: &str,
    source: &Arc<Source>,
    tuning: &Tuning,
    told: &Told<'_>,
) -> Result<Sent, StorageError> {
    let size = source.stamp.size;
    let _share = tuning.take(size).await;
    let read = Arc::clone(source);
    let (bytes, md5) = blocking(move || {
        let bytes = read.block(0, size)?;
        read.check()?;
        let md5: [u8; 16] = Md5::digest(&bytes).into();
        Ok((bytes, md5))
    })
    .await?;
    let outcome = store.put(name, bytes, &Condition::None).await?;
    told.moved(size);
    Ok(Sent {
        size,
        sent_bytes: size,
        md5,
        etag: done(store, name, outcome)?,
        mtime_ns: source.stamp.mtime_ns,
    })
}

async fn send_blocks(
    store: &SharedStore,
    name: &str,
    source: &Arc<Source>,
    tuning: &Tuning,
    told: &Told<'_>,
) -> Result<Sent, StorageError> {
    let size = source.stamp.size;
    let block_bytes = tuning.block_bytes_for(size);
    let there: BTreeMap<BlockId, u64> = match store.blocks(name).await {
        Ok(blocks) => blocks.into_iter().collect(),
        // The container is there, or the first block says that it is not. And a SAS that only writes does not show them.
        Err(error)
            if matches!(
                error.problem,
                StorageProblem::NotFound | StorageProblem::Denied
            ) =>
        {
            BTreeMap::new()
        }
        Err(error) => return Err(error),
    };
    let there = &there;
    let reader = Reader {
        source: Arc::clone(source),
        block_bytes,
        next: 0,
        md5: Md5::new(),
    };
    // Read in their order, for the MD5 of the whole; sent in any.
    let md5 = &std::sync::Mutex::new(None);
    let sending = stream::try_unfold(reader, |reader| async move {
        if reader.next * block_bytes >= size {
            let whole: [u8; 16] = reader.md5.finalize().into();
            *md5.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(whole);
            return Ok(None);
        }
        let share = tuning.take(block_bytes.min(size)).await;
        let (block, reader) = blocking(move || reader.read(share)).await?;
        Ok(Some((block, reader)))
    })
    .map_ok(|block| async move {
        let (index, length) = (block.index, block.bytes.len() as u64);
        let (id, block) = blocking(move || Ok((block.id(), block))).await?;
        if there.get(&id) == Some(&length) {
            told.skipped(length);
            return Ok((index, id, 0));
        }
        store.put_block(name, &id, block.bytes).await?;
        told.moved(length);
        Ok((index, id, length))
    })
    .try_buffer_unordered(tuning.parallel())
    .boxed();
    let mut blocks: Vec<(u64, BlockId, u64)> = sending.try_collect().await?;
    source.check_later().await?;

    blocks.sort_unstable_by_key(|(index, _, _)| *index);
    let sent_bytes = blocks.iter().map(|(_, _, sent)| *sent).sum();
    let ids: Vec<BlockId> = blocks.into_iter().map(|(_, id, _)| id).collect();
    let Some(md5) = *md5
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
    else {
        return Err(StorageError::new(
            StorageProblem::Unexpected,
            format!("{} was not read to its end", source.shown()),
        ));
    };
    let outcome = store.put_blocks(name, &ids, md5, &Condition::None).await?;
    Ok(Sent {
        size,
        sent_bytes,
        md5,
        etag: done(store, name, outcome)?,
        mtime_ns: source.stamp.mtime_ns,
    })
}

fn done(store: &SharedStore, name: &str, outcome: PutOutcome) -> Result<ETag, StorageError> {
    match outcome {
        PutOutcome::Done(etag) => Ok(etag),
        PutOutcome::Lost => Err(StorageError::new(
            StorageProblem::Unexpected,
            format!(
                "{} refused a write that has no condition",
                store.address(name)
            ),
        )),
    }
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    pub(crate) mtime_ns: i128,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// An open file. Its size at opening counts.
#[derive(Debug)]
struct Source {
    file: File,
    path: std::path::PathBuf,
    stamp: Stamp,
}

impl Source {
    async fn open(path: &Path) -> Result<Arc<Self>, StorageError> {
        let path = path.to_owned();
        blocking(move || {
            let failed = |error: &io::Error| local_error("read", &path, error);
            let file = File::open(&path).map_err(|error| failed(&error))?;
            let metadata = file.metadata().map_err(|error| failed(&error))?;
            if !metadata.is_file() {
                return Err(StorageError::new(
                    StorageProblem::Local,
                    format!("{} is no file", path.display()),
                ));
            }
            let stamp = Stamp::of(&metadata);
            Ok(Arc::new(Self { file, path, stamp }))
        })
        .await
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    fn block(&self, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = vec![0_u8; length];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(Bytes::from(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.changed()),
            Err(error) => Err(local_error("read", &self.path, &error)),
        }
    }

    /// Whether what was read is one state of the file.
    fn check(&self) -> Result<(), StorageError> {
        let metadata = self
            .file
            .metadata()
            .map_err(|error| local_error("read", &self.path, &error))?;
        if Stamp::of(&metadata) == self.stamp {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    async fn check_later(self: &Arc<Self>) -> Result<(), StorageError> {
        let source = Arc::clone(self);
        blocking(move || source.check()).await
    }

    fn changed(&self) -> StorageError {
        StorageError::new(
            StorageProblem::Changed,
            format!("{} changed while it was read", self.shown()),
        )
        .fix(
            "send it again when nobody writes to it: the same command goes on with what is missing",
        )
    }
}

/// Reads block after block.
struct Reader {
    source: Arc<Source>,
    block_bytes: u64,
    next: u64,
    md5: Md5,
}

impl Reader {
    fn read(mut self, share: Share) -> Result<(Block, Self), StorageError> {
        let offset = self.next * self.block_bytes;
        let length = self.block_bytes.min(self.source.stamp.size - offset);
        let bytes = self.source.block(offset, length)?;
        self.md5.update(&bytes);
        let block = Block {
            index: self.next,
            bytes,
            _share: share,
        };
        self.next += 1;
        Ok((block, self))
    }
}

/// A block in memory.
struct Block {
    index: u64,
    bytes: Bytes,
    _share: Share,
}

impl Block {
    /// Made of its place and its bytes: a block of an earlier attempt that has this id is this block, whatever happened
    /// to the file between.
    fn id(&self) -> BlockId {
        let digest = Sha256::digest(&self.bytes);
        BlockId(format!("{:08x}{}", self.index, hex(&digest[..20])))
    }
}

/// What the progress was told of one file, to take it back where the file starts afresh.
struct Told<'a> {
    progress: &'a dyn Progress,
    bytes: std::sync::atomic::AtomicU64,
}

impl<'a> Told<'a> {
    fn new(progress: &'a dyn Progress) -> Self {
        Self {
            progress,
            bytes: std::sync::atomic::AtomicU64::new(0),
        }
    }

    fn moved(&self, bytes: u64) {
        self.add(bytes);
        self.progress.moved(bytes);
    }

    fn skipped(&self, bytes: u64) {
        self.add(bytes);
        self.progress.skipped(bytes);
    }

    fn add(&self, bytes: u64) {
        self.bytes
            .fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    }

    fn take_back(&self) {
        let bytes = self.bytes.load(std::sync::atomic::Ordering::Relaxed);
        self.progress.taken_back(bytes);
    }
}
