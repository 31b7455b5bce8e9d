//! One run of a job, from its submission to its report: the same steps wherever its coordinator is and wherever its
//! workers run.

use crate::admission::Admission;
use crate::gain::Gain;
use crate::holding::Holding;
use crate::place;
use crate::{detach, sweeping};
use petctl_client::{Client, Submit, Target, is_away, stopped, submit};
use petctl_core::Rerun;
use petctl_job::home::{JobCard, JobFolder};
use petctl_job::{Context, PreparedJob};
use petctl_places::{Place, Stop, Wanted};
use petctl_proto::v1::{JobState, JobSummary, Submission, SubmitJobResponse};
use petctl_rendezvous::{Handle, StopReason};
use petctl_report::reuse::{Reuse, add_left};
use petctl_report::summary;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::signals::Signals;
use petctl_ui::terminal::{Progress, count, shards};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

/// How long workers may take to leave by themselves when nothing runs any more.
const RELEASE_TIME: Duration = Duration::from_secs(1);
/// How long they may take when they are told to, beyond their commands' grace.
pub(crate) const LEAVE_TIME: Duration = Duration::from_secs(5);
/// How long a coordinator that answers nothing more may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a job is run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `--workers`, which counts more than what the job was scaled to before.
    pub workers: Option<u32>,
    /// What runs again although it is done.
    pub rerun: Rerun,
    /// Say why shards run again.
    pub why_rerun: bool,
    /// Do not ask before earlier results are deleted.
    pub yes: bool,
    /// A worker that is not heard of for this long is given up, in ms.
    pub heartbeat_timeout_ms: Option<u64>,
    /// Who watches it.
    pub watcher: Watcher,
}

/// Who watches a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watcher {
    /// Whoever started it.
    #[default]
    Terminal,
    /// This process, in the background; the one that waits for it is told when the job is accepted.
    Background,
    /// Nobody: the job's coordinator goes on with it.
    Nobody,
}

/// Whose coordinator the job has.
pub(crate) enum Host {
    /// It is in this process, and ends with the run.
    ThisRun(Handle),
    /// It was there before, and stays.
    Elsewhere(Target),
}

/// A run, and all that it works with.
pub(crate) struct Run<'a, P> {
    pub(crate) context: &'a Context,
    pub(crate) job: PreparedJob,
    pub(crate) settings: Settings,
    pub(crate) admission: Admission,
    pub(crate) host: Host,
    pub(crate) client: Client,
    /// What is kept of the job here; `None`: nothing.
    pub(crate) folder: Option<&'a JobFolder>,
    /// The output, which is this run's.
    pub(crate) holding: Option<Holding>,
    /// Where its workers run, as far as this run looks after them.
    pub(crate) place: Option<P>,
    /// Workers that outlived an earlier run.
    pub(crate) adopted: usize,
    /// Shards that are no part of the job any more and whose outputs were put aside, as long as nobody was told.
    pub(crate) put_aside: u64,
    /// Those that were put aside before the job was submitted, by stage and key.
    pub(crate) went_early: BTreeSet<(String, String)>,
    pub(crate) signals: Signals,
    pub(crate) progress: Progress,
    pub(crate) gain: Gain,
    /// The longest grace of its commands.
    pub(crate) grace: Duration,
    /// The job has ended.
    pub(crate) ended: bool,
}

/// How often the output is looked at again for what workers of before may have done or undone.
const LOOKS: u32 = 10;

/// How watching a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The job has ended.
    Job,
    /// The user's stop is complete.
    Stopped(Exit),
    /// The user has left; the job goes on.
    Left(Exit),
}

