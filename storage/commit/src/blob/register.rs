//! A shard's register: one blob that holds its commit, or a claim, or is not there.

use bytes::Bytes;
use futures::TryStreamExt as _;
use petctl_output::layout::blob as layout;
use petctl_output::manifest::{Manifest, VERSION};
use petctl_storage::{Condition, ETag, PutOutcome, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use serde::{Deserialize, Serialize};

use super::Commit;

/// Largest register that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What a register says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Register {
    Empty,
    Claim(Claim),
    Commit(Box<Commit>),
}

/// A lease that is going to commit; those before it can't any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) by: u64,
    /// Made by a sweep: that lease's data is gone, it can't commit either.
    pub(super) swept: bool,
    pub(super) etag: ETag,
}

#[derive(Serialize, Deserialize)]
struct ClaimRecord {
    claimed_by: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    swept: bool,
}

#[derive(Serialize)]
struct WrittenCommit<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    data: &'a str,
}

#[derive(Deserialize)]
struct ReadCommit {
    #[serde(flatten)]
    manifest: Manifest,
    data: String,
}

/// Reads a register.
pub(super) async fn read(
    store: &SharedStore,
    stage: &str,
    key: &str,
) -> Result<Register, StorageError> {
    let name = layout::register(stage, key);
    let body = match store.get(&name, None, None).await {
        Ok(body) => body,
        Err(error) if error.problem == StorageProblem::NotFound && is_blob_missing(&error) => {
            return Ok(Register::Empty);
        }
        Err(error) => return Err(error),
    };
    if body.properties.size > MAX_BYTES {
        return Err(broken(store, &name, "it is larger than 64 MiB"));
    }
    let etag = body.properties.etag;
    let pieces: Vec<Bytes> = body.bytes.try_collect().await?;
    let text = pieces.concat();
    if let Ok(claim) = serde_json::from_slice::<ClaimRecord>(&text) {
        return Ok(Register::Claim(Claim {
            by: claim.claimed_by,
            swept: claim.swept,
            etag,
        }));
    }
    let read: ReadCommit =
        serde_json::from_slice(&text).map_err(|error| broken(store, &name, &error.to_string()))?;
    if read.manifest.version != VERSION {
        let why = format!(
            "it has version {}; this petctl reads version {VERSION}",
            read.manifest.version
        );
        return Err(broken(store, &name, &why));
    }
    if layout::lease_of(&read.data) != Some(read.manifest.lease_id) {
        return Err(broken(store, &name, "its data is not of its own attempt"));
    }
    Ok(Register::Commit(Box::new(Commit {
        data: format!("{}/{}/{}/", stage, key, read.data),
        manifest: read.manifest,
        etag,
    })))
}

/// A missing container is an error, a missing blob an empty register.
fn is_blob_missing(error: &StorageError) -> bool {
    error.service_code != "ContainerNotFound"
}

/// Writes a claim, if the condition holds.
pub(super) async fn claim(
    store: &SharedStore,
    stage: &str,
    key: &str,
    by: u64,
    swept: bool,
    condition: &Condition,
) -> Result<PutOutcome, StorageError> {
    let record = ClaimRecord {
        claimed_by: by,
        swept,
    };
    write(store, stage, key, &record, condition).await
}

/// Writes a commit, if the condition holds.
pub(super) async fn commit(
    store: &SharedStore,
    stage: &str,
    key: &str,
    manifest: &Manifest,
    data: &str,
    condition: &Condition,
) -> Result<PutOutcome, StorageError> {
    write(
        store,
        stage,
        key,
        &WrittenCommit { manifest, data },
        condition,
    )
    .await
}

async fn write(
    store: &SharedStore,
    stage: &str,
    key: &str,
    record: &impl Serialize,
    condition: &Condition,
) -> Result<PutOutcome, StorageError> {
    let name = layout::register(stage, key);
    let text = serde_json::to_vec_pretty(record)
        .map_err(|error| broken(store, &name, &error.to_string()))?;
    store.put(&name, text.into(), condition).await
}

fn broken(store: &SharedStore, name: &str, why: &str) -> StorageError {
    StorageError::new(
        StorageProblem::Unexpected,
        format!("{} is no manifest of petctl: {why}", store.address(name)),
    )
    .fix("if nobody needs it, delete it; the shard then runs again")
}
