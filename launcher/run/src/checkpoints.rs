//! The checkpoint that a training has ended with: where it is gone, the training is not done any more.

use crate::admission::Admission;
use petctl_core::StageOutputs;
use petctl_job::PreparedJob;
use petctl_proto::v1::{CheckpointRow, GroupStatus, JobStatus};
use std::path::Path;

impl Admission {
    /// Notes that nothing is there of trainings whose last checkpoint is gone. Only where that can be told: below an output
    /// folder that is this job's, and on the machine where all of it runs.
    pub(crate) fn miss_checkpoints(
        &self,
        job: &PreparedJob,
        known: &JobStatus,
        outputs: &mut [StageOutputs],
    ) {
        let root = job.spec.storage.output_root();
        let output = root.folder().filter(|_| self.output_marked);
        let can_see =
            |path: &Path| self.card.is_some() || output.is_some_and(|root| path.starts_with(root));
        for (group, _) in gone(known, can_see) {
            let mut stages = job.spec.stages.iter().zip(&mut *outputs);
            let of_group = stages.find(|(stage, _)| {
                stage.name == group.stage_name && stage.kind.training().is_some()
            });
            if let Some((_, outputs)) = of_group {
                outputs.unknown = false;
            }
        }
    }
}

/// Trainings of a job that have succeeded, and whose newest checkpoint is not there any more. `can_see`: whether this
/// machine would see it if it were there.
pub fn gone(
    status: &JobStatus,
    can_see: impl Fn(&Path) -> bool,
) -> impl Iterator<Item = (&GroupStatus, &CheckpointRow)> {
    let groups = status.groups.iter();
    let trained = groups.filter(|group| group.phase == "succeeded");
    trained.filter_map(move |group| {
        let newest = group.checkpoints.first()?;
        let path = Path::new(&newest.path);
        let is_gone = can_see(path) && matches!(path.try_exists(), Ok(false));
        is_gone.then_some((group, newest))
    })
}
