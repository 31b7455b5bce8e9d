//! Simulated workers that take what they get, and say no more than that they are there: real gRPC streams, no processes.

use crate::client::{Bearer, connect};
use anyhow::{Context, Result, bail};
use petctl_proto::PROTOCOL_VERSION;
use petctl_proto::v1::attach_request::Message as Said;
use petctl_proto::v1::attach_response::Message as Heard;
use petctl_proto::v1::worker_service_client::WorkerServiceClient;
use petctl_proto::v1::{AttachRequest, Heartbeat, Hello};
use petctl_tls::Trust;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Workers that join at a time.
const JOINING: usize = 64;
/// Connections of one process.
const MAX_NAMED: u64 = 12_000;

/// What such a worker says of itself.
pub(crate) fn hello(name: String, id: u128, job: String) -> Hello {
    Hello {
        protocol_version: PROTOCOL_VERSION,
        program_version: "bench".to_owned(),
        worker_id: format!("{id:032x}"),
        name,
        host: "localhost".to_owned(),
        pid: std::process::id(),
        job,
        slots: 1,
        cpu_milli: 1_000,
        memory_mib: 1_024,
        ..Hello::default()
    }
}

/// How many may be joining, and have not been welcomed yet.
pub(crate) fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(JOINING))
}

/// Joins, takes what it gets, and says no more than that it is there.
pub(crate) async fn work(
    hello: Hello,
    channel: impl Future<Output = Result<Channel>>,
    bearer: Bearer,
    gate: Arc<Semaphore>,
    welcomed: impl FnOnce(),
) -> Result<()> {
    let permit = gate.acquire().await.context("wait for its turn")?;
    let mut service = WorkerServiceClient::with_interceptor(channel.await?, bearer);
    let (sender, messages) = mpsc::channel(4);
    sender.send(said(0, Said::Hello(hello))).await?;
    let answer = service.attach(ReceiverStream::new(messages)).await;
    let mut stream = answer.context("attach")?.into_inner();
    let first = stream.message().await.context("be welcomed")?;
    let Some(Heard::Welcome(welcome)) = first.and_then(|heard| heard.message) else {
        bail!("the coordinator did not say Welcome")
    };
    drop(permit);
    welcomed();
    let interval = Duration::from_millis(u64::from(welcome.heartbeat_interval_ms));
    let mut due = tokio::time::interval(interval);
    let (mut sequence, mut epoch) = (0, 0);
    loop {
        tokio::select! {
            _ = due.tick() => {
                sequence += 1;
                let heartbeat = Heartbeat { sequence, running: 1, queued: 0 };
                sender.send(said(epoch, Said::Heartbeat(heartbeat))).await?;
            }
            heard = stream.message() => match heard.context("hear the coordinator")? {
                Some(heard) => epoch = heard.epoch,
                None => bail!("the coordinator ended the stream"),
            },
        }
    }
}

fn said(epoch: u64, message: Said) -> AttachRequest {
    let message = Some(message);
    AttachRequest { epoch, message }
}

/// Such workers, one after the other as they are named: each with a connection of its own, and by its job's token.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    address: String,
    /// A file for each job, named after it.
    tokens: PathBuf,
    ca_file: PathBuf,
}

impl Named {
    /// First argument of the process that they are in.
    pub(crate) const FLAG: &str = "--join-named";

    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut next = |what: &str| {
            let next = arguments.next();
            next.with_context(|| format!("{} needs {what}", Self::FLAG))
        };
        Ok(Self {
            address: next("an address")?,
            tokens: next("a folder of tokens")?.into(),
            ca_file: next("a CA's file")?.into(),
        })
    }

    /// Reads lines `JOB NAME INDEX HOST` and is these workers until nothing more comes. It prints `joined NAME` when one
    /// was welcomed, and `ended NAME WHY` when one could not go on.
    pub(crate) fn serve(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("start tokio")?;
        crate::process::raise_file_limit(MAX_NAMED)?;
        runtime.block_on(self.serve_all())
    }

    async fn serve_all(self) -> Result<()> {
        let trust = Trust::file(&self.ca_file)?;
        let (sender, mut lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let gate = gate();
        let mut bearers: BTreeMap<String, Bearer> = BTreeMap::new();
        let mut workers = JoinSet::new();
        while let Some(line) = lines.recv().await {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [job, name, index, host] = words[..] else {
                bail!("{line:?} is no JOB NAME INDEX HOST")
            };
            let bearer = match bearers.get(job) {
                Some(bearer) => bearer.clone(),
                None => {
                    let token =
                        fs::read_to_string(self.tokens.join(job)).context("read a token")?;
                    let bearer = Bearer::new(token.trim())?;
                    bearers.insert(job.to_owned(), bearer.clone());
                    bearer
                }
            };
            let mut hello = hello(name.to_owned(), fastrand::u128(1..), job.to_owned());
            hello.index = Some(index.parse().context("read an index")?);
            host.clone_into(&mut hello.host);
            let (address, trust, gate) = (self.address.clone(), trust.clone(), Arc::clone(&gate));
            workers.spawn(async move {
                let name = hello.name.clone();
                let channel = async { connect(&address, Some(&trust)).await };
                let joined = || tell(&format!("joined {name}"));
                if let Err(error) = work(hello, channel, bearer, gate, joined).await {
                    tell(&format!("ended {name} {error:#}"));
                }
            });
        }
        Ok(())
    }
}

fn tell(line: &str) {
    // Who asked for them may be gone, and then they are about to end.
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}
