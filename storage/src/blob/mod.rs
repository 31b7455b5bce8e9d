//! Azure Blob Storage, by way of Azure's own crate.

mod answers;
mod metadata;
mod name;
mod patience;
mod refusal;
mod retry;
mod shared_key;
pub(crate) mod wire;

pub use patience::Patience;
pub(crate) use retry::Tries;
pub use shared_key::SharedKey;

use crate::access::{Account, Credential, is_loopback};
use crate::error::{StorageError, StorageProblem};
use crate::sas::SasSource;
use crate::store::{BlockId, Body, Condition, ETag, Need, Page, Properties, PutOutcome, Store};
use answers::{
    check_listing, conditions, content_range, counted, done_with, etag_of, is_no_blob, lost_or,
    properties,
};
use async_trait::async_trait;
use azure_core::http::policies::Policy;
use azure_core::http::{
    ClientMethodOptions, ClientOptions, Context, Etag, RetryOptions, Transport,
};
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientGetPropertiesOptions,
    BlobContainerClientCreateOptions, BlobContainerClientListBlobsOptions,
    BlockBlobClientCommitBlockListOptions, BlockBlobClientGetBlockListOptions,
    BlockBlobClientStageBlockOptions, BlockListType, BlockLookupList, ListBlobsIncludeItem,
};
use azure_storage_blob::{
    BlobClient, BlobContainerClient, BlobContainerClientOptions, BlockBlobClient,
};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use md5::{Digest as _, Md5};
use refusal::{Asked, answer, refusal};
use retry::Retry;
use std::borrow::Cow;
use std::fmt;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use wire::Wire;

/// Names of one page of a listing; the most that Azure gives.
const PAGE_NAMES: i32 = 5_000;
/// Larger than any blob, so that what is asked for comes as one body.
const WHOLE_BYTES: usize = 1 << 48;

/// A container, or the blobs of one below a prefix.
pub(crate) struct BlobStore {
    client: BlobContainerClient,
    container: String,
    /// Empty, or with a `/` at its end.
    prefix: String,
    account: String,
    host: String,
    sas: Option<Arc<SasSource>>,
    page_names: i32,
}

impl BlobStore {
    /// The blobs below `prefix` in a container of an account.
    pub(crate) fn new(
        account: &Account,
        container: &str,
        prefix: &str,
        patience: &Patience,
    ) -> Result<Self, StorageError> {
        let endpoint = &account.endpoint;
        let unusable = |why: String| {
            StorageError::new(
                StorageProblem::BadName,
                format!("{endpoint} can't be the address of a blob service: {why}"),
            )
        };
        let mut url = endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| unusable("it can't have a path".to_owned()))?
            .pop_if_empty()
            .push(container);
        let (mut sas, mut token, mut per_try): (_, _, Vec<Arc<dyn Policy>>) = (None, None, vec![]);
        match &account.credential {
            Credential::Sas(source) => {
                source.current()?;
                sas = Some(source.clone());
            }
            Credential::Key(key) => per_try.push(key.clone()),
            Credential::Token(credential) => token = Some(credential.clone()),
        }
        let wire = Wire::new(endpoint.scheme() == "http", is_loopback(endpoint), patience)?;
        let options = BlobContainerClientOptions {
            client_options: ClientOptions {
                per_call_policies: vec![Arc::new(Retry::new(patience.clone(), sas.clone()))],
                per_try_policies: per_try,
                retry: RetryOptions::none(),
                transport: Some(Transport::new(Arc::new(wire))),
                ..ClientOptions::default()
            },
            ..BlobContainerClientOptions::default()
        };
        let client = BlobContainerClient::new(url, token, Some(options))
            .map_err(|error| unusable(error.to_string()))?;
        let host = endpoint.host_str().unwrap_or_default();
        Ok(Self {
            client,
            container: container.to_owned(),
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            account: account.name.clone(),
            host: match endpoint.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            sas,
            page_names: PAGE_NAMES,
        })
    }

    fn blob(&self, name: &str) -> Result<BlobClient, StorageError> {
        let whole = format!("{}{name}", self.prefix);
        name::check(name, &whole, &self.address(name))?;
        Ok(self.client.blob_client(&whole))
    }

    fn block_blob(&self, name: &str) -> Result<BlockBlobClient, StorageError> {
        Ok(self.blob(name)?.block_blob_client())
    }

    fn asked(&self, doing: &'static str, need: Need, name: &str) -> Asked<'_> {
        Asked {
            doing,
            need,
            address: self.address(name),
            container: Cow::Borrowed(&self.container),
            account: Cow::Borrowed(&self.account),
            host: self.host.clone(),
            sas: self.sas.as_ref().map(|source| source.last()),
            tries: Tries::default(),
        }
    }
}

