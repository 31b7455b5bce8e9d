//! Simulated workers of a training job: real gRPC streams, no processes.

use crate::client::{Bearer, connect};
use crate::coordinator::Coordinator;
use anyhow::{Context, Result, bail};
use petctl_proto::PROTOCOL_VERSION;
use petctl_proto::v1::attach_request::Message as Said;
use petctl_proto::v1::attach_response::Message as Heard;
use petctl_proto::v1::worker_service_client::WorkerServiceClient;
use petctl_proto::v1::{
    AttachRequest, AttachResponse, GroupPhase, GroupReport, GroupStart, Heartbeat, Hello,
    MasterOffer,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Connections that are being made at a time: a listener's backlog is not without end.
const JOINING: usize = 128;
/// What rank 0 offers; nobody listens there.
const PORT: u32 = 29_500;

/// A worker was told to start its processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pub(crate) rank: u32,
    pub(crate) world_size: u32,
    pub(crate) epoch: u64,
    pub(crate) at: Instant,
}

/// Simulated workers of one job; they end with this value.
pub(crate) struct Members {
    workers: JoinSet<Result<()>>,
    starts: mpsc::Receiver<Started>,
    /// When the last of them so far was welcomed.
    welcomed: Arc<Mutex<Instant>>,
    /// True: they say nothing more, and keep their streams.
    silence: watch::Sender<bool>,
}

impl Members {
    /// Starts so many, which join by themselves.
    pub(crate) fn start(coordinator: &Coordinator, count: u32, job: &str) -> Result<Self> {
        let bearer = Bearer::new(&coordinator.token()?)?;
        let (started, starts) = mpsc::channel(usize::try_from(count)? + 1);
        let (silence, silent) = watch::channel(false);
        let gate = Arc::new(Semaphore::new(JOINING));
        let welcomed = Arc::new(Mutex::new(Instant::now()));
        let mut workers = JoinSet::new();
        for index in 0..count {
            let member = Member {
                hello: hello(index, job),
                address: coordinator.address().to_owned(),
                bearer: bearer.clone(),
                gate: Arc::clone(&gate),
                welcomed: Arc::clone(&welcomed),
                started: started.clone(),
                silent: silent.clone(),
            };
            workers.spawn(member.serve());
        }
        Ok(Self {
            workers,
            starts,
            welcomed,
            silence,
        })
    }

