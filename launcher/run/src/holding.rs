//! The output is this run's alone while it lives.

use petctl_job::Context;
use petctl_job::owner::Hold;
use petctl_output::run::RENEWED_EVERY_MS;
use petctl_spec::JobSpec;
use petctl_ui::error::{Code, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The record of this run at its output.
#[derive(Clone, Debug)]
pub(crate) struct Holding(Arc<Mutex<Hold>>);

impl Holding {
    /// Says at the output where the run's leases are from, so that its workers can renew the record when this process has
    /// left.
    ///
    /// # Errors
    /// [`Code::OutputBusy`] where another run has taken the output over; those of writing.
    pub(crate) async fn name(&self, lineage: u64) -> Result<()> {
        let mut hold = self.0.lock().await;
        hold.name(lineage);
        hold.renew().await
    }

    async fn renew(&self) -> Result<()> {
        self.0.lock().await.renew().await
    }

    /// Gives the output back.
    pub(crate) async fn release(self) {
        let hold = self.0.lock().await.clone();
        hold.release().await;
    }
}

/// Who keeps what a run knows, and how a record of it is told.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    /// The job's state folder on a host, or a coordinator.
    pub(crate) name: String,
    /// Where the run's leases are from; 0: nobody knows yet.
    pub(crate) lineage: u64,
}

/// Does `work` while the job's output is held for the run of `keeper`. `gives_back` says of what came of it whether
/// nothing works on the output any more.
///
/// # Errors
/// [`Code::OutputBusy`] where another run works on the output, or has taken it over; those of `work`.
pub(crate) async fn while_held<T, W: Future<Output = Result<T>>>(
    context: &Context,
    spec: &JobSpec,
    keeper: Keeper,
    gives_back: impl Fn(&T) -> bool,
    work: impl FnOnce(Holding) -> W,
) -> Result<T> {
    let say = |text: &str| context.out.say(text);
    let hold = Hold::take(
        (&spec.name, &spec.storage),
        &keeper.name,
        keeper.lineage,
        &say,
    )
    .await?;
    let holding = Holding(Arc::new(Mutex::new(hold)));
    let renewing = async {
        loop {
            tokio::time::sleep(Duration::from_millis(RENEWED_EVERY_MS)).await;
            match holding.renew().await {
                Ok(()) => {}
                Err(error) if error.is(Code::OutputBusy) => return error,
                // The storage may be away for a while; attempts say so too.
                Err(error) => tracing::warn!(%error, "can't renew the record of this run"),
            }
        }
    };
    let ended = tokio::select! {
        ended = work(holding.clone()) => ended,
        lost = renewing => return Err(lost),
    };
    if ended.as_ref().map_or(true, gives_back) {
        holding.release().await;
    } else {
        let hold = holding.0.lock().await.clone();
        if let Err(error) = hold.leave().await {
            tracing::warn!(%error, "can't leave the record of this run to its workers");
        }
    }
    ended
}
