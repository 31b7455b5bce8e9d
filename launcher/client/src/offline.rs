//! A job read from its state folder, as its last coordinator left it.

use crate::ShardQuery;
use petctl_core::{
    Config, Core, JobId, Millis, Refusal, Rerun, ShardFilter, StageOutputs, State, Submission,
};
use petctl_job::PreparedJob;
use petctl_job::home::{JobCard, now_ms};
use petctl_proto::v1::{
    EventRow, ExplainJobResponse, JobState, JobStatus, JobSummary, ShardRow, SubmitJobResponse,
};
use petctl_rendezvous::event_log::LogError;
use petctl_rendezvous::{Offline, open_offline, wire};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use std::path::Path;

/// Records read at a time.
const PAGE: usize = 4_096;
/// Shards made into rows at a time.
const ROWS: usize = 4_096;
/// Events in a status.
const LAST_EVENTS: usize = 10;

/// What a coordinator that knows nothing of the job would answer to its submission.
///
/// # Errors
/// Why it would refuse.
pub fn plan_new(
    job: &PreparedJob,
    rerun: &Rerun,
    outputs: Vec<StageOutputs>,
) -> Result<SubmitJobResponse> {
    let core = Core::offline(Config::default(), State::default(), Millis(now_ms()));
    plan(&core, job, rerun, outputs)
}

fn plan(
    core: &Core,
    job: &PreparedJob,
    rerun: &Rerun,
    outputs: Vec<StageOutputs>,
) -> Result<SubmitJobResponse> {
    let listed = &job.listed;
    let submission = Submission {
        spec: job.spec.clone(),
        fingerprint: job.fingerprint,
        keys: listed.iter().map(|listed| listed.keys.clone()).collect(),
        details: listed.iter().map(|listed| listed.details.clone()).collect(),
        contents: job.contents.clone(),
        outputs,
        // Nothing runs that could commit: it stands as it did.
        seen: core.state().seen(&job.spec.name),
        new_output: false,
        rerun: rerun.clone(),
        plan_only: true,
    };
    petctl_rendezvous::plan(core, submission, Millis(now_ms())).map_err(|refusal| {
        let code = refusal.code.as_str();
        let exit = if code == Code::JobRunning.as_str() {
            Exit::TryAgain
        } else {
            Exit::BadConfiguration
        };
        Error::foreign(code, exit, refusal.message)
    })
}

/// A job on which nobody works.
pub struct OfflineJob {
    card: JobCard,
    /// `None`: its run ended before a coordinator had started.
    state: Option<Box<Offline>>,
}

impl OfflineJob {
    /// Reads what a coordinator has left in its folder.
    pub fn open(dir: &Path, card: &JobCard) -> Result<Self> {
        let state = match open_offline(dir, Config::default(), Millis(now_ms())) {
            Ok(state) => Some(Box::new(state)),
            Err(LogError::Missing { .. }) => None,
            Err(error) => return Err(storage_error(&error)),
        };
        Ok(Self {
            card: card.clone(),
            state,
        })
    }

    /// What the job's own coordinator would answer to its submission, with what was found at its output (nothing: nobody
    /// looked).
    ///
    /// # Errors
    /// Why it would refuse.
    pub fn plan(
        &self,
        job: &PreparedJob,
        rerun: &Rerun,
        outputs: Vec<StageOutputs>,
    ) -> Result<SubmitJobResponse> {
        match &self.state {
            Some(state) => plan(state.core(), job, rerun, outputs),
            None => plan_new(job, rerun, outputs),
        }
    }