    /// When the last of them was welcomed, of those that were by now.
    pub(crate) fn welcomed(&self) -> Instant {
        *self.welcomed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many were told to start, in one epoch and each with a rank of its own; when the last was.
    pub(crate) async fn all_started(
        &mut self,
        count: u32,
        patience: Duration,
    ) -> Result<(Instant, u64)> {
        let started = tokio::time::timeout(patience, self.collect(count)).await;
        started.with_context(|| format!("wait until all {count} were told to start"))?
    }

    /// Waits until the first was told to start.
    pub(crate) async fn first_started(&mut self, patience: Duration) -> Result<Started> {
        let started = tokio::time::timeout(patience, self.starts.recv()).await;
        let started = started.context("wait until a member was told to start")?;
        started.context("the members have gone")
    }

    async fn collect(&mut self, count: u32) -> Result<(Instant, u64)> {
        let mut found: Vec<Started> = Vec::new();
        while found.len() < usize::try_from(count)? {
            tokio::select! {
                Some(started) = self.starts.recv() => found.push(started),
                Some(ended) = self.workers.join_next() => {
                    ended.context("join it")?.context("be a member")?;
                    bail!("WRONG: a member's stream ended");
                }
            }
        }
        let (Some(first), Some(last)) = (found.first(), found.iter().map(|one| one.at).max())
        else {
            bail!("nobody was to start")
        };
        let mut ranks: Vec<u32> = found.iter().map(|one| one.rank).collect();
        ranks.sort_unstable();
        let same = found
            .iter()
            .all(|one| one.epoch == first.epoch && one.world_size == count);
        if !same || !ranks.iter().copied().eq(0..count) {
            bail!("WRONG: {count} members did not start as ranks 0 to {count} of one epoch");
        }
        Ok((last, first.epoch))
    }

    /// From now on they say nothing, as if their cables were cut.
    pub(crate) fn fall_silent(&self) {
        self.silence.send_replace(true);
    }
}

struct Member {
    hello: Hello,
    address: String,
    bearer: Bearer,
    gate: Arc<Semaphore>,
    welcomed: Arc<Mutex<Instant>>,
    started: mpsc::Sender<Started>,
    silent: watch::Receiver<bool>,
}

impl Member {
    async fn serve(self) -> Result<()> {
        let permit = self.gate.acquire().await.context("wait for its turn")?;
        let channel = connect(&self.address, None).await?;
        let mut service = WorkerServiceClient::with_interceptor(channel, self.bearer.clone());
        let (sender, messages) = mpsc::channel(4);
        say(&sender, 0, Said::Hello(self.hello.clone())).await?;
        let mut stream = service
            .attach(ReceiverStream::new(messages))
            .await
            .context("attach")?
            .into_inner();
        let first = stream.message().await.context("be welcomed")?;
        let Some(Heard::Welcome(welcome)) = first.and_then(|heard| heard.message) else {
            bail!("the coordinator did not say Welcome")
        };
        *self.welcomed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        drop(permit);
        let interval = Duration::from_millis(u64::from(welcome.heartbeat_interval_ms));
        let mut silent = self.silent;
        let silenced = async move {
            // Whoever could silence it has gone: the end comes soon.
            let _gone = silent.wait_for(|silent| *silent).await.map(drop);
        };
        tokio::select! {
            ended = talk(&mut stream, &sender, interval, &self.started) => return ended,
            () = silenced => {}
        }
        // Its stream stays open.
        std::future::pending().await
    }
}

async fn talk(
    stream: &mut Streaming<AttachResponse>,
    sender: &mpsc::Sender<AttachRequest>,
    interval: Duration,
    started: &mpsc::Sender<Started>,
) -> Result<()> {
    let mut due = tokio::time::interval(interval);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut sequence, mut epoch) = (0, 0);
    loop {
        let heard = tokio::select! {
            _ = due.tick() => {
                sequence += 1;
                let heartbeat = Heartbeat { sequence, running: 0, queued: 0 };
                say(sender, epoch, Said::Heartbeat(heartbeat)).await?;
                continue;
            }
            heard = stream.message() => heard.context("hear the coordinator")?,
        };
        let Some(heard) = heard else {
            bail!("the coordinator ended the stream")
        };
        epoch = heard.epoch;
        match heard.message {
            Some(Heard::GroupPrepare(prepare)) => {
                let offer = MasterOffer {
                    job_id: prepare.job_id,
                    epoch: prepare.epoch,
                    port: PORT,
                    resume_step: None,
                };
                say(sender, epoch, Said::MasterOffer(offer)).await?;
            }
            Some(Heard::GroupStart(start)) => {
                let at = Instant::now();
                let told = Started {
                    rank: start.first_rank,
                    world_size: start.world_size,
                    epoch: start.epoch,
                    at,
                };
                // Nobody counts any more.
                let _full = started.try_send(told);
                say(sender, epoch, running(&start)).await?;
            }
            Some(other @ (Heard::Fenced(_) | Heard::Release(_))) => {
                bail!("a member was told {other:?}")
            }
            Some(_) | None => {}
        }
    }
}

fn running(start: &GroupStart) -> Said {
    Said::GroupReport(GroupReport {
        job_id: start.job_id,
        stage: start.stage,
        epoch: start.epoch,
        phase: GroupPhase::Running.into(),
        failures: Vec::new(),
        exited: 0,
        processes: start.processes,
    })
}

async fn say(sender: &mpsc::Sender<AttachRequest>, epoch: u64, message: Said) -> Result<()> {
    let message = Some(message);
    sender
        .send(AttachRequest { epoch, message })
        .await
        .context("say it")
}

fn hello(index: u32, job: &str) -> Hello {
    Hello {
        protocol_version: PROTOCOL_VERSION,
        program_version: "bench".to_owned(),
        worker_id: format!("{:032x}", index + 1),
        name: format!("member-{index}"),
        host: "localhost".to_owned(),
        pid: std::process::id(),
        job: job.to_owned(),
        slots: 1,
        cpu_milli: 1_000,
        memory_mib: 1_024,
        address: "127.0.0.1".to_owned(),
        processes: 1,
        ..Hello::default()
    }
}
