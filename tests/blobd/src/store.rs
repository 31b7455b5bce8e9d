//! What is kept: containers, their blobs, and blocks that are part of no blob yet.

use crate::answer::value;
use crate::pieces::Received;
use crate::refusal::Refusal;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// All of the service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) checks_md5: bool,
    containers: Mutex<BTreeMap<String, Container>>,
    requests: AtomicU64,
    /// The next ETag.
    versions: AtomicU64,
}

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) stamp: Stamp,
    pub(crate) metadata: Metadata,
    pub(crate) blobs: BTreeMap<String, Arc<Blob>>,
    /// By the blob's name, in the order in which they came.
    pub(crate) staged: BTreeMap<String, Vec<Block>>,
}

/// Names with their `x-ms-meta-`.
pub(crate) type Metadata = Vec<(HeaderName, HeaderValue)>;

/// Which version something is of, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    /// With quotes.
    pub(crate) etag: HeaderValue,
    pub(crate) modified: HeaderValue,
}

/// A blob as it can be read. One that is read stays as it is, whatever is written meanwhile.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) stamp: Stamp,
    pub(crate) created: HeaderValue,
    pub(crate) content_type: HeaderValue,
    pub(crate) md5: Option<HeaderValue>,
    pub(crate) metadata: Metadata,
    pub(crate) size: u64,
    /// In their order; one without an id where it was written whole.
    pub(crate) blocks: Vec<Block>,
}

/// A part of a blob.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// In base64, as it came.
    pub(crate) id: String,
    pub(crate) content: Arc<Received>,
}

impl Blob {
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        let contents = self.blocks.iter().map(|block| &block.content);
        contents.flat_map(|content| &content.pieces)
    }

    /// Blocks that have an id.
    pub(crate) fn named_blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| !block.id.is_empty())
    }
}

impl Service {
    pub(crate) fn new(checks_md5: bool) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = now.map_or(1, |age| age.as_nanos());
        Self {
            checks_md5,
            containers: Mutex::default(),
            requests: AtomicU64::new(1),
            versions: AtomicU64::new(u64::try_from(nanos).unwrap_or(1)),
        }
    }

    pub(crate) fn containers(&self) -> MutexGuard<'_, BTreeMap<String, Container>> {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a container.
    pub(crate) fn within<T>(
        &self,
        container: &str,
        act: impl FnOnce(&mut Container) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match self.containers().get_mut(container) {
            Some(container) => act(container),
            None => Err(Refusal::container_not_found()),
        }
    }

    /// A version that nothing had before.
    pub(crate) fn stamp(&self) -> Stamp {
        let number = self.versions.fetch_add(1, Ordering::Relaxed);
        Stamp {
            etag: value(&format!("\"0x{number:X}\"")),
            modified: value(&httpdate::fmt_http_date(SystemTime::now())),
        }
    }

    pub(crate) fn next_request_id(&self) -> HeaderValue {
        HeaderValue::from(self.requests.fetch_add(1, Ordering::Relaxed))
    }
}
