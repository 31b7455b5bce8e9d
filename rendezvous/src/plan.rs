//! What a coordinator would answer to a submission, without one: the dry run.

use crate::wire::submit_response;
use petctl_core::{
    ClientRequest, Core, Effect, Input, Millis, Refusal, Reply, RequestId, Submission,
};
use petctl_proto::v1::SubmitJobResponse;

/// What a coordinator with this state would make of a submission. Changes nothing.
///
/// # Errors
/// Why it would refuse.
pub fn plan(
    core: &Core,
    submission: Submission,
    now: Millis,
) -> Result<SubmitJobResponse, Refusal> {
    // A copy decides; whatever it makes of that is forgotten.
    let mut core = core.clone();
    let submission = Submission {
        plan_only: true,
        ..submission
    };
    let request = ClientRequest::Submit(Box::new(submission));
    core.handle(now, Input::Request(RequestId(0), request));
    let answer = core.drain().into_iter().find_map(|effect| {
        let Effect::Reply(_, answer) = effect else {
            return None;
        };
        Some(answer)
    });
    match answer {
        Some(Err(refusal)) => Err(refusal),
        Some(Ok(Reply::Submitted(submitted))) => Ok(submit_response(submitted)),
        // To a submission it answers nothing else.
        Some(Ok(_)) | None => Ok(SubmitJobResponse::default()),
    }
}
