//! A local folder as a store: the same promises as a container, kept with renames.

mod files;
mod listing;

use crate::error::{StorageError, StorageProblem};
use crate::store::{BlockId, Body, Condition, ETag, Page, Properties, PutOutcome, Store};
use async_trait::async_trait;
use bytes::Bytes;
use files::{Folder, local};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where blocks and half-written files wait; never listed.
pub(crate) const HIDDEN: &str = ".petctl-blocks";
/// A folder.
#[derive(Debug)]
pub(crate) struct FolderStore {
    root: PathBuf,
}

impl FolderStore {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Runs what may block where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Folder) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let folder = Folder {
            root: self.root.clone(),
        };
        tokio::task::spawn_blocking(move || work(folder))
            .await
            .map_err(|_| StorageError::new(StorageProblem::Unexpected, "a thread ended early"))?
    }
}

#[async_trait]
impl Store for FolderStore {
    fn address(&self, name: &str) -> String {
        let root = self.root.display().to_string();
        format!("{}/{name}", root.trim_end_matches('/'))
    }

    async fn list(&self, prefix: &str, mark: Option<&str>) -> Result<Page, StorageError> {
        let (prefix, mark) = (prefix.to_owned(), mark.map(str::to_owned));
        self.blocking(move |folder| listing::page(&folder, &prefix, mark.as_deref()))
            .await
    }

    async fn head(&self, name: &str) -> Result<Option<Properties>, StorageError> {
        let name = name.to_owned();
        self.blocking(move |folder| folder.head(&name)).await
    }

    async fn get(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        etag: Option<&ETag>,
    ) -> Result<Body, StorageError> {
        let (name, etag) = (name.to_owned(), etag.cloned());
        self.blocking(move |folder| folder.get(&name, range, etag.as_ref()))
            .await
    }

    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        let (name, condition) = (name.to_owned(), condition.clone());
        self.blocking(move |folder| folder.put(&name, &bytes, &condition))
            .await
    }

    async fn put_block(
        &self,
        name: &str,
        block: &BlockId,
        bytes: Bytes,
    ) -> Result<(), StorageError> {
        let (name, block) = (name.to_owned(), block.clone());
        self.blocking(move |folder| folder.put_block(&name, &block, &bytes))
            .await
    }

    async fn blocks(&self, name: &str) -> Result<Vec<(BlockId, u64)>, StorageError> {
        let name = name.to_owned();
        self.blocking(move |folder| folder.blocks(&name)).await
    }

    async fn put_blocks(
        &self,
        name: &str,
        blocks: &[BlockId],
        md5: [u8; 16],
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        let (name, blocks, condition) = (name.to_owned(), blocks.to_vec(), condition.clone());
        self.blocking(move |folder| folder.put_blocks(&name, &blocks, md5, &condition))
            .await
    }

    async fn delete(&self, name: &str, etag: Option<&ETag>) -> Result<bool, StorageError> {
        let (name, etag) = (name.to_owned(), etag.cloned());
        self.blocking(move |folder| folder.delete(&name, etag.as_ref()))
            .await
    }

    async fn create(&self) -> Result<bool, StorageError> {
        self.blocking(|folder| {
            if folder.root.is_dir() {
                return Ok(false);
            }
            fs::create_dir_all(&folder.root)
                .map_err(|error| local(&error, "make", &folder.root))?;
            Ok(true)
        })
        .await
    }
}