impl<P: Place<Error = Error>> Run<'_, P> {
    /// Runs it to its end, and sees to it that nothing is left of it.
    pub(crate) async fn run(mut self) -> Result<Exit> {
        let mut ended = self.steps().await;
        if let Err(error) = ended {
            ended = Err(self.cause(error).await);
        }
        self.progress.finish();
        let all_left = self.dismiss(ended.is_ok()).await;
        if let Some(folder) = self.folder
            && all_left
            && (self.is_host() || self.ended)
        {
            let lineage = self.lineage().await;
            sweeping::sweep(self.context, folder, &self.job, lineage, self.ended).await;
        }
        ended
    }

    /// Where the coordinator's leases are from; 0 where it does not answer any more.
    pub(crate) async fn lineage(&mut self) -> u64 {
        match &self.host {
            Host::ThisRun(handle) => handle.lineage().0,
            Host::Elsewhere(_) => {
                let status = self.client.status(&self.job.spec.name).await;
                status.map_or(0, |status| status.lineage)
            }
        }
    }

    async fn steps(&mut self) -> Result<Exit> {
        let mut accepted = self.submit().await?;
        if let Some(exit) = self.clear_noted().await? {
            return Ok(exit);
        }
        let mut looks = 0;
        while accepted.look_again && accepted.submission() == Submission::Finished && looks < LOOKS
        {
            looks += 1;
            let dropped = std::mem::take(&mut accepted.dropped);
            accepted = self.submit_again().await?;
            accepted.dropped.extend(dropped);
        }
        let reuse = Reuse::of(&self.job, &accepted);
        let fails = self.fails_already(&accepted).await?;
        self.announce(&accepted, &reuse, fails);
        if self.settings.why_rerun {
            self.explain(&reuse);
        }
        if self.admission.same_output || self.admission.output_marked {
            // The others went before the submission.
            let late = reuse.dropped.iter();
            let late = late.filter(|shard| !self.went_early.contains(*shard));
            let late: Vec<_> = late.cloned().collect();
            self.put_aside(&late).await?;
        }
        self.say_put_aside();
        self.resume(accepted.submission()).await?;
        match self.settings.watcher {
            Watcher::Terminal => {}
            Watcher::Background => detach::accepted(&self.job.spec.name),
            Watcher::Nobody => {
                if accepted.submission() == Submission::Finished
                    && let Some(holding) = self.holding.take()
                {
                    // No worker will do so.
                    holding.release().await;
                }
                self.context.out.line(&self.job.spec.name);
                self.context.out.say(&self.hint());
                return Ok(Exit::Success);
            }
        }
        if accepted.submission() == Submission::Finished {
            self.ended = true;
            return self.show_end().await;
        }
        if let Some(workers) = self.settings.workers {
            self.scale(workers).await?;
        }
        if let (Host::Elsewhere(_), Some(folder)) = (&self.host, self.folder) {
            sweeping::remember(folder, &self.job)?;
        }
        let mut ended = self.watch().await?;
        ended = self.or_its_end(ended).await;
        // One that failed or was cancelled is not said to be done.
        while ended == Ended::Job
            && accepted.look_again
            && looks < LOOKS
            && self.has_succeeded().await?
        {
            looks += 1;
            accepted = self.submit_again().await?;
            if accepted.submission() != Submission::Finished {
                let reuse = Reuse::of(&self.job, &accepted);
                self.announce(&accepted, &reuse, false);
                ended = self.watch().await?;
                ended = self.or_its_end(ended).await;
            }
        }
        match ended {
            Ended::Job => {
                self.ended = true;
                self.show_end().await
            }
            Ended::Stopped(exit) => {
                self.progress.finish();
                let card = self.admission.card.as_ref();
                let resume = card.map_or_else(String::new, JobCard::resume_command);
                self.context.out.say(&format!(
                    "stopped; nothing that was done is lost. To go on: {resume}"
                ));
                Ok(exit)
            }
            Ended::Left(exit) => {
                self.progress.finish();
                let waiting = if self.place.is_some() {
                    " Its local stages wait until it is run again."
                } else {
                    ""
                };
                self.context.out.say(&format!(
                    "{} goes on without this terminal.{waiting} {}",
                    self.job.spec.name,
                    self.hint()
                ));
                Ok(exit)
            }
        }
    }

    /// A job that has ended while its user stopped it has ended.
    async fn or_its_end(&mut self, ended: Ended) -> Ended {
        if ended == Ended::Job {
            return ended;
        }
        let status = self.client.status(&self.job.spec.name);
        match timeout(LAST_WORDS, status).await {
            Ok(Ok(status)) if status.has_ended() => Ended::Job,
            _ => ended,
        }
    }

    async fn submit(&mut self) -> Result<SubmitJobResponse> {
        if let (Some(folder), Some(card)) = (self.folder, &self.admission.card) {
            folder.write_card(card)?;
        }
        let (look, left) = self.admission.look_for(&mut self.client, &self.job).await?;
        if !self.runs_there().await? {
            // Before anything of this version runs: its later stages see its own shards only.
            self.put_aside(&left).await?;
            self.went_early.extend(left.iter().cloned());
        }
        self.note_clearing(look.seen.job)?;
        let how = Submit {
            rerun: self.settings.rerun.clone(),
            look,
            plan_only: false,
        };
        let mut accepted = submit(&mut self.client, &self.job, &how).await?;
        add_left(&mut accepted, left);
        if self.is_host() && accepted.reused > 0 && !self.admission.output_marked {
            return Err(self.output_missing(accepted.reused));
        }
        let lineage = self.lineage().await;
        if let Some(holding) = &self.holding {
            holding.name(lineage).await?;
        }
        if let (Host::Elsewhere(Target::Place(tunnel)), Some(folder)) = (&self.host, self.folder) {
            place::remember(folder, tunnel, &self.job)?;
        }
        self.admission.mark_accepted(&self.job).await?;
        Ok(accepted)
    }

    async fn has_succeeded(&mut self) -> Result<bool> {
        let status = self.client.status(&self.job.spec.name).await?;
        let state = status.summary.as_ref().map(JobSummary::state);
        Ok(state == Some(JobState::Succeeded))
    }

    /// Workers of before were at it, so nobody could say whether all is there that is said to be done. Now somebody can.
    async fn submit_again(&mut self) -> Result<SubmitJobResponse> {
        self.settings.rerun = Rerun::Changed;
        self.submit().await
    }

    /// Whether the coordinator is this run's own.
    pub(crate) fn is_host(&self) -> bool {
        matches!(self.host, Host::ThisRun(_))
    }

    /// A job that has ended and of which nothing runs again: whether it ended badly, by what was committed of it.
    async fn fails_already(&mut self, accepted: &SubmitJobResponse) -> Result<bool> {
        if accepted.submission() != Submission::Finished {
            return Ok(false);
        }
        let status = self.client.status(&self.job.spec.name).await?;
        let state = status.summary.as_ref().map(JobSummary::state);
        Ok(state.is_some_and(|state| state != JobState::Succeeded))
    }

    fn announce(&self, accepted: &SubmitJobResponse, reuse: &Reuse, fails: bool) {
        let name = &self.job.spec.name;
        let what = if fails {
            "none of its shards runs again unless --rerun asks for it, and it fails by what they found"
                .to_owned()
        } else {
            reuse.describe(accepted)
        };
        let work = self.job.describe_work();
        self.context.out.say(&match self.host {
            Host::ThisRun(_) => {
                format!(
                    "{name}: {what}; {work}; output {}",
                    self.job.spec.storage.output
                )
            }
            Host::Elsewhere(_) => {
                format!(
                    "{name}: {what}; coordinator {}; {work}",
                    self.client.address()
                )
            }
        });
        if self.adopted > 0 && self.is_host() {
            let workers = count(self.adopted as u64, "worker", "workers");
            self.context.out.say(&format!(
                "{name}: goes on with {workers} that outlived an earlier run"
            ));
        }
    }

    fn explain(&self, reuse: &Reuse) {
        for line in reuse.explained() {
            self.context.out.say(&line);
        }
        if !self.admission.changes.is_empty() {
            let changes = self.admission.changes.join(", ");
            self.context
                .out
                .say(&format!("  changed in the job file: {changes}"));
        }
    }

    /// A job that was suspended goes on when it is run.
    async fn resume(&mut self, submission: Submission) -> Result<()> {
        if !matches!(submission, Submission::Resumed | Submission::Retried) {
            return Ok(());
        }
        let name = &self.job.spec.name;
        match self.client.resume(name).await {
            Ok(true) => {}
            Ok(false) => self
                .context
                .out
                .say(&format!("{name}: was suspended, and goes on")),
            // Workers that outlived an earlier run had all of it done just now.
            Err(error) if error.is(Code::JobEnded) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// `--workers` of a job that was here before.
    async fn scale(&mut self, workers: u32) -> Result<()> {
        let status = self.client.status(&self.job.spec.name).await?;
        if status.wanted_workers == workers {
            return Ok(());
        }
        let request = petctl_proto::v1::ScaleJobRequest {
            job: self.job.spec.name.clone(),
            min: Some(status.min_workers.min(workers)),
            max: Some(status.max_workers.max(workers)),
            workers: Some(workers),
        };
        match self.client.scale(request).await {
            Err(error) if !error.is(Code::JobEnded) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn show_end(&mut self) -> Result<Exit> {
        self.progress.finish();
        let name = &self.job.spec.name;
        let status = self.client.status(name).await?;
        let rows = self.client.shards(name, &summary::query(&status)).await?;
        let resume = self.is_host().then(|| {
            let file = petctl_ui::shell::quote(&self.job.file.shown);
            format!("petctl run {file}")
        });
        Ok(summary::show(
            self.context,
            resume.as_deref(),
            &status,
            &rows,
        ))
    }

    fn output_missing(&self, reused: u64) -> Error {
        let (name, output) = (&self.job.spec.name, &self.job.spec.storage.output);
        Error::new(
            Code::OutputMissing,
            format!(
                "{} of job `{name}` are done, but their outputs are not in {output} any more",
                shards(reused)
            ),
        )
        .fix("put the folder back where it was, or run all of it again: --rerun all")
    }

    /// Why the run can't go on: a coordinator that stopped by itself breaks its streams before it says why.
    async fn cause(&mut self, error: Error) -> Error {
        let Host::ThisRun(handle) = &self.host else {
            return error;
        };
        let away = is_away(&error);
        let patience = if away { LAST_WORDS } else { Duration::ZERO };
        let Ok(reason) = timeout(patience, handle.stopped()).await else {
            return error;
        };
        if let Some(place) = &mut self.place {
            place.coordinator_stopped();
        }
        if away { stop_error(&reason) } else { error }
    }

    /// Waits for the workers to leave, and sees to it that they do; whether all have. Nobody releases those of a run
    /// that broke off, or whose coordinator goes on.
    async fn dismiss(&mut self, ended_well: bool) -> bool {
        let released = ended_well && self.is_host();
        let Some(place) = &mut self.place else {
            return true;
        };
        // Nothing is started any more, so nothing can go wrong.
        let _nothing = place.ensure(Wanted::NOTHING);
        let steps = [
            (None, RELEASE_TIME),
            (Some(Stop::Leave), self.grace + LEAVE_TIME),
            (Some(Stop::Kill), LEAVE_TIME),
        ];
        for (how, time) in steps.into_iter().skip(usize::from(!released)) {
            if let Some(how) = how {
                place.stop(how);
            }
            let all_dead = async {
                while !place.observe().is_empty() {
                    let _ended = place.ended().await;
                }
            };
            if timeout(time, all_dead).await.is_ok() {
                return true;
            }
        }
        self.context.out.warn(&format!(
            "{} can't be killed",
            count(place.observe().len() as u64, "worker", "workers")
        ));
        false
    }
}

/// The longest grace of a job's commands.
pub(crate) fn grace(job: &PreparedJob) -> Duration {
    let longest_ms = job.spec.stages.iter().map(|stage| stage.grace_ms).max();
    Duration::from_millis(longest_ms.unwrap_or(0))
}

/// Why the coordinator of this run has gone.
pub(crate) fn stop_error(reason: &StopReason) -> Error {
    match reason.code() {
        None => stopped(),
        Some(code) => Error::foreign(
            code.as_str(),
            Exit::TryAgain,
            format!("the coordinator stopped: {reason}"),
        )
        .fix("when the cause is gone, the same command goes on with the job"),
    }
}
