//! Stages that run beside the launcher instead of on the job's workers.

use petctl_proto::v1::JobStatus;
use petctl_spec::{JobSpec, RunMode, StageSpec};

/// Whether a stage runs in the launcher's own process tree.
pub(crate) fn is_local(stage: &StageSpec) -> bool {
    stage.dispatch.run_mode == RunMode::Local
}

/// Whether such a stage has something left to do.
pub(crate) fn has_local_work(spec: &JobSpec, status: &JobStatus) -> bool {
    spec.stages
        .iter()
        .zip(&status.stages)
        .any(|(stage, status)| {
            is_local(stage) && status.done + status.failed + status.cancelled < status.shards
        })
}
