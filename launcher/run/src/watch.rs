//! Watching a job to its end: its status, its workers, and what the user wants.

use crate::flow::{Ended, Host, LEAVE_TIME, Run, stop_error};
use crate::local_stages::{has_local_work, is_local};
use petctl_client::{Client, Heard, Statuses, Target, is_away, stopped};
use petctl_job::PreparedJob;
use petctl_places::{Place, Stop as HowToStop, Wanted};
use petctl_proto::v1::JobStatus;
use petctl_rendezvous::{Handle, StopReason};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::signals::{Signal, Signals};
use petctl_ui::terminal::{Progress, duration, is_training};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// What a worker needs beyond its commands' grace to say that it leaves.
const STOP_MARGIN: Duration = Duration::from_secs(2);
/// The same for a training, whose last checkpoints are told to the coordinator before its workers leave.
const TRAINING_STOP_MARGIN: Duration = Duration::from_secs(10);

/// How far the user's wish to stop has come.
#[derive(Debug)]
enum Stop {
    No,
    /// Nothing new starts; what runs ends by itself.
    Draining(Exit),
    /// What runs is being stopped, and killed at that time.
    Stopping(Exit, Instant),
}

/// What the loop remembers from turn to turn.
struct Watch {
    stop: Stop,
    /// Taken by the first wish to stop, which drains.
    drain: Option<mpsc::Sender<()>>,
    /// A training is under way: it has no end to wait for.
    training: bool,
    /// Workers wanted by the job file; a job is scaled when its status says something else.
    first_wanted: u32,
}

impl<P: Place<Error = Error>> Run<'_, P> {
    /// The loop. Ends when the job has ended, or when the user's stop is complete.
    pub(crate) async fn watch(&mut self) -> Result<Ended> {
        let (drain, mut drained) = mpsc::channel(1);
        let mut watch = Watch {
            stop: Stop::No,
            drain: Some(drain),
            training: false,
            first_wanted: self.job.spec.workers.wanted,
        };
        if let (Host::Elsewhere(_), Some(place)) = (&self.host, &mut self.place) {
            place.ensure(Wanted {
                workers: 0,
                local_stages: self.job.spec.stages.iter().any(is_local),
            })?;
        }
        let mut statuses = match self.client.watch(&self.job.spec.name).await {
            Ok(statuses) => statuses,
            Err(error) if is_away(&error) => match self.reconnect().await? {
                Ok(again) => again,
                Err(left) => return Ok(Ended::Left(left)),
            },
            Err(error) => return Err(error),
        };
        let own = match &self.host {
            Host::ThisRun(handle) => Some(handle.clone()),
            Host::Elsewhere(_) => None,
        };
        let stopped_by_itself = stop_of(own);
        tokio::pin!(stopped_by_itself);
        loop {
            let kill_at = match watch.stop {
                Stop::Stopping(_, kill_at) => Some(kill_at),
                Stop::No | Stop::Draining(_) => None,
            };
            tokio::select! {
                heard = statuses.next() => match heard? {
                    Heard::Status(status) => {
                        if self.observe(&mut watch, &status)? {
                            return Ok(Ended::Job);
                        }
                    }
                    Heard::Lost(error) if self.is_host() => return Err(error),
                    Heard::Lost(_) => match self.reconnect().await? {
                        Ok(again) => statuses = again,
                        Err(left) => return Ok(Ended::Left(left)),
                    },
                },
                ended = ended_of(&mut self.place) => {
                    if let Some(said) = ended? {
                        self.progress.say(&format!("  {said}; another one takes its place"));
                    }
                    if let Stop::Stopping(exit, _) = watch.stop && self.is_alone() {
                        return Ok(Ended::Stopped(exit));
                    }
                }
                signal = self.signals.next() => {
                    if let Some(left) = self.signal(&mut watch, signal) {
                        return Ok(Ended::Left(left));
                    }
                }
                Some(()) = drained.recv() => {
                    if let Stop::Draining(exit) = watch.stop {
                        return Ok(Ended::Stopped(exit));
                    }
                }
                reason = &mut stopped_by_itself => return Err(stop_error(&reason)),
                () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => self.kill(&mut watch),
            }
        }
    }

    /// How a job that goes on without this process is followed.
    pub(crate) fn hint(&self) -> String {
        let name = &self.job.spec.name;
        match &self.host {
            // It is remembered where that runs.
            Host::Elsewhere(Target::Place(_)) => format!("Follow it: petctl status {name} --wait"),
            Host::Elsewhere(_) | Host::ThisRun(_) => format!(
                "Follow it: petctl status {name} --wait --coordinator {}",
                self.client.address()
            ),
        }
    }

    /// Finds the coordinator again. The inner error: the user has left meanwhile.
    async fn reconnect(&mut self) -> Result<Result<Statuses, Exit>> {
        let Host::Elsewhere(target) = &self.host else {
            return Err(stopped());
        };
        let job = &self.job.spec.name;
        tokio::select! {
            again = connect_again(target, job, &mut self.progress) => {
                let (client, stream) = again?;
                self.client = client;
                Ok(Ok(stream))
            }
            left = leave(&mut self.signals) => Ok(Err(left)),
        }
    }

    /// Whether the job has ended.
    fn observe(&mut self, watch: &mut Watch, status: &JobStatus) -> Result<bool> {
        self.progress.update(status);
        watch.training = status.groups.iter().any(is_training);
        let gained = self.gain.observe(status);
        let wanted = self.wanted(watch, status);
        if let Some(error) = given_up(status) {
            return Err(error);
        }
        if let Some(place) = &mut self.place {
            place.gained(gained);
            if !status.has_ended() && matches!(watch.stop, Stop::No) {
                place.ensure(wanted)?;
            }
        }
        Ok(status.has_ended())
    }

    /// The workers that the job wants of this run's place.
    fn wanted(&self, watch: &Watch, status: &JobStatus) -> Wanted {
        let wanted = status.wanted_workers;
        Wanted {
            workers: match self.host {
                Host::Elsewhere(_) => 0,
                Host::ThisRun(_) if wanted == watch.first_wanted => {
                    useful_workers(&self.job, wanted)
                }
                Host::ThisRun(_) => with_spares(&self.job, wanted),
            },
            local_stages: has_local_work(&self.job.spec, status),
        }
    }

    /// One more wish to stop. Answers where the user leaves the job to its coordinator.
    fn signal(&mut self, watch: &mut Watch, signal: Signal) -> Option<Exit> {
        let exit = match signal {
            Signal::Interrupt => Exit::Interrupted,
            Signal::Terminate => Exit::Terminated,
            Signal::HangUp => {
                if self.is_host() {
                    // The terminal is gone; `petctl list` finds the job.
                    self.progress.finish();
                }
                return None;
            }
        };
        let Host::ThisRun(handle) = &self.host else {
            return Some(exit);
        };
        match watch.stop {
            Stop::No if watch.training => {
                self.progress.say(&format!(
                    "stopping the training: its processes have {} to save; Ctrl-C again kills them",
                    duration(u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX))
                ));
                self.stop_workers(watch, exit, TRAINING_STOP_MARGIN);
            }
            Stop::No => {
                watch.stop = Stop::Draining(exit);
                if let Some(drained) = watch.drain.take() {
                    self.progress.say("draining: what runs goes on to its end, nothing new starts; Ctrl-C again stops what runs");
                    drain(handle.clone(), drained);
                }
            }
            Stop::Draining(exit) => {
                self.progress
                    .say("stopping what runs; Ctrl-C again kills it");
                self.stop_workers(watch, exit, STOP_MARGIN);
            }
            Stop::Stopping(exit, _) => watch.stop = Stop::Stopping(exit, Instant::now()),
        }
        None
    }

    /// Workers pass SIGTERM on to what they run, wait out its grace, and leave.
    fn stop_workers(&mut self, watch: &mut Watch, exit: Exit, margin: Duration) {
        watch.stop = Stop::Stopping(exit, Instant::now() + self.grace + margin);
        if let Some(place) = &mut self.place {
            // Nothing is started any more, so nothing can go wrong.
            let _nothing = place.ensure(Wanted::NOTHING);
            place.stop(HowToStop::Leave);
        }
    }

    fn kill(&mut self, watch: &mut Watch) {
        if let Stop::Stopping(exit, kill_at) = watch.stop
            && Instant::now() >= kill_at
        {
            if let Some(place) = &mut self.place {
                place.stop(HowToStop::Kill);
            }
            // They are dead at once; this only keeps the loop from waking up for nothing.
            watch.stop = Stop::Stopping(exit, Instant::now() + LEAVE_TIME);
        }
    }

    fn is_alone(&self) -> bool {
        self.place
            .as_ref()
            .is_none_or(|place| place.observe().is_empty())
    }
}

