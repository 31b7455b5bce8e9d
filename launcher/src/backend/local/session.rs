//! One run of a job, from its submission to its end: a loop over what happens.

use super::admission::Admitted;
use super::fleet::{Fleet, has_local_work, is_local};
use super::worker::{Coordinator, Launch};
use super::{connect, stopped, sweeping};
use crate::backend::signals::{Signal, Signals};
use crate::client::{Client, Submit, is_away, refusal, submit};
use crate::commands::Context;
use crate::commands::status::has_ended;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::job::PreparedJob;
use crate::marker;
use crate::output::{Progress, count, duration, is_training, shards};
use crate::reuse::Reuse;
use crate::state::JobFolder;
use crate::summary;
use petctl_core::Rerun;
use petctl_proto::v1::{JobStatus, Submission, SubmitJobResponse, WatchJobResponse};
use petctl_rendezvous::{Handle, StopReason};
use rustix::process::Signal as ProcessSignal;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Streaming;

/// How long workers may take to leave by themselves when nothing runs any more.
const RELEASE_TIME: Duration = Duration::from_secs(1);
/// How long they may take when they are told to, beyond their commands' grace.
const LEAVE_TIME: Duration = Duration::from_secs(5);
/// How long a coordinator that answers nothing more may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What a worker needs beyond its commands' grace to say that it leaves.
const STOP_MARGIN: Duration = Duration::from_secs(2);
/// The same for a training, whose last checkpoints are told to the coordinator before its workers leave.
const TRAINING_STOP_MARGIN: Duration = Duration::from_secs(10);

/// How a job is run here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// `--workers`, which counts more than what the job was scaled to before.
    pub(crate) workers: Option<u32>,
    /// What runs again although it is done.
    pub(crate) rerun: Rerun,
    /// Say why shards run again.
    pub(crate) why_rerun: bool,
    pub(crate) yes: bool,
    pub(crate) heartbeat_timeout_ms: Option<u64>,
    /// The process that waits for this one is told when the job is accepted.
    pub(crate) detached: bool,
}

/// Runs an admitted job.
pub(super) async fn run(
    context: &Context,
    folder: &JobFolder,
    handle: &Handle,
    job: PreparedJob,
    settings: Settings,
    admitted: Admitted,
) -> Result<Exit> {
    let signals = Signals::listen()?;
    let launch = Launch::new(folder, Coordinator::here(folder, handle), &job.spec);
    let sizes = &job.spec.workers;
    if let Some(shortage) = launch.shortage(sizes.wanted.saturating_add(sizes.spares)) {
        context.out.warn(&shortage);
    }
    let mut fleet = Fleet::new(launch, Some(handle.clone()));
    let adopted = fleet.adopt().await?;
    sweeping::before(context, folder, &job, adopted).await?;
    let first_wanted = job.spec.workers.wanted;
    if admitted.first && settings.rerun != Rerun::All {
        // Nothing can say otherwise, so they start while the job is submitted.
        fleet.want(useful_workers(&job, first_wanted))?;
        fleet.want_launcher(job.spec.stages.iter().any(is_local))?;
    }
    let mut session = Session {
        context,
        handle: handle.clone(),
        job,
        first_wanted,
        fleet,
        signals,
        progress: context.out.progress(),
        stop: Stop::No,
        grace: Duration::ZERO,
        training: false,
        ended: false,
    };
    let mut ended = session.run(folder, &settings, &admitted, adopted).await;
    if let Err(error) = ended {
        ended = Err(session.cause(error).await);
    }
    session.progress.finish();
    session.dismiss(ended.is_ok()).await;
    if session.fleet.is_empty() {
        sweeping::sweep(context, folder, &session.job, session.ended).await;
    }
    ended
}

struct Session<'a> {
    context: &'a Context,
    handle: Handle,
    job: PreparedJob,
    /// Workers wanted by the job file; a job is scaled when its status says something else.
    first_wanted: u32,
    fleet: Fleet,
    signals: Signals,
    progress: Progress,
    stop: Stop,
    grace: Duration,
    /// A training is under way: it has no end to wait for.
    training: bool,
    /// The job has ended.
    ended: bool,
}

