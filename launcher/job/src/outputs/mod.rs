//! Committed outputs as they are found at a job's output, to be held against what is remembered of them: what is not
//! there is not done.

mod blobs;
mod folder;

use crate::PreparedJob;
use petctl_core::{FoundOutputs, StageOutputs};
use petctl_spec::StorageRoot;
use petctl_ui::error::Result;

/// Looks for the committed outputs of every shard of a job: one listing, no file is read. A training has none.
///
/// # Errors
/// Where the output can't be listed.
pub async fn look(job: &PreparedJob) -> Result<Vec<StageOutputs>> {
    let root = job.spec.storage.output_root();
    let mut outputs = Vec::with_capacity(job.spec.stages.len());
    for (index, stage) in job.spec.stages.iter().enumerate() {
        if stage.kind.training().is_some() {
            outputs.push(StageOutputs {
                unknown: true,
                found: Vec::new(),
            });
            continue;
        }
        let keys = job.keys(index);
        let mut found = of_stage(job, &root, &stage.name, &keys).await?;
        found.sort_unstable();
        outputs.push(StageOutputs {
            unknown: false,
            found,
        });
    }
    Ok(outputs)
}

async fn of_stage(
    job: &PreparedJob,
    root: &StorageRoot,
    stage: &str,
    keys: &[String],
) -> Result<Vec<FoundOutputs>> {
    match root.folder() {
        Some(folder) => folder::look(folder, stage, keys),
        None => blobs::look(&job.spec, root, stage, keys).await,
    }
}
