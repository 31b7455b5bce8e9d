//! The output is this run's alone while it lives.

use petctl_job::Context;
use petctl_job::owner::Hold;
use petctl_output::run::RENEWED_EVERY_MS;
use petctl_spec::JobSpec;
use petctl_ui::error::{Code, Result};
use std::time::Duration;

/// Does `work` while the job's output is held for the run whose state `keeper` keeps. `gives_back` says of what came of
/// it whether nothing works on the output any more.
///
/// # Errors
/// [`Code::OutputBusy`] where another run works on the output, or has taken it over; those of `work`.
pub(crate) async fn while_held<T>(
    context: &Context,
    spec: &JobSpec,
    keeper: &str,
    gives_back: impl Fn(&T) -> bool,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut hold = Hold::take(spec, keeper, &|text| context.out.say(text)).await?;
    let renewing = async {
        loop {
            tokio::time::sleep(Duration::from_millis(RENEWED_EVERY_MS)).await;
            match hold.renew().await {
                Ok(()) => {}
                Err(error) if error.is(Code::OutputBusy) => return error,
                // The storage may be away for a while; attempts say so too.
                Err(error) => tracing::warn!(%error, "can't renew the record of this run"),
            }
        }
    };
    let ended = tokio::select! {
        ended = work => ended,
        lost = renewing => return Err(lost),
    };
    if ended.as_ref().map_or(true, gives_back) {
        hold.release().await;
    }
    ended
}