/// A job that its place has suspended because no worker can be started: watching it makes no sense.
fn given_up(status: &JobStatus) -> Option<Error> {
    let mut waiting = status.waiting.iter();
    let reason = waiting.find(|reason| reason.code == Code::GaveUp.as_str())?;
    let name = status.summary.as_ref().map_or("", |summary| &summary.name);
    let what = format!("job `{name}`: {}", reason.message);
    Some(Error::new(Code::GaveUp, what).fix(format!(
        "mend that, then let it go on: petctl resume {name}; nothing that was done is lost"
    )))
}

/// Nothing new starts; tells the loop when nothing runs any more.
fn drain(handle: Handle, drained: mpsc::Sender<()>) {
    tokio::spawn(async move {
        // Refused only by a coordinator that has stopped, which the loop sees itself.
        if handle.drain("petctl run was interrupted").await.is_ok() {
            let _loop_ended = drained.send(()).await;
        }
    });
}

/// Over restarts of the coordinator, until it is reached again or given up.
async fn connect_again(
    target: &Target,
    job: &str,
    progress: &mut Progress,
) -> Result<(Client, Statuses)> {
    loop {
        progress.say("the coordinator is away; trying to reach it again");
        let mut client = target.reconnect().await.map_err(|error: Error| {
            error.fix(format!("the job goes on when its coordinator does; watch it again: petctl status {job} --wait"))
        })?;
        match client.watch(job).await {
            Ok(stream) => return Ok((client, stream)),
            Err(error) if is_away(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn leave(signals: &mut Signals) -> Exit {
    loop {
        match signals.next().await {
            Signal::Interrupt => return Exit::Interrupted,
            Signal::Terminate => return Exit::Terminated,
            Signal::HangUp => {}
        }
    }
}

/// The end of one of the place's workers: what there is to say about it.
async fn ended_of<P: Place<Error = Error>>(place: &mut Option<P>) -> Result<Option<String>> {
    match place {
        Some(place) => Ok(place.ended().await?.unexpected),
        None => std::future::pending().await,
    }
}

/// Why the coordinator of this run has stopped by itself.
async fn stop_of(handle: Option<Handle>) -> StopReason {
    match handle {
        Some(handle) => handle.stopped().await,
        None => std::future::pending().await,
    }
}

fn with_spares(job: &PreparedJob, wanted: u32) -> usize {
    let all = wanted.saturating_add(job.spec.workers.spares);
    usize::try_from(all).unwrap_or(usize::MAX)
}

/// More workers than shards would only start and leave. A training wants all of them.
pub(crate) fn useful_workers(job: &PreparedJob, wanted: u32) -> usize {
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