    /// How the job stands.
    pub fn status(&self) -> Result<JobStatus> {
        let Some((state, job)) = self.found()? else {
            return Ok(self.never_accepted());
        };
        let now = Millis(now_ms());
        let Some(view) = state.core().job_view(now, job) else {
            return Ok(self.never_accepted());
        };
        let mut events = self.events()?;
        // Commits are counted above; what else happened is told.
        events.retain(|event| event.kind != "shard_committed");
        let skip = events.len().saturating_sub(LAST_EVENTS);
        let mut status = wire::job_status(view, events.split_off(skip), now);
        // Those of the last epoch; nobody works now.
        status.members.clear();
        if let Some(summary) = &mut status.summary {
            summary.workers = 0;
        }
        Ok(status)
    }

    /// Shards of the job that fit the query.
    pub fn shards(&self, query: &ShardQuery) -> Result<Vec<ShardRow>> {
        let Some((state, job)) = self.found()? else {
            return Ok(Vec::new());
        };
        let filter = ShardFilter {
            stage: query.stage.clone(),
            failed_only: query.failed_only,
            key: query.shard.clone(),
        };
        let mut rows = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from {
            let (page, next) = state.core().shards(job, &filter, start, ROWS);
            rows.extend(page.into_iter().map(wire::shard_row));
            from = next;
        }
        Ok(rows)
    }

    /// Everything that has happened to the job, oldest first.
    pub fn events(&self) -> Result<Vec<EventRow>> {
        let Some((state, job)) = self.found()? else {
            return Ok(Vec::new());
        };
        let mut rows = Vec::new();
        let mut next = 1;
        loop {
            let records = state
                .events(next, PAGE)
                .map_err(|error| storage_error(&error))?;
            let Some(last) = records.last() else {
                return Ok(rows);
            };
            next = last.sequence + 1;
            let ours = records
                .iter()
                .filter(|record| record.event.job() == Some(job));
            rows.extend(ours.map(|record| wire::event_row(state.core().state(), record)));
        }
    }

    /// Why shards stand where they stand.
    pub fn explain(&self, stage: &str, shard: &str) -> Result<ExplainJobResponse> {
        let Some((state, job)) = self.found()? else {
            let reason = petctl_proto::v1::Reason {
                code: Code::JobNotRunning.as_str().to_owned(),
                message: "its run ended before the job was accepted; run it again".to_owned(),
            };
            return Ok(ExplainJobResponse {
                reasons: vec![reason],
                shards: Vec::new(),
            });
        };
        let found = state
            .core()
            .explain(Millis(now_ms()), job, stage, shard)
            .map_err(|error| refused(&error))?;
        let mut answer = ExplainJobResponse::default();
        for explanation in found {
            answer.reasons.push(wire::reason(explanation.reason));
            answer.shards.extend(explanation.shard.map(wire::shard_row));
        }
        Ok(answer)
    }

    /// The state and the job's number in it; `None` where it was never accepted.
    fn found(&self) -> Result<Option<(&Offline, JobId)>> {
        let Some(state) = &self.state else {
            return Ok(None);
        };
        match state.core().resolve(&self.card.name) {
            Ok(job) => Ok(Some((state, job))),
            Err(refusal) if refusal.code == Code::NoSuchJob => Ok(None),
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    fn never_accepted(&self) -> JobStatus {
        let summary = JobSummary {
            name: self.card.name.clone(),
            state: JobState::Interrupted.into(),
            verdict: "its run ended before the job was accepted".to_owned(),
            ..JobSummary::default()
        };
        JobStatus {
            summary: Some(summary),
            output_root: self.card.output.clone(),
            at_ms: now_ms(),
            ..JobStatus::default()
        }
    }
}

fn storage_error(error: &LogError) -> Error {
    let exit = if matches!(error, LogError::InUse { .. }) {
        Exit::TryAgain
    } else {
        Exit::BadConfiguration
    };
    let made = Error::foreign(error.code().as_str(), exit, error.to_string());
    match std::error::Error::source(error) {
        Some(source) => made.because(source),
        None => made,
    }
}

fn refused(refusal: &Refusal) -> Error {
    Error::foreign(
        refusal.code.as_str(),
        Exit::NoSuchJob,
        refusal.message.clone(),
    )
}