/// How far the user's wish to stop has come.
#[derive(Debug)]
enum Stop {
    No,
    /// Nothing new starts; what runs ends by itself.
    Draining(Exit),
    /// What runs is being stopped, and killed at that time.
    Stopping(Exit, Instant),
}

impl Session<'_> {
    async fn run(
        &mut self,
        folder: &JobFolder,
        settings: &Settings,
        admitted: &Admitted,
        adopted: usize,
    ) -> Result<Exit> {
        let mut client = connect(&self.handle).await?;
        folder.write_card(&admitted.card)?;
        let how = Submit {
            rerun: settings.rerun.clone(),
            plan_only: false,
        };
        let accepted = submit(&mut client, &self.job, &how).await?;
        if accepted.reused > 0 && !admitted.output_marked {
            return Err(self.output_missing(accepted.reused));
        }
        if !admitted.mark_first {
            marker::mark(&self.job.spec, &self.job.fingerprint_hex()).await?;
        }
        self.grace = Duration::from_millis(
            self.job
                .spec
                .stages
                .iter()
                .map(|stage| stage.grace_ms)
                .max()
                .unwrap_or(0),
        );
        let reuse = Reuse::of(&self.job, &accepted);
        self.announce(&accepted, &reuse, adopted);
        if settings.why_rerun {
            self.explain(admitted, &reuse);
        }
        if admitted.same_output {
            self.drop_shards(&reuse).await?;
        }
        if matches!(
            accepted.submission(),
            Submission::Resumed | Submission::Retried
        ) && !client.resume(&self.job.spec.name).await?
        {
            let name = &self.job.spec.name;
            self.context
                .out
                .say(&format!("{name}: was suspended, and goes on"));
        }
        if settings.detached {
            super::detach::accepted(&self.job.spec.name);
        }
        if accepted.submission() == Submission::Finished {
            self.ended = true;
            return self.report(&mut client).await;
        }
        if let Some(workers) = settings.workers {
            self.scale(&mut client, workers).await?;
        }
        let stream = client.watch(&self.job.spec.name).await?;
        match self.watch(&client, stream).await? {
            Ended::Job => {
                self.ended = true;
                self.report(&mut client).await
            }
            Ended::Stopped(exit) => {
                self.progress.finish();
                let resume = admitted.card.resume_command();
                self.context.out.say(&format!(
                    "stopped; nothing that was done is lost. To go on: {resume}"
                ));
                Ok(exit)
            }
        }
    }

    fn announce(&self, accepted: &SubmitJobResponse, reuse: &Reuse, adopted: usize) {
        let name = &self.job.spec.name;
        let what = reuse.describe(accepted);
        self.context.out.say(&format!(
            "{name}: {what}; {}; output {}",
            self.job.describe_work(),
            self.job.spec.storage.output
        ));
        if adopted > 0 {
            let workers = count(adopted as u64, "worker", "workers");
            self.context.out.say(&format!(
                "{name}: goes on with {workers} that outlived an earlier run"
            ));
        }
    }

    fn explain(&self, admitted: &Admitted, reuse: &Reuse) {
        for line in reuse.explained() {
            self.context.out.say(&line);
        }
        if !admitted.changes.is_empty() {
            let changes = admitted.changes.join(", ");
            self.context
                .out
                .say(&format!("  changed in the job file: {changes}"));
        }
    }

    /// Outputs of shards that are no part of the job any more would look like results of it.
    async fn drop_shards(&self, reuse: &Reuse) -> Result<()> {
        if reuse.dropped.is_empty() {
            return Ok(());
        }
        let dropped = self.job.drop_shards(&reuse.dropped).await?;
        if dropped > 0 {
            let name = &self.job.spec.name;
            let outputs = count(
                dropped,
                "shard that is no part of the job any more is",
                "shards that are no part of the job any more are",
            );
            self.context
                .out
                .say(&format!("{name}: the output of {outputs} removed"));
        }
        Ok(())
    }

    /// The loop. Ends when the job has ended, or when the user's stop is complete.
    async fn watch(
        &mut self,
        client: &Client,
        mut stream: Streaming<WatchJobResponse>,
    ) -> Result<Ended> {
        let (drain, mut drained) = mpsc::channel(1);
        let mut drain = Some(drain);
        let handle = self.handle.clone();
        let stopped_by_itself = handle.stopped();
        tokio::pin!(stopped_by_itself);
        loop {
            let wake = self.wake_at();
            tokio::select! {
                message = stream.message() => {
                    let message = message.map_err(|status| refusal(client.address(), &status))?;
                    let status = message.and_then(|message| message.status).ok_or_else(stopped)?;
                    if self.observe(&status)? {
                        return Ok(Ended::Job);
                    }
                }
                death = self.fleet.next_death() => {
                    let respawn = !matches!(self.stop, Stop::Stopping(..));
                    if let Some(said) = self.fleet.bury(death, respawn)? {
                        self.progress.say(&format!("  {said}; another one takes its place"));
                    }
                    if let Stop::Stopping(exit, _) = self.stop && self.fleet.is_empty() {
                        return Ok(Ended::Stopped(exit));
                    }
                }
                signal = self.signals.next() => {
                    if let Some(drain) = self.signal(signal, &mut drain) {
                        self.drain(drain);
                    }
                }
                Some(()) = drained.recv() => {
                    if let Stop::Draining(exit) = self.stop {
                        return Ok(Ended::Stopped(exit));
                    }
                }
                reason = &mut stopped_by_itself => return Err(stop_error(&reason)),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.wake()?,
            }
        }
    }

    /// Whether the job has ended.
    fn observe(&mut self, status: &JobStatus) -> Result<bool> {
        self.progress.update(status);
        self.fleet.observe(status);
        self.training = status.groups.iter().any(is_training);
        if status
            .summary
            .as_ref()
            .is_some_and(|summary| has_ended(summary.state()))
        {
            return Ok(true);
        }
        if matches!(self.stop, Stop::No) {
            let wanted = status.wanted_workers;
            let target = if wanted == self.first_wanted {
                useful_workers(&self.job, wanted)
            } else {
                with_spares(&self.job, wanted)
            };
            self.fleet.want(target)?;
            self.fleet
                .want_launcher(has_local_work(&self.job.spec, status))?;
        }
        Ok(false)
    }

    /// One more wish to stop. Answers the sender for [`Self::drain`] when that is what it asks for.
    fn signal(
        &mut self,
        signal: Signal,
        drain: &mut Option<mpsc::Sender<()>>,
    ) -> Option<mpsc::Sender<()>> {
        let exit = match signal {
            Signal::Interrupt => Exit::Interrupted,
            Signal::Terminate => Exit::Terminated,
            Signal::HangUp => {
                // The terminal is gone; `petctl list` finds the job.
                self.progress.finish();
                return None;
            }
        };
        match self.stop {
            Stop::No if self.training => {
                self.progress.say(&format!(
                    "stopping the training: its processes have {} to save; Ctrl-C again kills them",
                    duration(u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX))
                ));
                self.stop_workers(exit, TRAINING_STOP_MARGIN);
                None
            }
            Stop::No => {
                self.stop = Stop::Draining(exit);
                drain.take()
            }
            Stop::Draining(exit) => {
                self.progress
                    .say("stopping what runs; Ctrl-C again kills it");
                self.stop_workers(exit, STOP_MARGIN);
                None
            }
            Stop::Stopping(exit, _) => {
                self.stop = Stop::Stopping(exit, Instant::now());
                None
            }
        }
    }

    /// Workers pass SIGTERM on to what they run, wait out its grace, and leave.
    fn stop_workers(&mut self, exit: Exit, margin: Duration) {
        self.stop = Stop::Stopping(exit, Instant::now() + self.grace + margin);
        self.fleet.signal(ProcessSignal::TERM);
    }

    /// Nothing new starts; tells the loop when nothing runs any more.
    fn drain(&mut self, drained: mpsc::Sender<()>) {
        self.progress.say("draining: what runs goes on to its end, nothing new starts; Ctrl-C again stops what runs");
        let handle = self.handle.clone();
        tokio::spawn(async move {
            // Refused only by a coordinator that has stopped, which the loop sees itself.
            if handle.drain("petctl run was interrupted").await.is_ok() {
                let _loop_ended = drained.send(()).await;
            }
        });
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.stop {
            Stop::Stopping(_, kill_at) => Some(kill_at),
            Stop::No | Stop::Draining(_) => self.fleet.wake_at(),
        }
    }

    fn wake(&mut self) -> Result<()> {
        match self.stop {
            Stop::Stopping(exit, kill_at) if Instant::now() >= kill_at => {
                self.fleet.signal(ProcessSignal::KILL);
                // They are dead at once; this only keeps the loop from waking up for nothing.
                self.stop = Stop::Stopping(exit, Instant::now() + LEAVE_TIME);
                Ok(())
            }
            Stop::Stopping(..) => Ok(()),
            Stop::No | Stop::Draining(_) => self.fleet.fill(),
        }
    }

    /// `--workers` of a job that was here before.
    async fn scale(&self, client: &mut Client, workers: u32) -> Result<()> {
        let status = client.status(&self.job.spec.name).await?;
        if status.wanted_workers == workers {
            return Ok(());
        }
        let request = petctl_proto::v1::ScaleJobRequest {
            job: self.job.spec.name.clone(),
            min: Some(status.min_workers.min(workers)),
            max: Some(status.max_workers.max(workers)),
            workers: Some(workers),
        };
        client.scale(request).await.map(|_sizes| ())
    }

    async fn report(&mut self, client: &mut Client) -> Result<Exit> {
        self.progress.finish();
        let name = &self.job.spec.name;
        let status = client.status(name).await?;
        let rows = client.shards(name, &summary::query(&status)).await?;
        let resume = format!("petctl run {}", crate::shell::quote(&self.job.file.shown));
        Ok(summary::show(self.context, Some(&resume), &status, &rows))
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
        let away = is_away(&error);
        let patience = if away { LAST_WORDS } else { Duration::ZERO };
        let Ok(reason) = timeout(patience, self.handle.stopped()).await else {
            return error;
        };
        self.fleet.coordinator_stopped();
        if away { stop_error(&reason) } else { error }
    }

    /// Waits for the workers to leave, and sees to it that they do. Nobody releases those of a run that broke off.
    async fn dismiss(&mut self, released: bool) {
        let steps = [
            (None, RELEASE_TIME),
            (Some(ProcessSignal::TERM), self.grace + LEAVE_TIME),
            (Some(ProcessSignal::KILL), LEAVE_TIME),
        ];
        for (signal, time) in steps.into_iter().skip(usize::from(!released)) {
            if let Some(signal) = signal {
                self.fleet.signal(signal);
            }
            if timeout(time, self.all_dead()).await.is_ok() {
                return;
            }
        }
        self.context.out.warn(&format!(
            "{} can't be killed",
            count(self.fleet.len() as u64, "worker", "workers")
        ));
    }

    async fn all_dead(&mut self) {
        while !self.fleet.is_empty() {
            let death = self.fleet.next_death().await;
            // Nothing is started again, so nothing can go wrong.
            let _said = self.fleet.bury(death, false);
        }
    }
}

/// How the loop ended.
enum Ended {
    Job,
    Stopped(Exit),
}

fn with_spares(job: &PreparedJob, wanted: u32) -> usize {
    let all = wanted.saturating_add(job.spec.workers.spares);
    usize::try_from(all).unwrap_or(usize::MAX)
}

/// More workers than shards would only start and leave. A training wants all of them.
fn useful_workers(job: &PreparedJob, wanted: u32) -> usize {
    if job.trains() {
        return with_spares(job, wanted);
    }
    let slots = u64::from(job.spec.workers.slots.max(1));
    let on_workers = |stage: &usize| {
        job.spec
            .stages
            .get(*stage)
            .is_some_and(|stage| !is_local(stage))
    };
    let stages = (0..job.spec.stages.len()).filter(on_workers);
    let useful = stages
        .map(|stage| job.shard_count(stage))
        .sum::<u64>()
        .div_ceil(slots)
        .max(u64::from(job.spec.workers.min));
    usize::try_from(useful.min(u64::from(wanted))).unwrap_or(usize::MAX)
}

fn stop_error(reason: &StopReason) -> Error {
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
