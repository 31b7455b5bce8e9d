//! What a job's state says about what is still to come.

use crate::v1::{JobState, JobStatus, JobSummary};

impl JobState {
    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn has_ended(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
            Self::Unspecified
            | Self::Waiting
            | Self::Running
            | Self::Cancelling
            | Self::Suspended
            | Self::Interrupted => false,
        }
    }
}

impl JobSummary {
    /// Whether nothing more will happen to the job by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state().has_ended()
    }
}

impl JobStatus {
    /// Whether nothing more will happen to the job by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.summary.as_ref().is_some_and(JobSummary::has_ended)
    }
}
