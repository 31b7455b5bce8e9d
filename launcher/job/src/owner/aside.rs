//! What was put aside at a job's output, and how it goes for good.

use super::unwritable;
use crate::removal::remove_all;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use petctl_commit::{Aside, BlobCommitter};
use petctl_output::layout::Layout;
use petctl_output::manifest::Manifest;
use petctl_spec::StorageSpec;
use petctl_storage::StorageProblem;
use petctl_transfer::Progress as _;
use petctl_ui::error::Result;
use petctl_ui::terminal::Meter;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Shards that are removed at a time.
const PARALLEL: usize = 32;

/// Outputs of shards that wait aside: of such that run again, or are no part of the job any more.
#[derive(Debug)]
pub struct PutAside {
    /// Shards.
    pub shards: u64,
    /// Bytes of their files.
    pub bytes: u64,
    there: There,
}

#[derive(Debug)]
enum There {
    Folders(Vec<PathBuf>),
    Blobs(BlobCommitter, Vec<Aside>),
}

impl PutAside {
    /// What waits aside at the output of a job.
    ///
    /// # Errors
    /// Where the output can't be listed.
    pub async fn of(storage: &StorageSpec) -> Result<Self> {
        let root = storage.output_root();
        if let Some(folder) = root.folder() {
            return in_folder(&Layout::new(folder));
        }
        let store = petctl_storage::open(&root, &storage.access)?;
        let committer = BlobCommitter::new(store);
        let aside = match committer.aside().await {
            Err(error) if error.problem == StorageProblem::NotFound => Vec::new(),
            aside => aside?,
        };
        let bytes = aside
            .iter()
            .map(|aside| aside.commit.manifest.total_bytes());
        Ok(Self {
            shards: aside.len() as u64,
            bytes: bytes.sum(),
            there: There::Blobs(committer, aside),
        })
    }

    /// Removes it for good; how many shards' outputs went. The meter is told of their files. Only for when nothing of the
    /// job runs.
    ///
    /// # Errors
    /// Where something can't be removed; it can be called again.
    pub async fn remove(self, meter: &Arc<Meter>) -> Result<u64> {
        match self.there {
            There::Folders(folders) => remove_all(folders, meter)
                .await
                .map_err(|failed| unwritable(&failed.path.display(), "delete", &failed.error)),
            There::Blobs(committer, aside) => {
                let removals = aside.iter().map(|aside| async {
                    let removed = committer.prune(aside).await;
                    // With its register.
                    meter.removed(aside.commit.manifest.files.len() as u64 + 1);
                    removed
                });
                let removals: Vec<_> = removals.collect();
                let removed: Vec<bool> = stream::iter(removals)
                    .buffer_unordered(PARALLEL)
                    .try_collect()
                    .await?;
                Ok(removed.into_iter().map(u64::from).sum())
            }
        }
    }
}

fn in_folder(layout: &Layout) -> Result<PutAside> {
    let list = |folder: &Path| match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<PathBuf>>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let failed = |folder: &Path, error: &io::Error| unwritable(&folder.display(), "list", error);
    let all = layout.all_earlier();
    let (mut folders, mut bytes) = (Vec::new(), 0);
    for stage in list(&all).map_err(|error| failed(&all, &error))? {
        for shard in list(&stage).map_err(|error| failed(&stage, &error))? {
            bytes += Manifest::read(&shard).map_or(0, |read| read.manifest.total_bytes());
            folders.push(shard);
        }
    }
    folders.sort();
    Ok(PutAside {
        shards: folders.len() as u64,
        bytes,
        there: There::Folders(folders),
    })
}
