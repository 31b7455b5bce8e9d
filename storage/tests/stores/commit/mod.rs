//! The commit, on folders and on blobs.

mod blob;
mod folder;
mod shape;

use petctl_output::run::RunRecord;

pub(crate) use blob::{MAKER, attempt, manifest};

/// The record of a run of another lineage that has the output.
pub(crate) fn run_of(lineage: u64) -> RunRecord {
    RunRecord {
        job: "test".to_owned(),
        keeper: "elsewhere:/home".to_owned(),
        lineage: format!("{lineage:016x}"),
        who: "somebody@elsewhere".to_owned(),
        since_ms: 1,
        renewed_ms: 1,
        left: false,
    }
}