/// What goes along with a request for the sake of our own policies.
fn method_options(asked: &Asked<'_>) -> ClientMethodOptions<'static> {
    ClientMethodOptions {
        context: Context::new().with_value(asked.tries.clone()),
    }
}

#[async_trait]
impl Store for BlobStore {
    fn check_name(&self, name: &str) -> Result<(), &'static str> {
        petctl_output::names::check_blob_name(&format!("{}{name}", self.prefix))
    }

    fn address(&self, name: &str) -> String {
        format!("az://{}/{}{name}", self.container, self.prefix)
    }

    async fn list(&self, prefix: &str, mark: Option<&str>) -> Result<Page, StorageError> {
        let asked = self.asked("list", Need::List, prefix);
        let whole = format!("{}{prefix}", self.prefix);
        let mut options = BlobContainerClientListBlobsOptions {
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            marker: mark.map(str::to_owned),
            maxresults: Some(self.page_names),
            prefix: (!whole.is_empty()).then_some(whole),
            ..BlobContainerClientListBlobsOptions::default()
        };
        options.method_options.context = Context::new().with_value(asked.tries.clone());
        let failed = |error: azure_core::Error| refusal(&error, &asked);
        let mut pages = self
            .client
            .list_blobs(Some(options))
            .map_err(failed)?
            .into_pages();
        let Some(page) = pages.try_next().await.map_err(failed)? else {
            return Ok(Page::default());
        };
        check_listing(page.body(), &asked)?;
        let page = page.into_model().map_err(failed)?;
        let mut entries = Vec::with_capacity(page.blob_items.len());
        for item in page.blob_items {
            entries.extend(self.entry(item));
        }
        let mark = page.next_marker.filter(|mark| !mark.is_empty());
        Ok(Page::new(entries, mark))
    }

    async fn head(&self, name: &str) -> Result<Option<Properties>, StorageError> {
        let asked = self.asked("look at", Need::Read, name);
        let options = BlobClientGetPropertiesOptions {
            method_options: method_options(&asked),
            ..BlobClientGetPropertiesOptions::default()
        };
        match self.blob(name)?.get_properties(Some(options)).await {
            Ok(response) => properties(response.headers(), None, &asked).map(Some),
            Err(error) => match answer(&error) {
                Some(answer) if is_no_blob(&answer) => Ok(None),
                Some(_) | None => Err(refusal(&error, &asked)),
            },
        }
    }

    async fn get(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        etag: Option<&ETag>,
    ) -> Result<Body, StorageError> {
        let asked = self.asked("read", Need::Read, name);
        if range.as_ref().is_some_and(|range| range.start >= range.end) {
            return self.nothing(name, etag, &asked).await;
        }
        let options = BlobClientDownloadOptions {
            if_match: etag.map(|etag| Etag::from(etag.0.as_str())),
            method_options: method_options(&asked),
            parallel: NonZero::new(1),
            partition_size: NonZero::new(WHOLE_BYTES),
            range: range.clone().map(Into::into),
            ..BlobClientDownloadOptions::default()
        };
        let result = self.blob(name)?.download(Some(options)).await;
        let got = result.map_err(|error| refusal(&error, &asked))?;
        let span = content_range(&got.headers);
        let properties = properties(&got.headers, span, &asked)?;
        // Azurite answers such a range with success and nothing.
        if range
            .as_ref()
            .is_some_and(|range| range.start > 0 && range.start >= properties.size)
        {
            return Err(StorageError::new(
                StorageProblem::Changed,
                format!("can't read {}: it is shorter than it was", asked.address),
            ));
        }
        let wanted = match (range, span) {
            // A service that does not know of ranges would give other bytes than were asked for.
            (Some(range), None) if range.start > 0 || range.end < properties.size => {
                return Err(StorageError::new(
                    StorageProblem::Unexpected,
                    format!(
                        "can't read {}: the service gave the whole for a part",
                        asked.address
                    ),
                ));
            }
            (_, Some((start, end, _))) => end.saturating_sub(start),
            (_, None) => properties.size,
        };
        Ok(Body {
            properties,
            bytes: counted(got.body.boxed(), wanted, asked.owned()),
        })
    }

    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        self.upload(name, bytes, condition, None).await
    }

    async fn put_noted(
        &self,
        name: &str,
        bytes: Bytes,
        condition: &Condition,
        note: &str,
    ) -> Result<PutOutcome, StorageError> {
        self.upload(name, bytes, condition, Some(note)).await
    }

    async fn put_block(
        &self,
        name: &str,
        block: &BlockId,
        bytes: Bytes,
    ) -> Result<(), StorageError> {
        let asked = self.asked("write a block of", Need::Write, name);
        let md5: [u8; 16] = Md5::digest(&bytes).into();
        let options = BlockBlobClientStageBlockOptions {
            method_options: method_options(&asked),
            transactional_content_md5: Some(md5.to_vec()),
            ..BlockBlobClientStageBlockOptions::default()
        };
        let length = bytes.len() as u64;
        self.block_blob(name)?
            .stage_block(block.0.as_bytes(), length, bytes.into(), Some(options))
            .await
            .map_err(|error| refusal(&error, &asked))?;
        Ok(())
    }

    async fn blocks(&self, name: &str) -> Result<Vec<(BlockId, u64)>, StorageError> {
        let asked = self.asked("look at the blocks of", Need::Read, name);
        let options = BlockBlobClientGetBlockListOptions {
            method_options: method_options(&asked),
            ..BlockBlobClientGetBlockListOptions::default()
        };
        let client = self.block_blob(name)?;
        let result = client
            .get_block_list(BlockListType::Uncommitted, Some(options))
            .await;
        let list = match result {
            Ok(response) => response.into_model(),
            Err(error) => match answer(&error) {
                Some(answer) if is_no_blob(&answer) => return Ok(Vec::new()),
                Some(_) | None => Err(error),
            },
        }
        .map_err(|error| refusal(&error, &asked))?;
        let blocks = list.uncommitted_blocks.unwrap_or_default().into_iter();
        // Blocks of somebody else's making may have any name.
        Ok(blocks
            .filter_map(|block| {
                let id = String::from_utf8(block.name?).ok()?;
                Some((BlockId(id), u64::try_from(block.size?).ok()?))
            })
            .collect())
    }

    async fn put_blocks(
        &self,
        name: &str,
        blocks: &[BlockId],
        md5: [u8; 16],
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        let asked = self.asked("write", Need::Write, name);
        let (if_match, if_none_match) = conditions(condition);
        let options = BlockBlobClientCommitBlockListOptions {
            blob_content_md5: Some(md5.to_vec()),
            if_match,
            if_none_match,
            method_options: method_options(&asked),
            ..BlockBlobClientCommitBlockListOptions::default()
        };
        // `latest` finds a block also after it was made part of the whole: so a commit whose answer was lost may be
        // sent again.
        let list = BlockLookupList {
            latest: Some(
                blocks
                    .iter()
                    .map(|block| block.0.clone().into_bytes())
                    .collect(),
            ),
            ..BlockLookupList::default()
        };
        let list = list.try_into().map_err(|error| refusal(&error, &asked))?;
        let client = self.block_blob(name)?;
        match client.commit_block_list(list, Some(options)).await {
            Ok(response) => done_with(etag_of(response.headers()), &asked),
            Err(error) => lost_or(&error, condition, &asked),
        }
    }

    async fn delete(&self, name: &str, etag: Option<&ETag>) -> Result<bool, StorageError> {
        let asked = self.asked("delete", Need::Delete, name);
        let options = BlobClientDeleteOptions {
            if_match: etag.map(|etag| Etag::from(etag.0.as_str())),
            method_options: method_options(&asked),
            ..BlobClientDeleteOptions::default()
        };
        match self.blob(name)?.delete(Some(options)).await {
            Ok(_) => Ok(true),
            Err(error) => match answer(&error) {
                Some(answer) if is_no_blob(&answer) => Ok(false),
                Some(_) | None => Err(refusal(&error, &asked)),
            },
        }
    }

    async fn create(&self) -> Result<bool, StorageError> {
        let mut asked = self.asked("make the container", Need::Create, "");
        asked.address = format!("az://{}", self.container);
        let options = BlobContainerClientCreateOptions {
            method_options: method_options(&asked),
            ..BlobContainerClientCreateOptions::default()
        };
        match self.client.create(Some(options)).await {
            Ok(_) => Ok(true),
            Err(error) => match answer(&error) {
                Some(answer) if answer.code == "ContainerAlreadyExists" => Ok(false),
                Some(_) | None => Err(refusal(&error, &asked)),
            },
        }
    }

    fn require(&self, needs: &[Need]) -> Result<(), StorageError> {
        let Some(source) = &self.sas else {
            return Ok(());
        };
        let token = match source.current() {
            Ok(token) => token,
            Err(_) => source.last(),
        };
        token.check(needs).map_err(|mut error| {
            error.message = format!("can't use {}: {}", self.address(""), error.message);
            error
        })
    }
}

impl fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStore")
            .field("address", &self.address(""))
            .field("account", &self.account)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl BlobStore {
    /// The body of an empty range: nothing, if the blob is there in the wanted version.
    async fn nothing(
        &self,
        name: &str,
        etag: Option<&ETag>,
        asked: &Asked<'_>,
    ) -> Result<Body, StorageError> {
        let error = |problem, why: &str| {
            StorageError::new(problem, format!("can't read {}: {why}", asked.address))
        };
        let Some(properties) = self.head(name).await? else {
            return Err(error(StorageProblem::NotFound, "it is not there"));
        };
        if etag.is_some_and(|etag| *etag != properties.etag) {
            return Err(error(
                StorageProblem::Changed,
                "it was changed by somebody else in the meantime",
            ));
        }
        Ok(Body {
            properties,
            bytes: stream::empty().boxed(),
        })
    }
}

#[cfg(test)]
mod tests;
