//! What became of a submission, as it is sent.

use petctl_core::{Submitted, SubmittedAs};
use petctl_proto::v1;

/// The answer to a submission.
#[must_use]
pub fn submit_response(submitted: Submitted) -> v1::SubmitJobResponse {
    let how = match submitted.how {
        SubmittedAs::New => v1::Submission::New,
        SubmittedAs::Resumed => v1::Submission::Resumed,
        SubmittedAs::Retried => v1::Submission::Retried,
        SubmittedAs::Finished => v1::Submission::Finished,
    };
    v1::SubmitJobResponse {
        job_id: submitted.job.0,
        submission: how.into(),
        reused: submitted.reused,
        look_again: submitted.look_again,
        reruns: submitted
            .reruns
            .into_iter()
            .map(|rerun| v1::RerunReason {
                stage: rerun.stage,
                reason: rerun.cause.as_str().to_owned(),
                shards: rerun.shards,
                keys: rerun.keys,
            })
            .collect(),
        dropped: submitted
            .dropped
            .into_iter()
            .map(|(stage, key)| v1::DroppedShard { stage, key })
            .collect(),
    }
}
