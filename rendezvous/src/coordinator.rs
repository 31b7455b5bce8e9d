//! Starts and stops a coordinator.

use crate::driver::{self, Client, Message, NotAnswered, Prepared, StopReason, View};
use crate::event_log::{EventLog, LogError, MemoryLog, RedbLog};
use crate::folder::{self, Endpoint, FolderLock};
use crate::grpc::{self, Server};
use crate::http::{self, Answers};
use crate::metrics::Refusals;
use crate::worker_token::worker_token;
use crate::{Engine, Options, StartError, TlsOptions};
use petctl_core::{ClientRequest, JobId, Lineage, PlaceReport, Pool, WorkerId};
use petctl_text::Secret;
use petctl_tls::Server as Tls;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A coordinator in this process.
#[derive(Debug)]
pub struct Coordinator;

impl Coordinator {
    /// Takes the state folder, reads its log, and listens. What was unfinished goes on.
    ///
    /// # Errors
    /// Where the folder is somebody else's, can't be read or written, or nothing can be listened on.
    pub async fn start(options: Options) -> Result<Handle, StartError> {
        let stopping = CancellationToken::new();
        // What was begun for it ends with a start that fails.
        let failing = stopping.clone().drop_guard();
        let refusals = Refusals::default();
        // First of all: a log may take long to be read.
        let probes = probe(&options, &refusals, &stopping).await?;
        let opening = options.clone();
        let opened = tokio::task::spawn_blocking(move || open(&opening)).await;
        let Opened {
            lock,
            prepared,
            token,
            tls,
        } = opened.unwrap_or_else(|_| {
            Err(LogError::corrupt(&options.state_dir, "reading it panicked").into())
        })?;
        let listener = listen(&options).await?;
        if let (Some(keeper), Some(tls)) = (&options.keeper, &tls) {
            keeper.trust(tls.ca()).await.map_err(StartError::Untold)?;
        }
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: listen_address(&options),
            source,
        })?;

        let (dir, stop) = (options.state_dir.clone(), stopping.clone());
        let on_stop = move |reason: &StopReason| {
            tracing::info!(%reason, "the coordinator has stopped");
            folder::withdraw(&dir);
            drop(lock);
            stop.cancel();
        };
        let lineage = prepared.lineage();
        let client =
            driver::spawn(prepared, on_stop).map_err(|source| StartError::Thread { source })?;
        let ca = tls.as_ref().map(|tls| tls.ca().to_owned());
        announce(&options, address)?;
        let server = Server::new(client.clone(), &options, refusals, stopping);
        let served = serve(server, listener, token.clone(), tls);
        tracing::info!(%address, state = %options.state_dir.display(), "the coordinator listens");
        let http_address = probes.map(|(address, answers)| {
            answers.health().runs(client.clone());
            address
        });
        failing.disarm();
        Ok(Handle {
            inner: Arc::new(Inner {
                client,
                lineage,
                address,
                http_address,
                token,
                ca,
                served,
            }),
        })
    }
}

/// A running coordinator. Clones are the same one; it goes on when all of them are dropped.
#[derive(Clone, Debug)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    lineage: Lineage,
    address: SocketAddr,
    http_address: Option<SocketAddr>,
    token: Secret,
    /// The certificate of its CA, where it speaks TLS.
    ca: Option<String>,
    /// Closed when the server has ended; holds its error where it ended by itself.
    served: watch::Receiver<Option<String>>,
}

