//! One node of a run: a worker with a command of its own, watched until the run has ended.

use super::summary::{self, LocalFailure, Node};
use petctl_client::Client;
use petctl_proto::v1::{FirstCause, JobState, JobStatus, RankFailure};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::{Output, count, duration, printable};
use petctl_worker::{Ended, News, Options, Shutdown, StopSignal, WorkerError};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

/// How long the coordinator may take to say how the run ended.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(5);
const HANG_UP: i32 = 1;
/// Two signals that come together are one wish.
const SAME_WISH: Duration = Duration::from_millis(500);

/// A node about to run.
pub(super) struct Agent<'a> {
    pub(super) out: &'a Output,
    pub(super) options: Options,
    pub(super) client: Client,
    /// Of the job, as a client names it.
    pub(super) job: String,
    pub(super) script: String,
    pub(super) signals: Listening,
    pub(super) stop_signal: StopSignal,
    pub(super) news: UnboundedReceiver<News>,
    /// How long the group may take to come together, each time.
    pub(super) join_timeout: Duration,
    /// `TORCHELASTIC_ERROR_FILE` of this process.
    pub(super) error_file: Option<PathBuf>,
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Exit(u8),
    /// Ended by this signal.
    Signal(i32),
    /// The coordinator went before anything was started: another may come.
    Again,
}

/// What has happened so far.
#[derive(Debug, Default)]
struct History {
    started: bool,
    running: bool,
    succeeded: bool,
    /// Of the last epoch in which something failed here.
    failures: Vec<LocalFailure>,
    failed_epoch: u64,
}

impl Agent<'_> {
    /// Runs it to its end.
    pub(super) async fn run(&mut self) -> Result<Verdict> {
        let shutdown = Shutdown::default();
        let name = self.options.name.clone();
        let host = host_of(&self.options);
        let mut history = History::default();
        let mut told: Option<(i32, Instant)> = None;
        let mut late = None;
        let mut deadline = Instant::now() + self.join_timeout;
        let worker = petctl_worker::run(self.options.clone(), shutdown.clone());
        tokio::pin!(worker);
        let ended = loop {
            tokio::select! {
                biased;
                Some(news) = self.news.recv() => {
                    self.hear(news, &mut history);
                    deadline = Instant::now() + self.join_timeout;
                }
                number = self.signals.next() => match told {
                    None => {
                        told = Some((number, Instant::now()));
                        self.stop_signal.set(number);
                        shutdown.drain.cancel();
                    }
                    Some((_, at)) if at.elapsed() > SAME_WISH => shutdown.now.cancel(),
                    Some(_) => {}
                },
                () = tokio::time::sleep_until(deadline), if !history.running && late.is_none() => {
                    let seen = self.look().await;
                    if seen.as_ref().is_some_and(runs_without) {
                        deadline = Instant::now() + self.join_timeout;
                    } else {
                        late = Some(self.too_few(seen));
                        shutdown.drain.cancel();
                    }
                }
                ended = &mut worker => break ended,
            }
        };
        while let Ok(news) = self.news.try_recv() {
            self.hear(news, &mut history);
        }
        if let Some((number, _)) = told {
            return Ok(Verdict::Signal(number));
        }
        if let Some(late) = late {
            return Err(late);
        }
        let node = Node {
            script: &self.script.clone(),
            host: &host,
            name: &name,
        };
        match ended {
            Ok(Ended::Released { .. }) => self.verdict(node, &history).await,
            Ok(Ended::Drained { reason }) => {
                self.out.warn(&format!(
                    "this node was taken out of the run: {}",
                    printable(&reason)
                ));
                Ok(Verdict::Exit(0))
            }
            Ok(Ended::Left | Ended::Stopped) => Ok(Verdict::Exit(0)),
            Err(WorkerError::CoordinatorLost { .. }) if !history.started => Ok(Verdict::Again),
            Err(error) => Err(petctl_local::worker_error(&error)),
        }
    }

    /// Ends all but its signals.
    pub(super) fn into_signals(self) -> Listening {
        self.signals
    }

    /// How the run stands; `None` where the coordinator can't say it.
    async fn look(&mut self) -> Option<JobStatus> {
        let asked = self.client.status(&self.job);
        match tokio::time::timeout(VERDICT_TIMEOUT, asked).await {
            Ok(Ok(status)) => Some(status),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the coordinator can't say how the run stands");
                None
            }
            Err(_late) => None,
        }
    }

    fn hear(&self, news: News, history: &mut History) {
        match news {
            News::Started { .. } => {
                history.started = true;
                history.running = true;
            }
            News::Failed {
                epoch,
                failure,
                error_file,
            } => {
                if epoch != history.failed_epoch {
                    history.failed_epoch = epoch;
                    history.failures.clear();
                }
                self.out.warn(&said(&failure));
                let age = Duration::from_millis(failure.age_ms);
                history.failures.push(LocalFailure {
                    at: SystemTime::now()
                        .checked_sub(age)
                        .unwrap_or_else(SystemTime::now),
                    what: failure,
                    error_file,
                });
            }
            News::Stopped { .. } => history.running = false,
            News::Succeeded { .. } => {
                history.succeeded = true;
                // What the others still do may take as long as it takes.
                history.running = true;
            }
        }
    }

    /// The run has ended: how, by the coordinator's word, or by what was seen here.
    async fn verdict(&mut self, node: Node<'_>, history: &History) -> Result<Verdict> {
        let status = self.look().await;
        let state = status.as_ref().and_then(|status| status.summary.as_ref());
        match state.map(petctl_proto::v1::JobSummary::state) {
            Some(JobState::Succeeded) => return Ok(Verdict::Exit(0)),
            Some(JobState::Cancelled) => {
                self.out.warn("the run was cancelled");
                return Ok(Verdict::Exit(petctl_ui::exit::Exit::Cancelled.number()));
            }
            None if history.succeeded => return Ok(Verdict::Exit(0)),
            _ => {}
        }
        let cause = status.as_ref().and_then(last_cause);
        let text = summary::text(node, cause, &history.failures);
        self.out.say_always(&text);
        if let (Some(own), Some(root)) = (
            &self.error_file,
            summary::root(node, cause, &history.failures),
        ) && let Err(error) = summary::pass_on(root, own)
        {
            self.out
                .warn(&format!("can't write {}: {error}", own.display()));
        }
        Ok(Verdict::Exit(1))
    }

    fn too_few(&self, seen: Option<JobStatus>) -> Error {
        let there = match seen {
            Some(status) => format!(
                "{} there, and {} at least are needed",
                count(status.members.len() as u64, "node was", "nodes were"),
                status.min_workers
            ),
            None => "the coordinator is gone".to_owned(),
        };
        Error::new(
            Code::TorchrunTimeout,
            format!(
                "the group did not come together in {}: {there}",
                duration(u64::try_from(self.join_timeout.as_millis()).unwrap_or(u64::MAX))
            ),
        )
        .fix("start the missing nodes with the same --rdzv-endpoint and --rdzv-id, or wait longer by --rdzv-conf join_timeout=SECONDS")
    }
}

