//! A range of one version of a name, fetched in order, whatever breaks on the way.

use super::fetch::{Told, WRITE_BYTES, changed};
use super::local::blocking;
use super::part::Part;
use bytes::Bytes;
use futures::StreamExt;
use md5::{Digest, Md5};
use petctl_storage::{ETag, Properties, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use sha2::Sha256;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc as mpsc_async;

/// Times that a body may break off without a byte before the fetch fails.
const MAX_BREAKS: u32 = 6;
/// The first pause before a body is asked for again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Where the bytes of a range go.
pub(super) enum Sink {
    /// Into memory.
    Chunks(Vec<Bytes>),
    /// Hashed on their way to whoever takes them, or to nobody.
    Channel {
        sender: Option<mpsc_async::Sender<Bytes>>,
        md5: Md5,
        sha: Sha256,
    },
    /// To their place in a file.
    Part {
        part: Arc<Part>,
        offset: u64,
        waiting: Vec<u8>,
    },
}

impl Sink {
    async fn take(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        match self {
            Self::Chunks(chunks) => chunks.push(bytes),
            Self::Channel { sender, md5, sha } => {
                md5.update(&bytes);
                sha.update(&bytes);
                if let Some(sender) = sender {
                    return sender.send(bytes).await.map_err(|_| {
                        StorageError::new(StorageProblem::Local, "nobody takes the bytes any more")
                    });
                }
            }
            Self::Part { waiting, .. } => {
                waiting.extend_from_slice(&bytes);
                if waiting.len() >= WRITE_BYTES {
                    return self.flush().await;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), StorageError> {
        let Self::Part {
            part,
            offset,
            waiting,
        } = self
        else {
            return Ok(());
        };
        let full = std::mem::replace(waiting, Vec::with_capacity(WRITE_BYTES));
        let (part, at) = (Arc::clone(part), *offset);
        *offset += full.len() as u64;
        blocking(move || part.write(&full, at)).await
    }
}

/// A range of one version of a name.
pub(super) struct Ranged<'a> {
    pub(super) store: &'a SharedStore,
    pub(super) name: &'a str,
    pub(super) etag: &'a ETag,
    pub(super) range: Range<u64>,
}

impl Ranged<'_> {
    /// Hands over all bytes in their order; where a body breaks off, it goes on from there.
    pub(super) async fn fetch(
        &self,
        told: &Told<'_>,
        kept: &mut Properties,
        sink: &mut Sink,
    ) -> Result<(), StorageError> {
        let mut next = self.range.start;
        let mut breaks = 0;
        loop {
            let broke = match self.once(&mut next, told, kept, sink).await {
                Ok(()) if next == self.range.end => return Ok(()),
                Ok(()) => StorageError::new(
                    StorageProblem::Unavailable,
                    format!(
                        "{} came to an end at byte {next}, before byte {}",
                        self.store.address(self.name),
                        self.range.end
                    ),
                ),
                Err((error, true)) if error.problem == StorageProblem::Unavailable => error,
                Err((error, _)) => return Err(error),
            };
            breaks += 1;
            if breaks == MAX_BREAKS {
                return Err(broke);
            }
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(breaks - 1)).await;
        }
    }

    /// One body. `true` with its error: it had begun, so that the store has not tried again by itself.
    async fn once(
        &self,
        next: &mut u64,
        told: &Told<'_>,
        kept: &mut Properties,
        sink: &mut Sink,
    ) -> Result<(), (StorageError, bool)> {
        let whole = self.range.start == 0 && *next == 0 && self.range.end == kept.size;
        // An empty range can't be asked for.
        let range = (!whole).then_some(*next..self.range.end);
        let body = self.store.get(self.name, range, Some(self.etag)).await;
        let mut body = body.map_err(|error| (error, false))?;
        if body.properties.etag != *self.etag {
            return Err((changed(self.store, self.name), false));
        }
        if body.properties.md5.is_some() {
            kept.md5 = body.properties.md5;
        }
        while let Some(bytes) = body.bytes.next().await {
            let bytes = bytes.map_err(|error| (error, true))?;
            let length = bytes.len() as u64;
            if *next + length > self.range.end {
                let message = format!(
                    "{} has more bytes than it says",
                    self.store.address(self.name)
                );
                return Err((StorageError::new(StorageProblem::Corrupt, message), false));
            }
            sink.take(bytes).await.map_err(|error| (error, false))?;
            *next += length;
            told.moved(length);
        }
        Ok(())
    }
}
