//! A job as commands look at it: asked of its coordinator while one runs, read from its state folder otherwise.

use crate::{Client, ConnectArgs, OfflineJob, ShardQuery, Target, is_away};
use petctl_job::Context;
use petctl_job::home::{JobCard, JobFolder, JobPlace};
use petctl_proto::v1::{EventRow, ExplainJobResponse, JobState, JobStatus, ShardRow};
use petctl_spec::JobSpec;
use petctl_text::called::{best, called};
use petctl_text::words::{nearest, shown};
use petctl_ui::error::{Code, Error, Result};
use std::time::Duration;

/// Attempts to look at a job that is just starting or just ending.
const ATTEMPTS: u32 = 20;
const RETRY: Duration = Duration::from_millis(100);

/// A job and where to ask about it.
pub struct View {
    /// Its name, or its number.
    pub job: String,
    /// What the launcher keeps of it; `None` for jobs of a coordinator elsewhere.
    pub card: Option<JobCard>,
    /// What is noted of a job that was run from here at a place elsewhere.
    pub noted: Option<JobPlace>,
    /// The job's own folder here, where it has one.
    pub folder: Option<JobFolder>,
    /// Where to ask.
    pub source: Source,
}

/// Where to ask.
pub enum Source {
    /// Its coordinator runs.
    Live(Target, Box<Client>),
    /// Nobody works on it.
    Offline(Box<OfflineJob>),
}

/// Checks that a job has the stage that is asked for, if one is.
///
/// # Errors
/// [`Code::NoSuchShard`] with the stages that it has.
pub fn check_stage(status: &JobStatus, stage: Option<&str>) -> Result<()> {
    let Some(stage) = stage.filter(|stage| !stage.is_empty()) else {
        return Ok(());
    };
    let known = || status.stages.iter().map(|known| known.name.as_str());
    if known().any(|known| known == stage) {
        return Ok(());
    }
    let job = status.summary.as_ref().map_or("", |summary| &summary.name);
    let stages = known().collect::<Vec<_>>().join(", ");
    let fix = nearest(stage, known()).map_or_else(
        || format!("its stages are {stages}"),
        |near| format!("did you mean `{near}`? Its stages are {stages}"),
    );
    Err(Error::new(
        Code::NoSuchShard,
        format!("job `{job}` has no stage `{}`", shown(stage)),
    )
    .fix(fix))
}

impl View {
    /// Finds the job that is meant.
    pub async fn open(context: &Context, connect: &ConnectArgs, job: Option<&str>) -> Result<Self> {
        if let Some(target) = Self::target(context, connect, job)? {
            let mut client = target.connect().await?;
            let job = match job {
                Some(job) => job.to_owned(),
                None => latest(&target, &mut client).await?,
            };
            let noted = noted(context, &target, &job);
            let source = Source::Live(target, Box::new(client));
            return Ok(Self {
                noted,
                job,
                card: None,
                folder: None,
                source,
            });
        }
        let home = context.home()?;
        let (folder, card) = home.find_job(job)?;
        let source = open_local(&folder, &card).await?;
        Ok(Self {
            job: card.name.clone(),
            card: Some(card),
            noted: None,
            folder: Some(folder),
            source,
        })
    }

    /// Where the job is, if it is elsewhere than on this machine: as the command line says, else where it was last run.
    ///
    /// # Errors
    /// Where the settings, or what is kept of the job, can't be read.
    pub fn target(
        context: &Context,
        connect: &ConnectArgs,
        job: Option<&str>,
    ) -> Result<Option<Target>> {
        match Target::find_here(connect)? {
            None if connect.on.is_none() => elsewhere(context, job),
            target => Ok(target),
        }
    }

    /// The same for a command that changes the job, which only its coordinator can.
    pub async fn open_live(
        context: &Context,
        connect: &ConnectArgs,
        job: Option<&str>,
    ) -> Result<(Self, Client)> {
        let mut view = Self::open(context, connect, job).await?;
        match &view.source {
            Source::Live(_, client) => {
                let client = Client::clone(client);
                Ok((view, client))
            }
            Source::Offline(_) => Err(view.not_running().await),
        }
    }

    /// How the job stands.
    pub async fn status(&mut self) -> Result<JobStatus> {
        self.ask(async |source: &mut Source, job: &str| match source {
            Source::Live(_, client) => client.status(job).await,
            Source::Offline(offline) => offline.status(),
        })
        .await
    }

    /// Shards of the job that fit the query.
    pub async fn shards(&mut self, query: &ShardQuery) -> Result<Vec<ShardRow>> {
        let rows = self
            .ask(async |source: &mut Source, job: &str| match source {
                Source::Live(_, client) => client.shards(job, query).await,
                Source::Offline(offline) => offline.shards(query),
            })
            .await?;
        if query.shard.is_empty() {
            return Ok(rows);
        }
        Ok(best(rows, |row| {
            called(&query.shard, &row.stage_name, &row.key)
        }))
    }

