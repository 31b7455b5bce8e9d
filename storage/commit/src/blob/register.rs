//! A shard's register: one blob that holds its commit, or a claim, or is not there.

use bytes::Bytes;
use futures::TryStreamExt as _;
use petctl_output::layout::NamedLease;
use petctl_output::layout::blob as layout;
use petctl_output::manifest::{Manifest, ManifestError};
use petctl_output::note::Note;
use petctl_output::result::ShardReport;
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

/// A lease that is going to commit; those before it can't any more, nor can those of other lineages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) by: NamedLease,
    /// Made by a sweep: that lease's data is gone, it can't commit either.
    pub(super) swept: bool,
    /// Outputs of before, put aside until others stand.
    pub(super) earlier: Option<Box<Commit>>,
    pub(super) etag: ETag,
}

impl Claim {
    /// Whether it names this lease's outputs as those of before.
    pub(super) fn holds(&self, lease: NamedLease) -> bool {
        let earlier = self.earlier.as_ref();
        earlier.is_some_and(|earlier| earlier.manifest.lease() == lease)
    }
}

/// What a claim says.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewClaim<'a> {
    pub(super) by: NamedLease,
    pub(super) swept: bool,
    pub(super) earlier: Option<&'a Commit>,
}

/// What a commit says.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewCommit<'a> {
    pub(super) manifest: &'a Manifest,
    /// For the note.
    pub(super) report: Option<&'a ShardReport>,
    /// The attempt's own part of where its data is.
    pub(super) data: &'a str,
    pub(super) adopted_by: Option<NamedLease>,
}

#[derive(Deserialize)]
struct ReadClaim {
    /// `<lineage>-<lease>`, as in names of attempts.
    claimed_by: String,
    #[serde(default)]
    swept: bool,
    #[serde(default)]
    earlier: Option<ReadCommit>,
}

#[derive(Serialize)]
struct WrittenClaim<'a> {
    claimed_by: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    swept: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    earlier: Option<WrittenCommit<'a>>,
}

#[derive(Serialize)]
struct WrittenCommit<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    adopted_by: Option<String>,
}

#[derive(Deserialize)]
struct ReadCommit {
    #[serde(flatten)]
    manifest: Manifest,
    data: String,
    #[serde(default)]
    adopted_by: Option<String>,
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
    let of_shard = Place { store, stage, key };
    if let Ok(claim) = serde_json::from_slice::<ReadClaim>(&text) {
        let by = NamedLease::parse(&claim.claimed_by)
            .ok_or_else(|| broken(store, &name, "its claim names no lease"))?;
        let earlier = claim.earlier.map(|earlier| of_shard.commit(earlier, &etag));
        return Ok(Register::Claim(Claim {
            by,
            swept: claim.swept,
            earlier: earlier.transpose()?.map(Box::new),
            etag,
        }));
    }
    let version = Manifest::from_bytes(&text);
    if let Err(error @ ManifestError::Version(_)) = version {
        return Err(broken(store, &name, &error.to_string()));
    }
    let read: ReadCommit =
        serde_json::from_slice(&text).map_err(|error| broken(store, &name, &error.to_string()))?;
    Ok(Register::Commit(Box::new(of_shard.commit(read, &etag)?)))
}

/// The shard of a register.
#[derive(Clone, Copy)]
struct Place<'a> {
    store: &'a SharedStore,
    stage: &'a str,
    key: &'a str,
}

impl Place<'_> {
    fn commit(self, read: ReadCommit, etag: &ETag) -> Result<Commit, StorageError> {
        let Self { store, stage, key } = self;
        if layout::lease_of(&read.data) != Some(read.manifest.lease()) {
            let name = layout::register(stage, key);
            return Err(broken(store, &name, "its data is not of its own attempt"));
        }
        Ok(Commit {
            data: format!("{}/{}/{}/", stage, key, read.data),
            adopted_by: read.adopted_by.as_deref().and_then(NamedLease::parse),
            manifest: read.manifest,
            etag: etag.clone(),
        })
    }
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
    claim: NewClaim<'_>,
    condition: &Condition,
) -> Result<PutOutcome, StorageError> {
    let record = WrittenClaim {
        claimed_by: claim.by.to_string(),
        swept: claim.swept,
        earlier: claim.earlier.map(|earlier| WrittenCommit {
            manifest: &earlier.manifest,
            data: attempt_of(&earlier.data),
            adopted_by: None,
        }),
    };
    let name = layout::register(stage, key);
    let text = json(store, &name, &record)?;
    store.put(&name, text, condition).await
}

/// Writes a commit, if the condition holds.
pub(super) async fn commit(
    store: &SharedStore,
    stage: &str,
    key: &str,
    commit: NewCommit<'_>,
    condition: &Condition,
) -> Result<PutOutcome, StorageError> {
    let NewCommit {
        manifest,
        report,
        data,
        adopted_by,
    } = commit;
    let record = WrittenCommit {
        manifest,
        data,
        adopted_by: adopted_by.map(|by| by.to_string()),
    };
    let note = Note::new(manifest, data, report).to_text();
    let name = layout::register(stage, key);
    let text = json(store, &name, &record)?;
    store.put_noted(&name, text, condition, &note).await
}

/// The attempt's own part of where its data is.
pub(super) fn attempt_of(data: &str) -> &str {
    let data = data.trim_end_matches('/');
    data.rsplit_once('/').map_or(data, |(_, attempt)| attempt)
}

fn json(store: &SharedStore, name: &str, record: &impl Serialize) -> Result<Bytes, StorageError> {
    match serde_json::to_vec_pretty(record) {
        Ok(text) => Ok(text.into()),
        Err(error) => Err(broken(store, name, &error.to_string())),
    }
}

fn broken(store: &SharedStore, name: &str, why: &str) -> StorageError {
    StorageError::new(
        StorageProblem::Unexpected,
        format!("{} is no manifest of petctl: {why}", store.address(name)),
    )
    .fix("if nobody needs it, delete it; the shard then runs again")
}
