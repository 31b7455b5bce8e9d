//! Outputs that were put aside: those of shards that run again, and of shards that are no part of the job any more.

use super::register::{self, NewClaim, Register};
use super::{BlobCommitter, Commit, MAX_ROUNDS, PARALLEL};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use petctl_output::layout::blob::{self as layout, Found};
use petctl_output::layout::{AttemptName, NamedLease};
use petctl_storage::{Condition, ETag, PutOutcome, StorageError, StorageProblem};

/// Outputs of one shard that wait aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    stage: String,
    key: String,
    /// What was committed.
    pub commit: Commit,
    claim: ETag,
}

impl BlobCommitter {
    /// Puts the commit of a shard aside, as an attempt does that begins; whether there was one. `lineage` is of those who
    /// may commit there from now on.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn put_aside(
        &self,
        stage: &str,
        key: &str,
        lineage: u64,
    ) -> Result<bool, StorageError> {
        // Before any lease.
        let lease_id = 0;
        for _ in 0..MAX_ROUNDS {
            let Register::Commit(commit) = register::read(self.store(), stage, key).await? else {
                return Ok(false);
            };
            let claim = NewClaim {
                by: NamedLease { lineage, lease_id },
                swept: false,
                earlier: Some(&commit),
            };
            let condition = Condition::Match(commit.etag.clone());
            let claimed = register::claim(self.store(), stage, key, claim, &condition).await?;
            if matches!(claimed, PutOutcome::Done(_)) {
                return Ok(true);
            }
        }
        Err(self.restless(AttemptName {
            stage,
            key,
            attempt: 0,
            lineage,
            lease_id,
        }))
    }

    /// All outputs that wait aside.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn aside(&self) -> Result<Vec<Aside>, StorageError> {
        let mut places = Vec::new();
        let mut mark = None;
        loop {
            let page = self.store().list("", mark.as_deref()).await?;
            for entry in &page.entries {
                // A commit has a note, a claim has none.
                if let Some(Found::Register { stage, key }) = layout::find(&entry.name)
                    && entry.note.is_none()
                {
                    places.push((stage.to_owned(), key.to_owned()));
                }
            }
            mark = page.mark;
            if mark.is_none() {
                break;
            }
        }
        let reads = places.into_iter().map(|(stage, key)| async move {
            let Register::Claim(claim) = register::read(self.store(), &stage, &key).await? else {
                return Ok(None);
            };
            Ok::<_, StorageError>(claim.earlier.map(|commit| Aside {
                stage,
                key,
                commit: *commit,
                claim: claim.etag,
            }))
        });
        let reads: Vec<_> = reads.collect();
        let found: Vec<Option<Aside>> =
            stream::iter(reads).buffered(PARALLEL).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Removes outputs that waited aside for good; false where they came back meanwhile. Only for when nothing of the job
    /// runs.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn prune(&self, aside: &Aside) -> Result<bool, StorageError> {
        let register = layout::register(&aside.stage, &aside.key);
        match self.store().delete(&register, Some(&aside.claim)).await {
            Ok(_) => {}
            Err(error) if error.problem == StorageProblem::Changed => return Ok(false),
            Err(error) => return Err(error),
        }
        self.remove(&aside.commit.data).await?;
        Ok(true)
    }
}
