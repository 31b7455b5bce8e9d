//! What a shard's outputs are made of, as one digest: what decides whether outputs that somebody else committed may be
//! taken for the shard's own.
//!
//! It is SHA-256, cut to 16 bytes, over the digests of the stage (command, code, image) and of the shard (parameters,
//! inputs), and over the commits of the shards that it needs. A commit is told by its lineage and lease, which no other
//! has; so outputs whose needs were made anew are made of something else.

use crate::context::JobContext;
use crate::state::job::Phase;
use crate::{Job, LeaseId, Lineage, Shard, ShardId};
use petctl_spec::{ContentDigest, ShardContent, StageContent};
use sha2::{Digest, Sha256};

/// What is known of the commits that a shard needs: one digest for each need, in the job file's order. `None`: it can't
/// be said.
pub(crate) type Needed = Option<Vec<ContentDigest>>;

/// The digest of a shard; `None` where nobody knows what it is made of.
pub(crate) fn content(
    stage: &StageContent,
    shard: ShardContent,
    needed: &Needed,
) -> Option<ContentDigest> {
    let needed = needed.as_ref()?;
    if stage.command == ContentDigest::default() {
        return None;
    }
    let mut hash = Sha256::new();
    for part in [
        &stage.command,
        &stage.code,
        &stage.image,
        &shard.params,
        &shard.input,
    ] {
        hash.update(part);
    }
    needed.iter().for_each(|need| hash.update(need));
    Some(half(hash))
}

/// Instead of a commit, of a shard that was skipped with what it needs: whoever skipped it, it has none.
pub(crate) const NO_COMMIT: ContentDigest = [0; 16];

/// The digest of one commit.
pub(crate) fn of_commit(lineage: Lineage, lease: LeaseId) -> ContentDigest {
    let mut digest = ContentDigest::default();
    digest[..8].copy_from_slice(&lineage.0.to_be_bytes());
    digest[8..].copy_from_slice(&lease.0.to_be_bytes());
    digest
}

/// The digest of a stage's commits, in the order of its shards: keys and commits.
#[derive(Default)]
pub(crate) struct StageCommits(Sha256);

impl StageCommits {
    pub(crate) fn add(&mut self, key: &str, commit: ContentDigest) {
        self.0.update((key.len() as u64).to_be_bytes());
        self.0.update(key.as_bytes());
        self.0.update(commit);
    }

    pub(crate) fn digest(self) -> ContentDigest {
        half(self.0)
    }
}

fn half(hash: Sha256) -> ContentDigest {
    let sha = hash.finalize();
    let mut half = ContentDigest::default();
    half.copy_from_slice(&sha[..16]);
    half
}

impl Shard {
    /// Where the lease of its commit is from. `own`: the log that remembers it.
    pub(crate) fn lineage(&self, own: Lineage) -> Lineage {
        match self.foreign {
            Lineage(0) => own,
            foreign => foreign,
        }
    }

    /// The commit of a shard that is done, or what stands for that of one that was skipped.
    pub(crate) fn commit(&self, own: Lineage) -> ContentDigest {
        if self.phase == Phase::Skipped {
            return NO_COMMIT;
        }
        of_commit(self.lineage(own), self.lease)
    }
}

impl JobContext<'_> {
    /// What a shard whose needs are met is made of.
    pub(crate) fn content(&mut self, shard: ShardId) -> Option<ContentDigest> {
        let needed = self.needed(shard);
        let stage = &self.job.stages[shard.stage as usize];
        let own = stage.contents.of(shard.index as usize);
        content(&stage.contents.stage, own, &needed)
    }

    fn needed(&mut self, shard: ShardId) -> Needed {
        let (job, own) = (&*self.job, &mut *self.own);
        let needs = &job.spec.stages[shard.stage as usize].needs;
        let digests = needs.iter().map(|need| {
            let stage = &job.stages[need.stage as usize];
            // Checkpoints have no manifest that would say of what they are made.
            if job.spec.stages[need.stage as usize]
                .kind
                .training()
                .is_some()
            {
                return None;
            }
            if !need.per_shard {
                let commits = &mut own.commits;
                let commits = commits.entry((need.stage, stage.counts.done));
                return Some(*commits.or_insert_with(|| of_stage(job, need.stage, self.lineage)));
            }
            let needed = stage.shards.get(shard.index as usize)?;
            Some(needed.commit(self.lineage))
        });
        digests.collect()
    }
}

/// Of what is done of a stage.
fn of_stage(job: &Job, stage: u32, own: Lineage) -> ContentDigest {
    let mut commits = StageCommits::default();
    let shards = job.stages[stage as usize].shards.iter().enumerate();
    for (index, shard) in shards.filter(|(_, shard)| shard.phase == Phase::Done) {
        commits.add(&job.key(stage as usize, index), shard.commit(own));
    }
    commits.digest()
}
