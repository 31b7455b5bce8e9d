//! What workers cost a coordinator when there is nothing to do.

use crate::client::{Bearer, connect};
use crate::coordinator::Coordinator;
use crate::figure::whole;
use crate::options::Options;
use crate::process;
use crate::table::Row;
use anyhow::{Context, Result, bail};
use petctl_proto::PROTOCOL_VERSION;
use petctl_proto::v1::attach_request::Message as Said;
use petctl_proto::v1::attach_response::Message as Heard;
use petctl_proto::v1::worker_service_client::WorkerServiceClient;
use petctl_proto::v1::{AttachRequest, Heartbeat, Hello};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

const WORKERS: u32 = 2_000;
/// Connections that are being made at a time.
const JOINING: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);
const AIM_CORE: f64 = 0.05;
const AIM_BYTES: f64 = 50_000.0;

/// Simulated workers over real streams: Hello, then heartbeats as often as the coordinator wants them.
pub(crate) async fn idle(options: &Options) -> Result<Vec<Row>> {
    process::raise_file_limit(u64::from(WORKERS) * 2)?;
    let coordinator = Coordinator::start(options)?;
    // Its first client is not counted as a worker.
    drop(coordinator.client().await?);
    let before = process::resident_bytes(coordinator.pid())?;
    let crowd = Crowd::join(&coordinator).await?;
    // One round of heartbeats, so that what they allocate is counted.
    tokio::time::sleep(crowd.heartbeat_interval).await;
    let (start, spent) = (Instant::now(), process::cpu_time(coordinator.pid())?);
    tokio::time::sleep(options.quick_or(Duration::from_secs(8), Duration::from_secs(20))).await;
    let spent = process::cpu_time(coordinator.pid())?.saturating_sub(spent);
    let core = spent.as_secs_f64() / start.elapsed().as_secs_f64();
    let each_bytes = (process::resident_bytes(coordinator.pid())? - before) / f64::from(WORKERS);
    let watched = start.elapsed();
    let interval_ms = crowd.heartbeat_interval.as_millis();
    crowd.check(watched)?;
    let what = format!("{} idle workers", whole(f64::from(WORKERS)));
    Ok(vec![
        Row {
            what: format!("{what}: coordinator's CPU"),
            aim: "5 % of a core".to_owned(),
            measured: format!("{:.1} %", core * 100.0),
            met: Some(core <= AIM_CORE),
            beside: format!(
                "over {:.0} s; heartbeats every {interval_ms} ms; simulated workers, real gRPC streams",
                watched.as_secs_f64()
            ),
        },
        Row {
            what: format!("{what}: coordinator's memory for each"),
            aim: "50 kB".to_owned(),
            measured: format!("{:.1} kB", each_bytes / 1e3),
            met: Some(each_bytes <= AIM_BYTES),
            beside: "growth of its resident memory".to_owned(),
        },
    ])
}

/// The simulated workers; they end with this value.
struct Crowd {
    workers: JoinSet<Result<()>>,
    heartbeat_interval: Duration,
    acknowledged: Arc<AtomicU32>,
}

impl Crowd {
    async fn join(coordinator: &Coordinator) -> Result<Self> {
        let bearer = Bearer::new(&coordinator.token()?)?;
        let (welcomed, mut welcomes) = mpsc::channel(JOINING);
        let gate = Arc::new(Semaphore::new(JOINING));
        let acknowledged = Arc::new(AtomicU32::new(0));
        let mut workers = JoinSet::new();
        for index in 0..WORKERS {
            let worker = Worker {
                index,
                address: coordinator.address().to_owned(),
                bearer: bearer.clone(),
                gate: Arc::clone(&gate),
                welcomed: welcomed.clone(),
                acknowledged: Arc::clone(&acknowledged),
            };
            workers.spawn(worker.serve());
        }
        let mut heartbeat_interval = Duration::ZERO;
        let joining = async {
            for _ in 0..WORKERS {
                tokio::select! {
                    Some(interval) = welcomes.recv() => heartbeat_interval = interval,
                    Some(ended) = workers.join_next() => {
                        ended.context("join it")?.context("join as a worker")?;
                        bail!("a worker's stream ended");
                    }
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, joining)
            .await
            .context("wait until all have joined")??;
        acknowledged.store(0, Ordering::Relaxed);
        Ok(Self {
            workers,
            heartbeat_interval,
            acknowledged,
        })
    }

    /// Nobody has gone, and every heartbeat that was due was answered.
    fn check(mut self, watched: Duration) -> Result<()> {
        if let Some(ended) = self.workers.try_join_next() {
            ended.context("join it")?.context("be idle")?;
            bail!("WRONG: a worker's stream ended");
        }
        let due = (watched.as_secs_f64() / self.heartbeat_interval.as_secs_f64()).floor()
            * f64::from(WORKERS);
        let answered = f64::from(self.acknowledged.load(Ordering::Relaxed));
        if answered < due * 0.9 {
            bail!("WRONG: {answered} heartbeats answered of {due}");
        }
        Ok(())
    }
}

struct Worker {
    index: u32,
    address: String,
    bearer: Bearer,
    gate: Arc<Semaphore>,
    welcomed: mpsc::Sender<Duration>,
    acknowledged: Arc<AtomicU32>,
}

impl Worker {
    async fn serve(self) -> Result<()> {
        let permit = self.gate.acquire().await.context("wait for its turn")?;
        let channel = connect(&self.address, None).await?;
        let mut service = WorkerServiceClient::with_interceptor(channel, self.bearer.clone());
        let (sender, messages) = mpsc::channel(4);
        sender
            .send(said(Said::Hello(self.hello())))
            .await
            .context("say hello")?;
        let mut stream = service
            .attach(ReceiverStream::new(messages))
            .await
            .context("attach")?
            .into_inner();
        let first = stream
            .message()
            .await
            .context("be welcomed")?
            .and_then(|heard| heard.message);
        let Some(Heard::Welcome(welcome)) = first else {
            bail!("the coordinator did not say Welcome")
        };
        drop(permit);
        let interval = Duration::from_millis(u64::from(welcome.idle_heartbeat_interval_ms));
        self.welcomed
            .send(interval)
            .await
            .context("say that it has joined")?;
        let mut due = tokio::time::interval(interval);
        let mut sequence = 0;
        loop {
            tokio::select! {
                _ = due.tick() => {
                    sequence += 1;
                    let heartbeat = Heartbeat { sequence, running: 0, queued: 0 };
                    sender.send(said(Said::Heartbeat(heartbeat))).await.context("send a heartbeat")?;
                }
                heard = stream.message() => match heard.context("hear the coordinator")?.and_then(|heard| heard.message) {
                    Some(Heard::HeartbeatAck(_)) => { self.acknowledged.fetch_add(1, Ordering::Relaxed); }
                    Some(other) => bail!("an idle worker was told {other:?}"),
                    None => bail!("the coordinator ended the stream"),
                },
            }
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            protocol_version: PROTOCOL_VERSION,
            program_version: "bench".to_owned(),
            worker_id: format!("{:032x}", self.index + 1),
            name: format!("idle-{}", self.index),
            host: "localhost".to_owned(),
            pid: std::process::id(),
            slots: 2,
            cpu_milli: 2_000,
            memory_mib: 4_096,
            ..Hello::default()
        }
    }
}

fn said(message: Said) -> AttachRequest {
    AttachRequest {
        epoch: 0,
        message: Some(message),
    }
}
