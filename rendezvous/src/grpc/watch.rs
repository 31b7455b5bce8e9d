//! WatchJob: the status when it changes.

use super::bounds::{WAITING_PAGES, WATCH_PAUSE, WATCH_REFRESH};
use super::jobs::{Parts, resolve, status};
use super::server::Server;
use super::status::refused;
use super::status_of;
use crate::driver::Mark;
use petctl_codes::Code;
use petctl_core::JobId;
use petctl_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The status now, then when it changes, and at least once a second while the job goes on; the last one is that of
/// the ended job.
pub(super) async fn watch(
    server: &Server,
    request: v1::WatchJobRequest,
) -> Result<Parts<v1::WatchJobResponse>, Status> {
    let job = resolve(server, request.job).await?;
    let (parts, receiver) = mpsc::channel(WAITING_PAGES);
    let watching = Watching {
        server: server.clone(),
        job,
        marks: server.client.watches().watch(job),
    };
    server.tasks.spawn(async move {
        let ended = tokio::select! {
            ended = watching.run(&parts) => ended,
            () = parts.closed() => return,
        };
        if let Err(status) = ended {
            // Whoever watched may have gone.
            let _gone = parts.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(receiver))
}

struct Watching {
    server: Server,
    job: JobId,
    marks: watch::Receiver<Mark>,
}

impl Watching {
    async fn run(
        mut self,
        parts: &mpsc::Sender<Result<v1::WatchJobResponse, Status>>,
    ) -> Result<(), Status> {
        let stopping = self.server.stopping.clone();
        loop {
            let seen = *self.marks.borrow_and_update();
            let job = self.job;
            let status = self
                .server
                .client
                .query(move |view| status(view, job))
                .await?;
            let status = status.map_err(|refusal| status_of(&refusal))?;
            let ended = has_ended(&status);
            if parts
                .send(Ok(v1::WatchJobResponse {
                    status: Some(status),
                }))
                .await
                .is_err()
                || ended
            {
                return Ok(());
            }
            tokio::select! {
                () = self.next(seen) => {}
                () = stopping.cancelled() => {
                    return Err(refused(Code::CoordinatorStopped, tonic::Code::Unavailable, "the coordinator has stopped; start it again to go on where it was"));
                }
            }
        }
    }

    /// Until it is time to look again.
    async fn next(&mut self, seen: Mark) {
        let shown = Instant::now();
        // The mark's sender is dropped with the coordinator, which the caller waits for as well; or nothing
        // changed for so long that rates and ages have.
        let _refresh = timeout_at(shown + WATCH_REFRESH, self.marks.changed()).await;
        tokio::select! {
            () = sleep_until(shown + WATCH_PAUSE) => {}
            Ok(_) = self.marks.wait_for(|mark| mark.ends != seen.ends) => {}
        }
    }
}

fn has_ended(status: &v1::JobStatus) -> bool {
    use v1::JobState;
    let Some(summary) = &status.summary else {
        return false;
    };
    match summary.state() {
        JobState::Succeeded | JobState::Failed | JobState::Cancelled => true,
        JobState::Unspecified
        | JobState::Waiting
        | JobState::Running
        | JobState::Cancelling
        | JobState::Interrupted
        | JobState::Suspended => false,
    }
}