/// Whether a group runs, though this node has no part in it: it is a spare, and may wait.
fn runs_without(status: &JobStatus) -> bool {
    let group = status.groups.first();
    group.is_some_and(|group| matches!(group.phase.as_str(), "running" | "preparing" | "stopping"))
}

fn last_cause(status: &JobStatus) -> Option<&FirstCause> {
    status.groups.first()?.causes.first()
}

fn host_of(options: &Options) -> String {
    options.host.clone().unwrap_or_else(|| {
        let system = rustix::system::uname();
        system.nodename().to_string_lossy().into_owned()
    })
}

fn said(failure: &RankFailure) -> String {
    format!(
        "rank {} (local rank {}, pid {}) failed: {}",
        failure.rank,
        failure.local_rank,
        failure.pid,
        printable(&failure.message)
    )
}

/// The signals that are passed on.
#[derive(Debug)]
pub(super) struct Listening {
    streams: Vec<(i32, Signal)>,
}

impl Listening {
    /// SIGHUP stays ignored where whoever started this process wants it so (`nohup`).
    pub(super) fn to(numbers: &[i32]) -> Result<Self> {
        let ignored = ignored();
        let heard = numbers
            .iter()
            .filter(|number| **number != HANG_UP || ignored & signal_bit(HANG_UP) == 0);
        let streams = heard
            .map(|number| signal(SignalKind::from_raw(*number)).map(|stream| (*number, stream)))
            .collect::<std::io::Result<_>>()
            .map_err(|error| Error::new(Code::Bug, "can't listen to signals").because(&error))?;
        Ok(Self { streams })
    }

    /// The number of the next one.
    pub(super) async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

fn signal_bit(number: i32) -> u64 {
    u32::try_from(number - 1)
        .ok()
        .and_then(|shift| 1_u64.checked_shl(shift))
        .unwrap_or(0)
}

fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
