//! ReadLog: from the job's output folder where this machine sees it, else from the worker that runs the attempt.

use super::bounds::{LOG_BYTES, LOG_PAUSE, WAITING_PAGES};
use super::jobs::{Parts, resolve};
use super::server::Server;
use super::status::{bad, refused};
use petctl_codes::Code;
use petctl_core::{ConnId, Epoch, JobId, LeaseId, ShardFilter};
use petctl_output::layout::{Layout, check_key};
use petctl_output::logs::{LogPiece, LogReader};
use petctl_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

type Pieces = mpsc::Sender<Result<v1::ReadLogResponse, Status>>;

/// The log of one attempt; of the shard's last one where the request names no lease.
pub(super) async fn read(
    server: &Server,
    request: v1::ReadLogRequest,
) -> Result<Parts<v1::ReadLogResponse>, Status> {
    check_key(&request.key).map_err(|error| bad(error.code(), error))?;
    let job = resolve(server, request.job).await?;
    let log = find(
        server,
        job,
        request.stage,
        request.key,
        LeaseId(request.lease_id),
    )
    .await?;
    let (parts, receiver) = mpsc::channel(WAITING_PAGES);
    server.tasks.spawn(async move {
        let ended = tokio::select! {
            ended = log.run(request.follow, &parts) => ended,
            () = parts.closed() => return,
        };
        if let Err(status) = ended {
            // Whoever asked may have gone.
            let _gone = parts.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(receiver))
}

/// One attempt's log.
struct Log {
    server: Server,
    job: JobId,
    /// Of a training's process: the number of its epoch.
    lease: LeaseId,
    stage: u32,
    stage_name: String,
    key: String,
    output: Layout,
}

async fn find(
    server: &Server,
    job: JobId,
    stage: u32,
    key: String,
    lease: LeaseId,
) -> Result<Log, Status> {
    let wanted = key.clone();
    let found = server.client.query(move |view| {
        let spec = view.core.spec(job)?;
        let stage_name = spec.stages.get(usize::try_from(stage).ok()?)?.name.clone();
        let output = Layout::new(&spec.storage.output);
        if lease.0 != 0 {
            return Some((stage_name, output, lease));
        }
        let filter = ShardFilter {
            stage: stage_name.clone(),
            failed_only: false,
            key: wanted.clone(),
        };
        let (rows, _) = view.core.shards(job, &filter, 0, 2);
        let row = rows.into_iter().find(|row| row.key == wanted)?;
        Some((stage_name, output, row.lease))
    });
    let Some((stage_name, output, lease)) = found.await? else {
        return Err(refused(
            Code::NoSuchShard,
            tonic::Code::NotFound,
            "the job has no such stage or shard; `petctl report` lists them",
        ));
    };
    Ok(Log {
        server: server.clone(),
        job,
        lease,
        stage,
        stage_name,
        key,
        output,
    })
}

impl Log {
    async fn run(self, follow: bool, parts: &Pieces) -> Result<(), Status> {
        let (mut offset, mut empty, mut last) = (0, true, None);
        loop {
            // Asked first: what a finished attempt wrote is all there when it is read.
            let running = self.holder().await?;
            // What it printed last is with the worker that ran it.
            last = running.or(last);
            let piece = match self.piece(offset, last).await {
                Err(_) if running.is_none() => LogPiece::default(),
                piece => piece?,
            };
            let more = !piece.data.is_empty();
            empty &= !more;
            offset = piece.next_offset;
            if more
                && parts
                    .send(Ok(v1::ReadLogResponse { data: piece.data }))
                    .await
                    .is_err()
            {
                return Ok(());
            }
            if more {
                continue;
            }
            if !follow || running.is_none() {
                return if empty {
                    self.nothing(running).await
                } else {
                    Ok(())
                };
            }
            tokio::select! {
                () = tokio::time::sleep(LOG_PAUSE) => {}
                () = self.server.stopping.cancelled() => return Ok(()),
            }
        }
    }

    /// The stream of the worker that runs the attempt, or the training's process.
    async fn holder(&self) -> Result<Option<ConnId>, Status> {
        let (job, stage, lease) = (self.job, self.stage, self.lease);
        let process = process(&self.key).filter(|(epoch, _)| epoch.0 == lease.0);
        let client = &self.server.client;
        Ok(match process {
            Some((epoch, rank)) => {
                let asked =
                    client.query(move |view| view.core.conn_of_rank(job, stage, epoch, rank));
                asked.await?
            }
            None => {
                client
                    .query(move |view| view.core.conn_of_lease(lease))
                    .await?
            }
        })
    }

    async fn piece(&self, offset: u64, running: Option<ConnId>) -> Result<LogPiece, Status> {
        let (output, stage, key, lease) = (
            self.output.clone(),
            self.stage_name.clone(),
            self.key.clone(),
            self.lease.0,
        );
        let read = move || {
            let path = output.find_log(&stage, &key, lease)?;
            LogReader::new(path).read(offset, LOG_BYTES).ok()
        };
        let here = tokio::task::spawn_blocking(read).await.ok().flatten();
        let (None, Some(conn)) = (&here, running) else {
            return Ok(here.unwrap_or_default());
        };
        let request = v1::LogRequest {
            request_id: 0,
            stage: self.stage,
            key: self.key.clone(),
            lease_id: self.lease.0,
            offset,
            max_bytes: u32::try_from(LOG_BYTES).unwrap_or(u32::MAX),
        };
        match self
            .server
            .relay
            .ask(&self.server.client, conn, request)
            .await
        {
            Some(chunk) => Ok(LogPiece {
                data: chunk.data,
                next_offset: chunk.next_offset,
            }),
            None => Err(unavailable(
                "the worker that runs the attempt does not answer; try again in a moment",
            )),
        }
    }

    /// A log without bytes is one of a command that printed nothing, if its folder is there to tell.
    async fn nothing(&self, running: Option<ConnId>) -> Result<(), Status> {
        let root = self.output.root().to_owned();
        let here = tokio::fs::try_exists(root).await.unwrap_or(false);
        if here || running.is_some() {
            return Ok(());
        }
        Err(unavailable(
            "the job's output folder is not on the coordinator's machine, and no worker runs the attempt",
        ))
    }
}

/// The process that `epoch-3/rank-0` names.
fn process(key: &str) -> Option<(Epoch, u32)> {
    let (epoch, rank) = key.strip_prefix("epoch-")?.split_once("/rank-")?;
    Some((Epoch(epoch.parse().ok()?), rank.parse().ok()?))
}

fn unavailable(why: &str) -> Status {
    refused(Code::LogUnavailable, tonic::Code::Unavailable, why)
}
