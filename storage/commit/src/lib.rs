//! The one commit protocol: outputs become visible by one step, or not at all, on folders and on blobs alike.
//!
//! An attempt **begins**: it may run, or an earlier one has committed and its outputs are adopted. One that may have a
//! living predecessor **fences**, so that the predecessor can't commit any more. It writes where no reader looks, and
//! **publishes** by one step of which the storage lets one of many win. What lost attempts leave behind is **swept**.
//!
//! - [`Committer`], for folders: the step is a rename; a fence takes the folders of earlier attempts away.
//! - [`BlobCommitter`], for containers: the step is a conditional write of the shard's register; a fence is a claim
//!   written there.
//!
//! **Whose outputs count.** Leases are ordered within one lineage, the event log that gave them out: a later one fences
//! an earlier one, never the other way round. Of another lineage nothing is known but what its outputs were made of: they
//! are adopted where that is the same, and else taken for outputs of before. **Outputs of before** give way when an
//! attempt begins and are kept aside until its own stand; they come back where the shard is again what it was then.

mod blob;
mod error;
mod folder;
#[cfg(test)]
mod interleavings;
pub mod report;
mod run_record;
mod steps;

use std::time::{Duration, SystemTime};

use petctl_output::layout::{AttemptName, NamedLease};
use petctl_output::manifest::{Manifest, ManifestFile, VERSION};
use petctl_output::result::ShardReport;
use petctl_output::timestamp::rfc3339;
use petctl_text::hex;

pub use self::blob::{
    Aside, BlobBegin, BlobCommitter, Commit, Published, SweepOptions, Swept, Ticket,
};
pub use self::error::{CommitError, Refused};
pub use self::folder::{Begin, Committer, MAX_FILES, Syncer, manifest_bytes, write_manifest};
pub use self::run_record::{RunPlace, RunRecordError, Whose, get_record};

/// What a shard is made of, as its coordinator digests it.
pub type ContentDigest = [u8; 16];

/// Who makes the outputs, and what of others' counts for them.
#[derive(Clone, Copy, Debug)]
pub struct Maker<'a> {
    /// Name of the job.
    pub job: &'a str,
    /// Name of the worker.
    pub worker: &'a str,
    /// What they are made of; `None`: nobody knows, and outputs of other lineages are never adopted.
    pub content: Option<ContentDigest>,
    /// Outputs that a lease of the same lineage below this one committed are of an earlier version of the shard. 0:
    /// there was none.
    pub replaces_below: u64,
    /// The shard was asked to run again: outputs of before are not adopted, whatever they were made of.
    pub fresh: bool,
}

/// What committed outputs are to an attempt at their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// As good as its own.
    Adopted,
    /// Of before: they give way.
    Earlier,
    /// Of a later attempt: this one gives up.
    Later,
    /// Of another job, or another shard.
    Foreign,
}

impl Maker<'_> {
    fn judge(&self, name: AttemptName<'_>, manifest: &Manifest) -> Standing {
        if !self.is_own(name, manifest) {
            return Standing::Foreign;
        }
        let content = self.is_same_content(manifest);
        // Of another log, or of an earlier version of the job: an attempt may just have brought those back.
        if manifest.lineage != name.lineage || manifest.lease_id < self.replaces_below {
            return match content && self.content.is_some() && !self.fresh {
                true => Standing::Adopted,
                false => Standing::Earlier,
            };
        }
        if content {
            Standing::Adopted
        } else if manifest.lease_id < name.lease_id {
            Standing::Earlier
        } else {
            Standing::Later
        }
    }

    /// The same of outputs that an attempt has adopted since: they count as its own would.
    fn judge_adopted(
        &self,
        name: AttemptName<'_>,
        manifest: &Manifest,
        adopted_by: Option<NamedLease>,
    ) -> Standing {
        let standing = self.judge(name, manifest);
        match adopted_by {
            Some(by) if standing == Standing::Earlier && by.lineage == name.lineage => {
                if by.lease_id >= self.replaces_below && self.may_restore(name, manifest) {
                    Standing::Adopted
                } else if by.lease_id > name.lease_id {
                    Standing::Later
                } else {
                    Standing::Earlier
                }
            }
            Some(_) | None => standing,
        }
    }

    /// Whether outputs that were put aside are what the shard is again.
    fn may_restore(&self, name: AttemptName<'_>, manifest: &Manifest) -> bool {
        self.content.is_some()
            && !self.fresh
            && self.is_own(name, manifest)
            && self.is_same_content(manifest)
    }

    fn is_own(&self, name: AttemptName<'_>, manifest: &Manifest) -> bool {
        manifest.job == self.job && manifest.stage == name.stage && manifest.key == name.key
    }

    fn is_same_content(&self, manifest: &Manifest) -> bool {
        self.content.map(|content| hex(&content)) == manifest.content
    }

    /// The manifest of an attempt's outputs that are files.
    fn manifest(
        &self,
        name: AttemptName<'_>,
        duration: Duration,
        files: Vec<ManifestFile>,
    ) -> Manifest {
        Manifest {
            version: VERSION,
            job: self.job.to_owned(),
            stage: name.stage.to_owned(),
            key: name.key.to_owned(),
            attempt: name.attempt,
            lineage: name.lineage,
            lease_id: name.lease_id,
            content: self.content.map(|content| hex(&content)),
            worker: self.worker.to_owned(),
            committed_at: rfc3339(SystemTime::now()),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            files,
            links: Vec::new(),
            empty_folders: Vec::new(),
        }
    }
}

/// Committed outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The lease whose outputs stand: the attempt's own, or another's.
    pub lease: NamedLease,
    /// SHA-256 of `manifest.json`.
    pub manifest_sha256: [u8; 32],
    /// Number of files, the manifest not counted.
    pub files: u32,
    /// Their size together.
    pub bytes: u64,
    /// Wall time of the command that made them.
    pub duration_ms: u64,
    /// What `result.json` says, where there is one.
    pub report: Option<ShardReport>,
}

impl Committed {
    /// Outputs as their manifest names them.
    #[must_use]
    pub fn new(manifest: &Manifest, sha256: [u8; 32], report: Option<ShardReport>) -> Self {
        Self {
            lease: manifest.lease(),
            manifest_sha256: sha256,
            files: u32::try_from(manifest.files.len()).unwrap_or(u32::MAX),
            bytes: manifest.total_bytes(),
            duration_ms: manifest.duration_ms,
            report,
        }
    }
}
