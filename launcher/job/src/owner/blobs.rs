//! The same for an output in a container.

use super::ShardName;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use petctl_commit::{BlobCommitter, get_record};
use petctl_output::layout::blob;
use petctl_output::manifest;
use petctl_output::owner::OwnerRecord;
use petctl_output::record;
use petctl_spec::{JobSpec, StorageRoot, StorageSpec};
use petctl_storage::{Condition, PutOutcome, SharedStore, StorageError, StorageProblem};
use petctl_transfer::Progress as _;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::Meter;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Requests at a time that remove blobs.
const PARALLEL: usize = 32;

/// The first prefix under which something is that would mix with a stage's outputs.
pub(super) async fn strange(spec: &JobSpec, root: &StorageRoot) -> Result<Option<String>> {
    let store = open(&spec.storage, root)?;
    for stage in &spec.stages {
        let prefix = format!("{}/", stage.name);
        let mut mark: Option<String> = None;
        loop {
            let page = match store.list(&prefix, mark.as_deref()).await {
                Ok(page) => page,
                Err(error) if error.problem == StorageProblem::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            if !page.entries.is_empty() {
                return Ok(Some(root.join(&stage.name).to_string()));
            }
            // A page may be empty and yet not the last one.
            mark = page.mark;
            if mark.is_none() {
                break;
            }
        }
    }
    Ok(None)
}

pub(super) async fn read(storage: &StorageSpec, root: &StorageRoot) -> Result<Option<OwnerRecord>> {
    let store = open(storage, root)?;
    let found = get_record(&store, blob::OWNER).await?;
    Ok(found.and_then(|(text, _)| record::from_bytes(&text)))
}

/// Of two jobs that want the same output at the same moment one is refused.
pub(super) async fn mark(spec: &JobSpec, root: &StorageRoot, record: &OwnerRecord) -> Result<()> {
    let store = open(&spec.storage, root)?;
    let there = async || {
        let found = get_record(&store, blob::OWNER).await?;
        Ok::<_, Error>(found.map(|(text, etag)| (record::from_bytes::<OwnerRecord>(&text), etag)))
    };
    let condition = match there().await? {
        Some((Some(there), _)) if there.job != record.job => {
            return Err(super::in_use(spec, &there));
        }
        // Written again although it is the same: whoever can't write is told so before anything runs.
        Some((_, etag)) => Condition::Match(etag),
        None => Condition::Absent,
    };
    let text = record::to_bytes(record)
        .map_err(|error| Error::new(Code::Bug, "can't write the marker as JSON").because(&error))?;
    let put = async || {
        store
            .put(blob::OWNER, text.clone().into(), &condition)
            .await
    };
    let outcome = match put().await {
        Err(error) if error.problem == StorageProblem::NotFound => {
            // The container is not there: it is made, as a folder would be.
            store.create().await?;
            put().await?
        }
        outcome => outcome?,
    };
    match outcome {
        PutOutcome::Done(_) => Ok(()),
        // A lost answer may hide that it was us.
        PutOutcome::Lost => match there().await? {
            Some((Some(there), _)) if there == *record => Ok(()),
            Some((Some(there), _)) if there.job != record.job => Err(super::in_use(spec, &there)),
            Some(_) | None => Err(Error::new(
                Code::OutputInUse,
                format!("another process marks the output {root} at this moment"),
            )
            .fix("run job `{}` from one place at a time".replace("{}", &spec.name))),
        },
    }
}

pub(super) async fn clear(
    spec: &JobSpec,
    root: &StorageRoot,
    stages: &[String],
    own: bool,
    meter: &Arc<Meter>,
) -> Result<()> {
    let store = open(&spec.storage, root)?;
    for stage in stages {
        // Registers first: nobody may see a shard of which some data is gone.
        let register = format!("/{}", manifest::FILE_NAME);
        let below = format!("{stage}/");
        let is_register = |name: &str| name.ends_with(&register);
        remove_below(&store, &below, &is_register, meter).await?;
        remove_below(&store, &below, &|_| true, meter).await?;
    }
    if own {
        // The record goes last: without it the output is nobody's, and what is left of it would stay for good.
        let is_other = |name: &str| name != blob::OWNER;
        remove_below(&store, blob::OWN_PREFIX, &is_other, meter).await?;
        return remove_below(&store, blob::OWNER, &|_| true, meter).await;
    }
    for stage in stages {
        let logs = format!("{}{stage}/", blob::LOGS_PREFIX);
        remove_below(&store, &logs, &|_| true, meter).await?;
    }
    Ok(())
}

pub(super) async fn put_aside(
    spec: &JobSpec,
    root: &StorageRoot,
    doomed: &[ShardName<'_>],
    lineage: u64,
) -> Result<u64> {
    if doomed.is_empty() {
        return Ok(0);
    }
    let committer = BlobCommitter::new(open(&spec.storage, root)?);
    let moves = doomed
        .iter()
        .map(|(stage, key)| committer.put_aside(stage, key, lineage));
    let moved: Vec<bool> = stream::iter(moves)
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    Ok(moved.into_iter().map(u64::from).sum())
}

/// How many blobs are below a prefix of the job's output, and their bytes; 0 where the container is gone.
pub async fn count_below(spec: &JobSpec, prefix: &str) -> Result<(u64, u64)> {
    let store = open(&spec.storage, &spec.storage.output_root())?;
    let (mut count, mut bytes) = (0, 0_u64);
    let mut mark: Option<String> = None;
    loop {
        let page = match store.list(prefix, mark.as_deref()).await {
            Ok(page) => page,
            Err(error) if error.problem == StorageProblem::NotFound => return Ok((0, 0)),
            Err(error) => return Err(error.into()),
        };
        for entry in page.entries {
            count += 1;
            bytes = bytes.saturating_add(entry.properties.size);
        }
        mark = page.mark;
        if mark.is_none() {
            return Ok((count, bytes));
        }
    }
}

async fn remove_below(
    store: &SharedStore,
    prefix: &str,
    doomed: &(dyn Fn(&str) -> bool + Sync),
    meter: &Arc<Meter>,
) -> Result<()> {
    let mut mark: Option<String> = None;
    loop {
        let page = match store.list(prefix, mark.as_deref()).await {
            Ok(page) => page,
            // The container itself is gone.
            Err(error) if error.problem == StorageProblem::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut removing: JoinSet<std::result::Result<bool, StorageError>> = JoinSet::new();
        for entry in page.entries.into_iter().filter(|entry| doomed(&entry.name)) {
            if removing.len() >= PARALLEL {
                ended(removing.join_next().await)?;
            }
            let (store, meter) = (store.clone(), Arc::clone(meter));
            removing.spawn(async move {
                let gone = store.delete(&entry.name, None).await?;
                meter.removed(u64::from(gone));
                Ok(gone)
            });
        }
        while !removing.is_empty() {
            ended(removing.join_next().await)?;
        }
        mark = page.mark;
        if mark.is_none() {
            return Ok(());
        }
    }
}

type Removed = std::result::Result<std::result::Result<bool, StorageError>, tokio::task::JoinError>;

fn ended(removed: Option<Removed>) -> Result<()> {
    match removed {
        None | Some(Ok(Ok(_))) => Ok(()),
        Some(Ok(Err(error))) => Err(error.into()),
        Some(Err(error)) => {
            Err(Error::new(Code::Bug, "a task that removes blobs ended").because(&error))
        }
    }
}

fn open(storage: &StorageSpec, root: &StorageRoot) -> Result<SharedStore> {
    Ok(petctl_storage::open(root, &storage.access)?)
}
