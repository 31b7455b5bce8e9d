//! JobService: what clients ask.

use super::decode::line;
use super::server::Server;
use super::status::refused;
use super::{events, logs, shards, submit, watch};
use crate::driver::{NotAnswered, View};
use crate::wire;
use petctl_codes::Code;
use petctl_core::{ClientRequest, JobId, Refusal, Reply};
use petctl_proto::v1;
use petctl_proto::v1::job_service_server::JobService;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Answers in parts, made by a task of their own.
pub(super) type Parts<T> = ReceiverStream<Result<T, Status>>;

pub(super) struct Jobs {
    server: Server,
}

impl Jobs {
    pub(super) fn new(server: Server) -> Self {
        Self { server }
    }
}

#[tonic::async_trait]
impl JobService for Jobs {
    type WatchJobStream = Parts<v1::WatchJobResponse>;
    type ListShardsStream = Parts<v1::ListShardsResponse>;
    type ListEventsStream = Parts<v1::ListEventsResponse>;
    type ReadLogStream = Parts<v1::ReadLogResponse>;

    async fn submit_job(
        &self,
        request: Request<Streaming<v1::SubmitJobRequest>>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        let submission = submit::read(request.into_inner()).await?;
        let reply = self
            .server
            .client
            .call(ClientRequest::Submit(Box::new(submission)))
            .await?;
        let Reply::Submitted(submitted) = reply else {
            return Err(wrong_reply());
        };
        Ok(Response::new(wire::submit_response(submitted)))
    }

    async fn get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::GetJobResponse>, Status> {
        let job = request.into_inner().job;
        line("job", &job)?;
        let status = self
            .server
            .client
            .query(move |view| status(view, view.core.resolve(&job)?))
            .await?;
        let status = status.map_err(|refusal| super::status_of(&refusal))?;
        Ok(Response::new(v1::GetJobResponse {
            status: Some(status),
        }))
    }

    async fn watch_job(
        &self,
        request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        watch::watch(&self.server, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_jobs(
        &self,
        _request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let jobs = self.server.client.query(|view| view.core.jobs()).await?;
        let mut jobs: Vec<v1::JobSummary> = jobs.into_iter().map(wire::job_summary).collect();
        if let Some(keeper) = &self.server.keeper {
            for job in &mut jobs {
                job.namespace = keeper.namespace_of(&job.name).unwrap_or_default();
            }
        }
        Ok(Response::new(v1::ListJobsResponse { jobs }))
    }

    async fn scale_job(
        &self,
        request: Request<v1::ScaleJobRequest>,
    ) -> Result<Response<v1::ScaleJobResponse>, Status> {
        let v1::ScaleJobRequest {
            job,
            min,
            max,
            workers: wanted,
        } = request.into_inner();
        line("job", &job)?;
        let reply = self
            .server
            .client
            .call(ClientRequest::Scale {
                job,
                min,
                max,
                wanted,
            })
            .await?;
        let Reply::Scaled { min, max, wanted } = reply else {
            return Err(wrong_reply());
        };
        Ok(Response::new(v1::ScaleJobResponse {
            min,
            max,
            workers: wanted,
        }))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        let v1::CancelJobRequest { job, reason } = request.into_inner();
        line("job", &job)?;
        line("reason", &reason)?;
        let reply = self
            .server
            .client
            .call(ClientRequest::Cancel { job, reason })
            .await?;
        let Reply::Cancelled { already_ended } = reply else {
            return Err(wrong_reply());
        };
        Ok(Response::new(v1::CancelJobResponse { already_ended }))
    }

    async fn delete_job(
        &self,
        request: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        let v1::DeleteJobRequest { job } = request.into_inner();
        line("job", &job)?;
        self.server
            .client
            .call(ClientRequest::Delete { job })
            .await?;
        Ok(Response::new(v1::DeleteJobResponse {}))
    }

    async fn list_shards(
        &self,
        request: Request<v1::ListShardsRequest>,
    ) -> Result<Response<Self::ListShardsStream>, Status> {
        shards::list(&self.server, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<Self::ListEventsStream>, Status> {
        events::list(&self.server, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn explain_job(
        &self,
        request: Request<v1::ExplainJobRequest>,
    ) -> Result<Response<v1::ExplainJobResponse>, Status> {
        shards::explain(&self.server, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn read_log(
        &self,
        request: Request<v1::ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        logs::read(&self.server, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn drain_coordinator(
        &self,
        request: Request<v1::DrainCoordinatorRequest>,
    ) -> Result<Response<v1::DrainCoordinatorResponse>, Status> {
        let reason = request.into_inner().reason;
        line("reason", &reason)?;
        self.server.client.drain(&reason).await?;
        Ok(Response::new(v1::DrainCoordinatorResponse {}))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        let v1::DrainWorkerRequest {
            job,
            worker,
            reason,
        } = request.into_inner();
        line("job", &job)?;
        line("worker", &worker)?;
        line("reason", &reason)?;
        let input = ClientRequest::DrainWorker {
            job,
            worker,
            reason,
        };
        let reply = self.server.client.call(input).await?;
        let Reply::WorkerDrained(worker) = reply else {
            return Err(wrong_reply());
        };
        Ok(Response::new(v1::DrainWorkerResponse { worker }))
    }

    async fn suspend_job(
        &self,
        request: Request<v1::SuspendJobRequest>,
    ) -> Result<Response<v1::SuspendJobResponse>, Status> {
        let v1::SuspendJobRequest { job, reason } = request.into_inner();
        line("job", &job)?;
        line("reason", &reason)?;
        let input = ClientRequest::Suspend { job, reason };
        let reply = self.server.client.call(input).await?;
        let Reply::Suspended { already } = reply else {
            return Err(wrong_reply());
        };
        Ok(Response::new(v1::SuspendJobResponse {
            already_suspended: already,
        }))
    }

    async fn resume_job(
        &self,
        request: Request<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        let v1::ResumeJobRequest { job } = request.into_inner();
        line("job", &job)?;
        let reply = self
            .server
            .client
            .call(ClientRequest::Resume { job })
            .await?;
        let Reply::Resumed { already } = reply else {
            return Err(wrong_reply());
        };
        Ok(Response::new(v1::ResumeJobResponse {
            already_running: already,
        }))
    }
}

/// A job's status as it is now.
pub(super) fn status(view: &View<'_>, job: JobId) -> Result<v1::JobStatus, Refusal> {
    match view.core.job_view(view.now, job) {
        Some(job_view) => {
            let events = view
                .recent
                .of(job)
                .map(|record| wire::event_row(view.core.state(), record))
                .collect();
            Ok(wire::job_status(job_view, events, view.now))
        }
        // Says that there is none, and which there are.
        None => Err(view.core.resolve(&job.to_string()).map_or_else(
            |refusal| refusal,
            |_| Refusal {
                code: Code::NoSuchJob,
                message: format!("job {job} was deleted"),
            },
        )),
    }
}

/// The core answers each call in its own kind.
fn wrong_reply() -> Status {
    refused(
        Code::CoordinatorBug,
        tonic::Code::Internal,
        "the coordinator gave an answer to another question; please report it",
    )
}

/// The number of a job.
pub(super) async fn resolve(server: &Server, job: String) -> Result<JobId, Status> {
    line("job", &job)?;
    let resolved = server
        .client
        .query(move |view| view.core.resolve(&job))
        .await?;
    resolved.map_err(|refusal| NotAnswered::Refused(refusal).into())
}
