//! How a node finds its run: it connects to the endpoint, starts the coordinator there if that is its part, and
//! submits the run's job, or finds it submitted.

use super::endpoint::Endpoint;
use super::host::{self, Hosted, Started};
use super::job::Job;
use petctl_client::{Client, Look, Submit, is_away, submit};
use petctl_core::{Rerun, StageContents};
use petctl_job::listing::Listed;
use petctl_job::{JobFile, PreparedJob};
use petctl_proto::v1::JobStatus;
use petctl_text::Secret;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::Output;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Between two tries: this at first, and no longer than that.
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_millis(500);
/// How long the nodes of an ended run may take to go before another of that id begins.
const FAREWELL: Duration = Duration::from_secs(10);

/// Where a run's nodes meet, as one node sees it.
#[derive(Debug)]
pub(super) struct MeetingPoint<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// Where this node may start the coordinator.
    pub(super) listen: Option<SocketAddr>,
    pub(super) token: &'a Secret,
    pub(super) job: &'a Job,
}

/// A run that was found.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) client: Client,
    /// Of the job, as its coordinator numbers it.
    pub(super) job_id: u64,
}

/// What one try came to.
enum Try {
    Joined(Box<Joined>),
    /// Nobody is there.
    Away,
    /// Somebody else's coordinator is there.
    Foreign,
    /// Of this id, but another run, which is ending.
    Ending,
}

impl MeetingPoint<'_> {
    /// Tries until it works or `deadline` has passed.
    pub(super) async fn join(
        &self,
        hosted: &mut Option<Hosted>,
        deadline: Instant,
        out: &Output,
    ) -> Result<Joined> {
        let mut pause = FIRST_RETRY;
        let mut told = false;
        let mut ending_since = None;
        loop {
            match self.attempt(ending_since).await? {
                Try::Joined(joined) => return Ok(*joined),
                Try::Away => {
                    if let Some(listen) = self.listen {
                        let token = self.token.clone();
                        let started =
                            tokio::task::spawn_blocking(move || host::start(listen, &token));
                        match started.await.map_err(|_| bug())?? {
                            Started::Runs(runs) => {
                                *hosted = Some(runs);
                                pause = FIRST_RETRY;
                                continue;
                            }
                            Started::Taken => {}
                        }
                    }
                }
                Try::Foreign if !told => {
                    told = true;
                    out.warn(&format!(
                        "{} is in use by another run, whose --rdzv-id or token differs; waiting for it to end",
                        self.endpoint
                    ));
                }
                Try::Foreign => {}
                Try::Ending => {
                    ending_since.get_or_insert_with(Instant::now);
                }
            }
            if Instant::now() + pause > deadline {
                return Err(self.too_late());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LAST_RETRY);
        }
    }

    async fn attempt(&self, ending_since: Option<Instant>) -> Result<Try> {
        let address = format!("http://{}", self.endpoint);
        let mut client = match Client::connect(&address, self.token).await {
            Ok(client) => client,
            Err(error) if is_away(&error) => return Ok(Try::Away),
            Err(error) => return Err(error),
        };
        let name = self.job.spec.name.clone();
        let there = match client.status(&name).await {
            Ok(status) => Some(status),
            Err(error) if error.is(Code::NoSuchJob) => None,
            Err(error) => return Self::not_now(error),
        };
        let over = there.as_ref().is_some_and(JobStatus::has_ended);
        if let Some(status) = there
            .as_ref()
            .filter(|status| over && !status.members.is_empty())
            && ending_since.is_none_or(|since| since.elapsed() < FAREWELL)
        {
            tracing::debug!(
                members = status.members.len(),
                "an earlier run of this id is ending"
            );
            return Ok(Try::Ending);
        }
        if let Some(status) = there.as_ref().filter(|_| !over) {
            self.check_agreement(status)?;
        }
        let how = Submit {
            rerun: if over { Rerun::All } else { Rerun::Changed },
            look: Look::default(),
            plan_only: false,
        };
        match submit(&mut client, &self.prepared(), &how).await {
            Ok(submitted) => Ok(Try::Joined(Box::new(Joined {
                client,
                job_id: submitted.job_id,
            }))),
            // Another node was first; what it submitted is seen in the next try.
            Err(error) if error.is(Code::JobRunning) || error.is(Code::JobExists) => {
                Ok(Try::Ending)
            }
            Err(error) => Self::not_now(error),
        }
    }

    fn not_now(error: Error) -> Result<Try> {
        if is_away(&error) {
            return Ok(Try::Away);
        }
        let is_one_of = |codes: &[Code]| codes.iter().any(|code| error.is(*code));
        if is_one_of(&[Code::TokenWrong, Code::TokenMissing, Code::Unauthenticated]) {
            return Ok(Try::Foreign);
        }
        if is_one_of(&[Code::CoordinatorDraining, Code::CoordinatorStopped]) {
            return Ok(Try::Ending);
        }
        Err(error)
    }

    /// All nodes of a run say the same about what holds for all of them.
    fn check_agreement(&self, status: &JobStatus) -> Result<()> {
        let own = &self.job.spec;
        let restarts = |status: &JobStatus| status.groups.first().map(|group| group.max_restarts);
        let own_restarts = own.stages.first().map(|stage| stage.budgets.failed);
        let agrees = status.min_workers == own.workers.min
            && status.max_workers == own.workers.max
            && restarts(status).is_none_or(|there| Some(there) == own_restarts);
        if agrees {
            return Ok(());
        }
        Err(Error::new(
            Code::TorchrunDisagree,
            format!(
                "the nodes of this run disagree: it was started with --nnodes {}:{} --max-restarts {}, and this node says \
                 --nnodes {}:{} --max-restarts {}",
                status.min_workers,
                status.max_workers,
                restarts(status).unwrap_or_default(),
                own.workers.min,
                own.workers.max,
                own_restarts.unwrap_or_default()
            ),
        )
        .fix("give the same on all nodes, or another --rdzv-id for another run"))
    }

    fn prepared(&self) -> PreparedJob {
        PreparedJob {
            file: JobFile {
                shown: "torchrun".to_owned(),
                path: PathBuf::from("/"),
                set: Vec::new(),
            },
            spec: self.job.spec.clone(),
            listed: vec![Listed::default()],
            contents: vec![StageContents::default()],
            fingerprint: self.job.fingerprint,
            date: None,
        }
    }

    fn too_late(&self) -> Error {
        let fix = if self.listen.is_some() {
            "see what listens on that port (`ss -tlnp`), or give another one"
        } else {
            "start the node whose address the endpoint is, and check that this machine may connect to it"
        };
        Error::new(
            Code::TorchrunTimeout,
            format!("no run was found at {} in time", self.endpoint),
        )
        .fix(fix)
    }
}

fn bug() -> Error {
    Error::new(Code::Bug, "starting a coordinator panicked")
}
