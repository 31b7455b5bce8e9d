//! What stands beside a blob's bytes: marks of folders, notes of registers; and blobs as listings show them.

use super::BlobStore;
use super::answers::{conditions, done_with, lost_or, quoted};
use super::retry::ContentMd5;
use crate::error::StorageError;
use crate::store::{Condition, ETag, Entry, Need, Properties, PutOutcome};
use azure_core::http::{ClientMethodOptions, Context};
use azure_storage_blob::models::{BlobItem, BlockBlobClientUploadOptions};
use bytes::Bytes;
use md5::{Digest as _, Md5};
use std::num::NonZero;
use std::time::SystemTime;

/// Metadata that marks a blob of no bytes as a folder, as Azure's own tools and mounts write it.
const FOLDER_MARK: &str = "hdi_isfolder";
/// Where notes are.
const NOTE: &str = "petctl_note";

#[expect(
    clippy::disallowed_types,
    reason = "the crate wants metadata in it; one entry has one order"
)]
type HashMapOf = std::collections::HashMap<String, String>;

fn one(name: &str, value: &str) -> HashMapOf {
    HashMapOf::from([(name.to_owned(), value.to_owned())])
}

impl BlobStore {
    /// A blob of a listing, by its name below the store.
    pub(super) fn entry(&self, item: BlobItem) -> Option<Entry> {
        let name = item.name?.strip_prefix(&self.prefix)?.to_owned();
        let known = item.properties?;
        let mut values: Vec<(String, String)> = item
            .metadata
            .and_then(|metadata| metadata.values)
            .into_iter()
            .flatten()
            .collect();
        let mut take = |wanted: &str| {
            let at = values
                .iter()
                .position(|(key, _)| key.eq_ignore_ascii_case(wanted))?;
            Some(values.swap_remove(at).1)
        };
        let marked = take(FOLDER_MARK).is_some_and(|value| value == "true");
        let size = known.content_length.unwrap_or(0);
        let is_folder = size == 0 && (marked || name.ends_with('/'));
        let properties = Properties {
            size,
            etag: ETag(quoted(known.etag?.as_ref())),
            modified: known
                .last_modified
                .map_or(SystemTime::UNIX_EPOCH, SystemTime::from),
            md5: known.content_md5.and_then(|md5| md5.try_into().ok()),
        };
        (!name.is_empty()).then_some(Entry {
            name,
            properties,
            is_folder,
            note: take(NOTE),
        })
    }

    /// Writes all of it by one request.
    pub(super) async fn upload(
        &self,
        name: &str,
        bytes: Bytes,
        condition: &Condition,
        note: Option<&str>,
    ) -> Result<PutOutcome, StorageError> {
        let asked = self.asked("write", Need::Write, name);
        let folder = name.strip_suffix('/').filter(|_| bytes.is_empty());
        let md5: [u8; 16] = Md5::digest(&bytes).into();
        let context = Context::new()
            .with_value(asked.tries.clone())
            .with_value(ContentMd5(md5));
        let (if_match, if_none_match) = conditions(condition);
        let options = BlockBlobClientUploadOptions {
            blob_content_md5: Some(md5.to_vec()),
            if_match,
            if_none_match,
            metadata: match (folder, note) {
                (Some(_), _) => Some(one(FOLDER_MARK, "true")),
                (None, note) => note.map(|note| one(NOTE, note)),
            },
            method_options: ClientMethodOptions { context },
            // One request, whatever its size.
            partition_size: NonZero::new(u64::MAX),
            ..BlockBlobClientUploadOptions::default()
        };
        let client = self.block_blob(folder.unwrap_or(name))?;
        match client.upload(bytes.into(), Some(options)).await {
            Ok(done) => done_with(done.etag, &asked),
            Err(error) => lost_or(&error, condition, &asked),
        }
    }
}
