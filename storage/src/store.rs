//! The trait that folders and containers share.

use crate::error::StorageError;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

/// A store that many tasks use.
pub type SharedStore = Arc<dyn Store>;

/// A place for named bytes. All methods retry what is worth a retry by themselves, within bounds, and honour
/// `Retry-After`; they may be called from any number of tasks, and dropping a future stops its work.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The whole address of a name, for messages: `az://container/prefix/name` or a path. Never holds a secret.
    fn address(&self, name: &str) -> String;

    /// Says why the store can't hold a name, without asking it.
    ///
    /// # Errors
    /// The reason, as a clause.
    fn check_name(&self, name: &str) -> Result<(), &'static str> {
        petctl_output::layout::check_relative(name)
    }

    /// Some of the names that start with `prefix`, in the order of their bytes, behind the mark of the page before.
    ///
    /// # Errors
    /// [`StorageError`]; a container that is not there is [`NotFound`](crate::StorageProblem::NotFound), a prefix under
    /// which nothing is an empty page.
    async fn list(&self, prefix: &str, mark: Option<&str>) -> Result<Page, StorageError>;

    /// What is known of a name; `None` where there is nothing.
    ///
    /// # Errors
    /// [`StorageError`]
    async fn head(&self, name: &str) -> Result<Option<Properties>, StorageError>;

    /// The bytes of a name, or of a part of it, as they come. With `etag`, only of that version: else
    /// [`Changed`](crate::StorageProblem::Changed). A body that breaks off ends with an error; it is not started again.
    ///
    /// # Errors
    /// [`StorageError`]; nothing there is [`NotFound`](crate::StorageProblem::NotFound).
    async fn get(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        etag: Option<&ETag>,
    ) -> Result<Body, StorageError>;

    /// Writes a whole small name at once, with its MD5 checked on the way and kept with it.
    /// A name that ends with `/`, without bytes, is the marker of an empty folder ([`Entry::is_folder`]).
    ///
    /// # Errors
    /// [`StorageError`]; a condition that does not hold is [`PutOutcome::Lost`], not an error. A lost answer whose retry
    /// finds its own bytes there may be `Lost` too: put an owner's mark into what must know.
    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError>;

    /// As [`Self::put`], with a note beside the bytes that listings show ([`Entry::note`]): ASCII, at most 4 KiB. Folders
    /// have no room for notes.
    ///
    /// # Errors
    /// As [`Self::put`].
    async fn put_noted(
        &self,
        name: &str,
        bytes: Bytes,
        condition: &Condition,
        note: &str,
    ) -> Result<PutOutcome, StorageError> {
        let _ = note;
        self.put(name, bytes, condition).await
    }

    /// Sends one block of a large name, its MD5 checked on the way. Nothing shows before [`Self::put_blocks`]. Sending
    /// the same block again does no harm.
    ///
    /// # Errors
    /// [`StorageError`]
    async fn put_block(
        &self,
        name: &str,
        block: &BlockId,
        bytes: Bytes,
    ) -> Result<(), StorageError>;

    /// Blocks that were sent for a name and are part of no whole yet, with their sizes. Azure forgets them after a week.
    ///
    /// # Errors
    /// [`StorageError`]
    async fn blocks(&self, name: &str) -> Result<Vec<(BlockId, u64)>, StorageError>;

    /// Makes the name of these blocks, in this order.
    ///
    /// # Errors
    /// As [`Self::put`].
    async fn put_blocks(
        &self,
        name: &str,
        blocks: &[BlockId],
        md5: [u8; 16],
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError>;

    /// Removes a name, with `etag` only that version. Whether something was removed.
    ///
    /// # Errors
    /// [`StorageError`]; another version is [`Changed`](crate::StorageProblem::Changed).
    async fn delete(&self, name: &str, etag: Option<&ETag>) -> Result<bool, StorageError>;

    /// Makes the container or the folder itself, where it is not there. Whether it was made.
    ///
    /// # Errors
    /// [`StorageError`]
    async fn create(&self) -> Result<bool, StorageError>;

    /// Refuses what the credential is known not to allow, before a byte is sent. Says nothing of credentials that do
    /// not show what they allow.
    ///
    /// # Errors
    /// [`Denied`](crate::StorageProblem::Denied) names the missing permission; [`Expired`](crate::StorageProblem::Expired)
    /// the time.
    fn require(&self, needs: &[Need]) -> Result<(), StorageError> {
        let _ = needs;
        Ok(())
    }
}

/// What somebody is about to do with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Read what is there.
    Read,
    /// List names.
    List,
    /// Write and replace.
    Write,
    /// Remove.
    Delete,
    /// Make the container.
    Create,
}

/// The version of a name, as the service writes it; of a local file, made of its time, size and number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ETag(pub String);

/// The number of a block, as the user of a store chose it: 1 to 64 letters and digits, the same length for all blocks of
/// one name. Stores encode it as they must.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockId(pub String);

/// What must hold for a write to take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: what is there is replaced.
    None,
    /// Nothing is there (`If-None-Match: *`).
    Absent,
    /// This version is there (`If-Match`).
    Match(ETag),
}

/// How a conditional write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is there now, in this version.
    Done(ETag),
    /// The condition did not hold: somebody else was there first.
    Lost,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Bytes.
    pub size: u64,
    /// Its version.
    pub etag: ETag,
    /// When it was last written.
    pub modified: SystemTime,
    /// MD5 of the whole, where somebody kept it.
    pub md5: Option<[u8; 16]>,
}

/// One name of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the store's root.
    pub name: String,
    /// What is known of it.
    pub properties: Properties,
    /// A marker for an empty folder (a blob of no bytes with `hdi_isfolder`, or an empty local folder).
    pub is_folder: bool,
    /// What [`Store::put_noted`] has put beside it.
    pub note: Option<String>,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their names' bytes.
    pub entries: Vec<Entry>,
    /// Where to go on; `None`: this was the last page.
    pub mark: Option<String>,
    /// What is among these names and has no bytes that a store could give; only folders hold such things.
    pub left_out: Vec<LeftOut>,
}

impl Page {
    /// A part of a listing that left nothing out.
    #[must_use]
    pub fn new(entries: Vec<Entry>, mark: Option<String>) -> Self {
        Self {
            entries,
            mark,
            left_out: Vec::new(),
        }
    }
}

/// Something in a folder that is no file, nor leads to one that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Below the store's root; what is not UTF-8 of it is replaced.
    pub name: String,
    /// What it is, as a clause.
    pub why: String,
}

/// The bytes of a name as they come.
pub struct Body {
    /// Of the whole name, not of a range.
    pub properties: Properties,
    /// The bytes asked for.
    pub bytes: BoxStream<'static, Result<Bytes, StorageError>>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}
