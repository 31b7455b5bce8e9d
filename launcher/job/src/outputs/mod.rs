//! Committed outputs as they are found at a job's output, to be held against what is remembered of them: what is not
//! there is not done.

mod blobs;
mod folder;

use crate::PreparedJob;
use petctl_core::{FoundOutputs, LeaseId, Lineage, Made, StageOutputs, Verdict};
use petctl_output::layout::{self, AttemptName};
use petctl_output::manifest::Manifest;
use petctl_output::note::Note;
use petctl_output::result::{ShardReport, ShardVerdict};
use petctl_spec::StorageRoot;
use petctl_text::unhex;
use petctl_ui::error::Result;

/// What is found at a job's output.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Of each stage, what is committed of its shards.
    pub outputs: Vec<StageOutputs>,
    /// Stages and keys of what is committed, and is no part of the job any more.
    pub left: Vec<(String, String)>,
}

/// What is found of one stage.
#[derive(Debug, Default)]
struct OfStage {
    found: Vec<FoundOutputs>,
    /// Keys that are none of its shards'.
    left: Vec<String>,
}

/// Looks for the committed outputs of every shard of a job: one listing, no file is read. A training has none.
///
/// # Errors
/// Where the output can't be listed.
pub async fn look(job: &PreparedJob) -> Result<Looked> {
    let root = job.spec.storage.output_root();
    let (mut outputs, mut all_left) = (Vec::with_capacity(job.spec.stages.len()), Vec::new());
    for (index, stage) in job.spec.stages.iter().enumerate() {
        if stage.kind.training().is_some() {
            outputs.push(StageOutputs {
                unknown: true,
                found: Vec::new(),
            });
            continue;
        }
        let keys = job.keys(index);
        let OfStage { mut found, left } = of_stage(job, &root, &stage.name, &keys).await?;
        all_left.extend(left.into_iter().map(|key| (stage.name.clone(), key)));
        found.sort_unstable_by_key(|found| (found.shard, found.files, found.bytes));
        outputs.push(StageOutputs {
            unknown: false,
            found,
        });
    }
    Ok(Looked {
        outputs,
        left: all_left,
    })
}

/// What the coordinator is told of outputs; `None` where the note names no lease.
fn made_by(note: &Note, report: Option<ShardReport>) -> Option<Made> {
    let lease = layout::blob::lease_of(&note.attempt)?;
    let is_told = report.is_some();
    let report = report.unwrap_or_default();
    Some(Made {
        lineage: Lineage(lease.lineage),
        lease: LeaseId(lease.lease_id),
        content: note.content.as_deref().and_then(unhex),
        worker: note.worker.clone(),
        duration_ms: note.ms,
        verdict: match report.verdict {
            _ if !is_told => Verdict::None,
            ShardVerdict::Pass => Verdict::Pass,
            ShardVerdict::Fail => Verdict::Fail,
            ShardVerdict::Skipped => Verdict::Skipped,
        },
        reasons: report.reasons,
        numbers: report.numbers.into_iter().collect(),
    })
}

/// How an attempt is spelled that a manifest names.
fn attempt_of(manifest: &Manifest) -> String {
    layout::blob::attempt(AttemptName {
        stage: &manifest.stage,
        key: &manifest.key,
        attempt: manifest.attempt,
        lineage: manifest.lineage,
        lease_id: manifest.lease_id,
    })
}

/// Nothing: a job whose output is a new one.
#[must_use]
pub fn none(job: &PreparedJob) -> Looked {
    let stages = job.spec.stages.iter();
    let none = stages.map(|stage| StageOutputs {
        unknown: stage.kind.training().is_some(),
        found: Vec::new(),
    });
    Looked {
        outputs: none.collect(),
        left: Vec::new(),
    }
}

async fn of_stage(
    job: &PreparedJob,
    root: &StorageRoot,
    stage: &str,
    keys: &[String],
) -> Result<OfStage> {
    match root.folder() {
        Some(folder) => folder::look(folder, stage, keys),
        None => blobs::look(&job.spec, root, stage, keys).await,
    }
}
