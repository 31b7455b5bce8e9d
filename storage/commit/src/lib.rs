//! The one commit protocol: outputs become visible by one step, or not at all, on folders and on blobs alike.
//!
//! An attempt **begins**: it may run, or an earlier one has committed and its outputs are adopted. One that may have a
//! living predecessor **fences**, so that the predecessor can't commit any more. It writes where no reader looks, and
//! **publishes** by one step of which the storage lets one of many win. What lost attempts leave behind is **swept**.
//!
//! - [`Committer`], for folders: the step is a rename; a fence takes the folders of earlier attempts away.
//! - [`BlobCommitter`], for containers: the step is a conditional write of the shard's register; a fence is a claim
//!   written there.

mod blob;
mod error;
mod folder;
pub mod report;

use petctl_output::manifest::Manifest;
use petctl_output::result::ShardReport;

pub use self::blob::{BlobBegin, BlobCommitter, Commit, Published, SweepOptions, Swept, Ticket};
pub use self::error::{CommitError, Refused};
pub use self::folder::{Begin, Committer, MAX_FILES, Syncer, manifest_bytes, write_manifest};

/// Who makes the outputs, for the manifest.
#[derive(Clone, Copy, Debug)]
pub struct Maker<'a> {
    /// Name of the job.
    pub job: &'a str,
    /// Name of the worker.
    pub worker: &'a str,
    /// Outputs that a lease below this one committed are of an earlier version of the shard: they are replaced, never
    /// adopted. 0: there was none.
    pub replaces_below: u64,
}

/// Committed outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The lease whose outputs stand: the attempt's own, or that of an earlier one.
    pub lease_id: u64,
    /// SHA-256 of `manifest.json`.
    pub manifest_sha256: [u8; 32],
    /// Number of files, the manifest not counted.
    pub files: u32,
    /// Their size together.
    pub bytes: u64,
    /// What `result.json` says, where there is one.
    pub report: Option<ShardReport>,
}

impl Committed {
    /// Outputs as their manifest names them.
    #[must_use]
    pub fn new(manifest: &Manifest, sha256: [u8; 32], report: Option<ShardReport>) -> Self {
        Self {
            lease_id: manifest.lease_id,
            manifest_sha256: sha256,
            files: u32::try_from(manifest.files.len()).unwrap_or(u32::MAX),
            bytes: manifest.total_bytes(),
            report,
        }
    }
}