    /// Everything that has happened to the job, oldest first.
    pub async fn events(&mut self) -> Result<Vec<EventRow>> {
        self.ask(async |source: &mut Source, job: &str| match source {
            Source::Live(_, client) => client.all_events(job).await,
            Source::Offline(offline) => offline.events(),
        })
        .await
    }

    /// Why shards stand where they stand.
    pub async fn explain(&mut self, stage: &str, shard: &str) -> Result<ExplainJobResponse> {
        self.ask(async |source: &mut Source, job: &str| match source {
            Source::Live(_, client) => client.explain(job, stage, shard).await,
            Source::Offline(offline) => offline.explain(stage, shard),
        })
        .await
    }

    /// Asks; a job of this machine once more where its run has just ended.
    async fn ask<T>(&mut self, ask: impl AsyncFn(&mut Source, &str) -> Result<T>) -> Result<T> {
        match ask(&mut self.source, &self.job).await {
            Err(error) if is_away(&error) => {
                let (Some(folder), Some(card)) = (&self.folder, &self.card) else {
                    return Err(error);
                };
                self.source = open_local(folder, card).await?;
                ask(&mut self.source, &self.job).await
            }
            answer => answer,
        }
    }

    /// The command that goes on with the job, where it is known.
    pub fn resume_command(&self) -> Option<String> {
        let here = self.card.as_ref().map(JobCard::resume_command);
        here.or_else(|| self.noted.as_ref().map(|noted| noted.resume.clone()))
    }

    /// The job as it is on this machine, where it was submitted from here.
    #[must_use]
    pub fn spec(&self) -> Option<&JobSpec> {
        let here = self.card.as_ref().map(|card| &card.spec);
        here.or_else(|| self.noted.as_ref()?.spec.as_ref())
    }

    async fn not_running(&mut self) -> Error {
        let state = self
            .status()
            .await
            .ok()
            .and_then(|status| status.summary)
            .map(|summary| summary.state());
        let name = &self.job;
        match state {
            Some(JobState::Succeeded | JobState::Failed | JobState::Cancelled) => {
                Error::new(Code::JobNotRunning, format!("job `{name}` has ended"))
                    .fix(format!("`petctl status {name}` says how it ended"))
            }
            Some(
                JobState::Unspecified
                | JobState::Waiting
                | JobState::Running
                | JobState::Cancelling
                | JobState::Suspended
                | JobState::Interrupted,
            )
            | None => {
                let resume = self
                    .resume_command()
                    .unwrap_or_else(|| "petctl run JOB.toml".to_owned());
                Error::new(
                    Code::JobNotRunning,
                    format!("job `{name}` was interrupted: nobody works on it"),
                )
                .fix(format!("go on with it: {resume}"))
            }
        }
    }
}

/// What is noted here of a job at a place.
fn noted(context: &Context, target: &Target, job: &str) -> Option<JobPlace> {
    let folder = context.home().ok()?.remote(job);
    let noted = folder.place().ok().flatten()?;
    (Some(noted.place.as_str()) == target.place()).then_some(noted)
}

/// The place of a job that was last run elsewhere than on this machine; without a name, of the job that was run last.
fn elsewhere(context: &Context, job: Option<&str>) -> Result<Option<Target>> {
    // Without a folder nothing is remembered.
    let Ok(home) = context.home() else {
        return Ok(None);
    };
    match home.last_run(job)? {
        Some(folder) => Target::remembered(&folder),
        None => Ok(None),
    }
}

/// A job of this machine. It may start or end at this very moment, so that its coordinator is not there yet or no
/// more: then both ways are tried again.
async fn open_local(folder: &JobFolder, card: &JobCard) -> Result<Source> {
    let target = Target::of_job(folder);
    let mut attempts = 0;
    loop {
        let failed = if folder.is_live() {
            match connect(&target, &card.name).await {
                Ok(client) => return Ok(Source::Live(target, Box::new(client))),
                Err(error) if is_away(&error) => error,
                Err(error) => return Err(error),
            }
        } else {
            match OfflineJob::open(&folder.coordinator(), card) {
                Ok(job) => return Ok(Source::Offline(Box::new(job))),
                Err(error) if error.code() == Code::StateInUse.as_str() => error,
                Err(error) => return Err(error),
            }
        };
        attempts += 1;
        if attempts == ATTEMPTS {
            return Err(failed);
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A coordinator that answers: one that is about to stop still takes connections.
async fn connect(target: &Target, job: &str) -> Result<Client> {
    let mut client = target.connect().await?;
    match client.status(job).await {
        Err(error) if is_away(&error) => Err(error),
        // Whatever else it says is for whoever asks.
        Ok(_) | Err(_) => Ok(client),
    }
}

async fn latest(target: &Target, client: &mut Client) -> Result<String> {
    let jobs = client.jobs().await?;
    jobs.into_iter()
        .filter(|job| target.has(job))
        .max_by_key(|job| (job.submitted_at_ms, job.job_id))
        .map(|job| job.name)
        .ok_or_else(|| {
            Error::new(
                Code::NoSuchJob,
                format!("the coordinator at {} has no job", client.address()),
            )
            .fix(
                "submit one: petctl run JOB.toml, with --on PLACE or --coordinator ADDRESS as here",
            )
        })
}
