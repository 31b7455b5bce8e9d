//! ListEvents: the event log, readable.

use super::bounds::{PAGE, WAITING_PAGES};
use super::jobs::{Parts, resolve};
use super::server::Server;
use super::status::refused;
use crate::wire;
use petctl_codes::Code;
use petctl_core::{JobId, JobState, Record};
use petctl_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

type Rows = mpsc::Sender<Result<v1::ListEventsResponse, Status>>;

/// Events of one job, or of all where the request names none; with `follow` until the job ends.
pub(super) async fn list(
    server: &Server,
    request: v1::ListEventsRequest,
) -> Result<Parts<v1::ListEventsResponse>, Status> {
    let job = if request.job.is_empty() {
        None
    } else {
        Some(resolve(server, request.job).await?)
    };
    let (parts, receiver) = mpsc::channel(WAITING_PAGES);
    let listing = Listing {
        server: server.clone(),
        job,
        next: request.from_sequence.max(1),
    };
    server.tasks.spawn(async move {
        let ended = tokio::select! {
            ended = listing.run(request.follow, &parts) => ended,
            () = parts.closed() => return,
        };
        if let Err(status) = ended {
            // Whoever asked may have gone.
            let _gone = parts.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(receiver))
}

struct Listing {
    server: Server,
    job: Option<JobId>,
    next: u64,
}

impl Listing {
    async fn run(mut self, follow: bool, parts: &Rows) -> Result<(), Status> {
        let mut newest = self.server.client.watches().records();
        loop {
            newest.mark_unchanged();
            // Looked at first: the events of its end are durable then, and in what is read.
            let last = !follow || self.job_ended().await?;
            while let Some(records) = self.page().await? {
                self.show(records, parts).await?;
            }
            if last {
                return Ok(());
            }
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return Ok(()) },
                () = self.server.stopping.cancelled() => return Ok(()),
            }
        }
    }

    async fn job_ended(&self) -> Result<bool, Status> {
        let Some(job) = self.job else {
            return Ok(false);
        };
        let state = self
            .server
            .client
            .query(move |view| view.core.job_view(view.now, job))
            .await?;
        Ok(state.is_none_or(|view| match view.summary.state {
            JobState::Succeeded | JobState::Failed | JobState::Cancelled => true,
            JobState::Waiting
            | JobState::Running
            | JobState::Cancelling
            | JobState::Interrupted
            | JobState::Suspended => false,
        }))
    }

    /// The next records; `None` at the end of what is there.
    async fn page(&mut self) -> Result<Option<Vec<Record>>, Status> {
        let (reader, from) = (self.server.client.reader(), self.next);
        let read = tokio::task::spawn_blocking(move || reader.read(from, PAGE)).await;
        let records = read
            .map_err(|_| {
                refused(
                    Code::CoordinatorBug,
                    tonic::Code::Internal,
                    "reading the event log panicked; please report it",
                )
            })?
            .map_err(|error| refused(error.code(), tonic::Code::Internal, &error))?;
        let Some(last) = records.last() else {
            return Ok(None);
        };
        self.next = last.sequence + 1;
        Ok(Some(records))
    }

    async fn show(&self, mut records: Vec<Record>, parts: &Rows) -> Result<(), Status> {
        if let Some(job) = self.job {
            records.retain(|record| record.event.job() == Some(job));
        }
        if records.is_empty() {
            return Ok(());
        }
        let describe = move |view: &crate::driver::View<'_>| {
            records
                .iter()
                .map(|record| wire::event_row(view.core.state(), record))
                .collect()
        };
        let events = self.server.client.query(describe).await?;
        // Whoever asked may have gone; the caller notices.
        let _gone = parts.send(Ok(v1::ListEventsResponse { events })).await;
        Ok(())
    }
}