impl Handle {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Where it answers probes and shows metrics, if it does.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.inner.http_address
    }

    /// Its event log: the leases that it gives out are ordered among themselves only.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        self.inner.lineage
    }

    /// What its clients and workers must show.
    #[must_use]
    pub fn token(&self) -> &Secret {
        &self.inner.token
    }

    /// What workers of this job may show instead: it is good for nothing else.
    #[must_use]
    pub fn worker_token(&self, job: &str) -> Secret {
        worker_token(&self.inner.token, job)
    }

    /// The certificate of its CA, as PEM: whom those who call it are to trust. `None`: it speaks no TLS.
    #[must_use]
    pub fn ca(&self) -> Option<&str> {
        self.inner.ca.as_deref()
    }

    /// Where it is, as an URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.inner.ca.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.inner.address)
    }

    /// Hands out nothing more, on any job; ends when nothing runs any more. What is left can be resumed by the next
    /// coordinator on the state folder.
    ///
    /// # Errors
    /// `COORDINATOR_STOPPED` where it stops before.
    pub async fn drain(&self, reason: &str) -> Result<(), NotAnswered> {
        self.inner.client.drain(reason).await
    }

    /// Says that a worker's process is dead. For the parent of local workers, who knows at once.
    pub async fn worker_gone(&self, worker: WorkerId) {
        // A stopped coordinator need not know.
        let _stopped = self.inner.client.send(Message::WorkerGone(worker)).await;
    }

    /// What the jobs that have not ended want of the place of their workers.
    ///
    /// # Errors
    /// `COORDINATOR_STOPPED` where it has stopped.
    pub async fn pools(&self) -> Result<Vec<Pool>, NotAnswered> {
        self.inner.client.query(|view| view.core.pools()).await
    }

    /// The names of all jobs that are remembered, ended ones too.
    ///
    /// # Errors
    /// `COORDINATOR_STOPPED` where it has stopped.
    pub async fn job_names(&self) -> Result<BTreeSet<String>, NotAnswered> {
        let names = |view: &View<'_>| {
            let jobs = view.core.state().jobs.values();
            jobs.map(|job| job.spec.name.clone()).collect()
        };
        self.inner.client.query(names).await
    }

    /// Changes whenever something of any job did: what [`Handle::pools`] says may be different then.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.client.watches().any()
    }

    /// Tells it what the place of a job's workers says of them.
    pub async fn place_says(&self, job: JobId, report: PlaceReport) {
        // A stopped coordinator need not know.
        let _stopped = self.inner.client.send(Message::Place(job, report)).await;
    }

    /// Stops a job's work until somebody lets it go on.
    ///
    /// # Errors
    /// Where the job has ended, or the coordinator has stopped.
    pub async fn suspend(&self, job: &str, reason: &str) -> Result<(), NotAnswered> {
        let (job, reason) = (job.to_owned(), reason.to_owned());
        let request = ClientRequest::Suspend { job, reason };
        self.inner.client.call(request).await.map(|_suspended| ())
    }

    /// Tells it to stop, now. Workers keep what they run, for the next coordinator. [`Handle::stopped`] says when it
    /// has.
    pub fn shutdown(&self) {
        self.inner.client.stop();
    }

    /// Ends when it has stopped: the log is closed, the state folder free, and workers and clients were told.
    pub async fn stopped(&self) -> StopReason {
        let reason = self.inner.client.stopped().await;
        let mut served = self.inner.served.clone();
        // Closed with the server, whatever it held last.
        while served.changed().await.is_ok() {}
        let failed = served.borrow().clone();
        failed.map_or(reason, StopReason::Bug)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

struct Opened {
    lock: FolderLock,
    prepared: Prepared,
    token: Secret,
    tls: Option<Tls>,
}

fn open(options: &Options) -> Result<Opened, StartError> {
    let lock = FolderLock::exclusive(&options.state_dir)?;
    let log: Box<dyn EventLog> = match options.engine {
        Engine::Redb => Box::new(RedbLog::open(&options.state_dir, &options.program_version)?),
        Engine::Memory => Box::new(MemoryLog::default()),
    };
    let seed = match options.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(StartError::Random)?,
    };
    let prepared = driver::prepare(log, options.config, seed)?;
    let token = match &options.token {
        Some(token) => token.clone(),
        None => folder::token_of(&options.state_dir)?,
    };
    let tls = match &options.tls {
        Some(wanted) => Some(tls_of(&options.state_dir, wanted)?),
        None => None,
    };
    Ok(Opened {
        lock,
        prepared,
        token,
        tls,
    })
}

fn tls_of(dir: &Path, wanted: &TlsOptions) -> Result<Tls, StartError> {
    let authority = folder::authority_of(dir)?;
    let made = Tls::new(authority, wanted.names.clone(), wanted.life);
    made.map_err(|error| StartError::Certificate(error.to_string()))
}

fn listen_address(options: &Options) -> SocketAddr {
    options
        .listen
        .unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
}

/// Where any port will do, the last run's first: workers that lost their coordinator look there.
async fn listen(options: &Options) -> Result<TcpListener, StartError> {
    let address = listen_address(options);
    if address.port() == 0
        && let Some(port) = folder::remembered_port(&options.state_dir)
        && let Ok(listener) = TcpListener::bind(SocketAddr::new(address.ip(), port)).await
    {
        return Ok(listener);
    }
    TcpListener::bind(address).await.map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            StartError::PortInUse { address }
        } else {
            StartError::Listen { address, source }
        }
    })
}

/// Answers probes from here on, if that is wanted: where, and what has to be told when it runs.
async fn probe(
    options: &Options,
    refusals: &Refusals,
    stopping: &CancellationToken,
) -> Result<Option<(SocketAddr, Arc<Answers>)>, StartError> {
    let Some(address) = options.http else {
        return Ok(None);
    };
    let listener = http::listen(address).await?;
    let local = listener.local_addr();
    let address = local.map_err(|source| StartError::Listen { address, source })?;
    let (keeper, version) = (options.keeper.clone(), options.program_version.clone());
    let answers = Arc::new(Answers::new(refusals.clone(), keeper, version));
    tokio::spawn(http::serve(
        listener,
        Arc::clone(&answers),
        stopping.clone(),
    ));
    tracing::info!(%address, "answers probes and shows metrics");
    Ok(Some((address, answers)))
}

fn announce(options: &Options, address: SocketAddr) -> Result<(), StartError> {
    let dir: &Path = &options.state_dir;
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let endpoint = Endpoint {
        address,
        pid: std::process::id(),
        started_at_ms: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
        program_version: options.program_version.clone(),
        tls: options.tls.is_some(),
    };
    let failed = |source| StartError::File {
        verb: "write",
        path: dir.join("endpoint.json"),
        source,
    };
    folder::remember_port(dir, address.port()).map_err(failed)?;
    folder::publish(dir, &endpoint).map_err(failed)
}

/// Without its server a coordinator is of no use: it stops with it.
fn serve(
    server: Server,
    listener: TcpListener,
    token: Secret,
    tls: Option<Tls>,
) -> watch::Receiver<Option<String>> {
    let (failed, served) = watch::channel(None);
    tokio::spawn(async move {
        let client = server.client().clone();
        if let Err(error) = grpc::serve(server, listener, token, tls).await {
            tracing::error!(%error, "the server ended by itself; the coordinator stops");
            failed.send_replace(Some(format!("its server ended by itself ({error})")));
            client.stop();
        }
    });
    served
}
