//! ListShards and ExplainJob.

use super::bounds::{PAGE, WAITING_PAGES};
use super::decode::line;
use super::jobs::{Parts, resolve};
use super::server::Server;
use super::status_of;
use crate::wire;
use petctl_core::{JobId, ShardFilter};
use petctl_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// All rows that fit, page by page: between two of them the coordinator does other things.
pub(super) async fn list(
    server: &Server,
    request: v1::ListShardsRequest,
) -> Result<Parts<v1::ListShardsResponse>, Status> {
    line("stage", &request.stage)?;
    line("shard", &request.shard)?;
    let job = resolve(server, request.job).await?;
    let filter = ShardFilter {
        stage: request.stage,
        failed_only: request.failed_only,
        key: request.shard,
    };
    let (parts, receiver) = mpsc::channel(WAITING_PAGES);
    let server = server.clone();
    server.tasks.clone().spawn(async move {
        if let Err(status) = pages(&server, job, &filter, &parts).await {
            // Whoever asked may have gone.
            let _gone = parts.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn pages(
    server: &Server,
    job: JobId,
    filter: &ShardFilter,
    parts: &mpsc::Sender<Result<v1::ListShardsResponse, Status>>,
) -> Result<(), Status> {
    let mut from = Some(0);
    while let Some(start) = from {
        let filter = filter.clone();
        let (rows, next) = server
            .client
            .query(move |view| view.core.shards(job, &filter, start, PAGE))
            .await?;
        from = next;
        if rows.is_empty() {
            continue;
        }
        let rows = rows.into_iter().map(wire::shard_row).collect();
        if parts
            .send(Ok(v1::ListShardsResponse { rows }))
            .await
            .is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}

/// Why a job or a shard stands where it does.
pub(super) async fn explain(
    server: &Server,
    request: v1::ExplainJobRequest,
) -> Result<v1::ExplainJobResponse, Status> {
    line("stage", &request.stage)?;
    line("shard", &request.shard)?;
    let job = resolve(server, request.job).await?;
    let (stage, shard) = (request.stage, request.shard);
    let explained = server
        .client
        .query(move |view| view.core.explain(view.now, job, &stage, &shard))
        .await?;
    let explained = explained.map_err(|refusal| status_of(&refusal))?;
    let mut response = v1::ExplainJobResponse::default();
    for explanation in explained {
        response.reasons.push(wire::reason(explanation.reason));
        response
            .shards
            .extend(explanation.shard.map(wire::shard_row));
    }
    Ok(response)
}
