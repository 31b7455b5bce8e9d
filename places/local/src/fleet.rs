//! The workers of a job: as many as are wanted, started again when they die.

use super::restart::RestartPolicy;
use super::worker::{Files, Identity, LAUNCHER, Launch, describe};
use petctl_job::home::Lock;
use petctl_proto::v1::JobStatus;
use petctl_rendezvous::Handle;
use petctl_spec::{JobSpec, RunMode, StageSpec};
use petctl_ui::error::{Code, Error, Result};
use rustix::process::Signal;
use std::collections::BTreeMap;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A training group that has run for this long has come further, even if it does not say how far.
const HEALTHY_MS: u64 = 60_000;

/// A worker's process has ended.
#[derive(Debug)]
pub struct Death {
    identity: Identity,
    how: String,
    clean: bool,
}

/// All workers of a job on this machine.
#[derive(Debug)]
pub struct Fleet {
    launch: Launch,
    /// `None`: the coordinator is elsewhere, and notices by itself who is gone.
    handle: Option<Handle>,
    living: BTreeMap<String, Identity>,
    deaths: mpsc::UnboundedReceiver<Death>,
    dead: mpsc::UnboundedSender<Death>,
    target: usize,
    /// The worker of local stages is wanted.
    launcher: bool,
    restarts: RestartPolicy,
    /// Nobody hears of deaths any more: the next run tells its coordinator.
    unheard: bool,
    last_death: Option<String>,
    training: Training,
}

/// How far trainings have come, as one number that only grows when something is gained.
#[derive(Debug, Default)]
struct Training {
    /// The newest step that was reported or is in a checkpoint.
    step: u64,
    /// Groups that ran for a while, and the last of them.
    healthy: u64,
    last_healthy: u64,
}

impl Training {
    fn observe(&mut self, status: &JobStatus) -> u64 {
        for group in &status.groups {
            let saved = group.checkpoints.first().map_or(0, |newest| newest.step);
            self.step = self.step.max(group.step.unwrap_or(0)).max(saved);
            let ran_ms = status.at_ms.saturating_sub(group.running_since_ms);
            let healthy = group.running_since_ms > 0 && ran_ms >= HEALTHY_MS;
            if healthy && group.epoch > self.last_healthy {
                self.last_healthy = group.epoch;
                self.healthy += 1;
            }
        }
        self.step.saturating_add(self.healthy)
    }
}

impl Fleet {
    /// No worker yet. `handle`: the coordinator of this process, to be told of deaths.
    pub fn new(launch: Launch, handle: Option<Handle>) -> Self {
        // One message for each process that was started: bounded by their number.
        let (dead, deaths) = mpsc::unbounded_channel();
        Self {
            launch,
            handle,
            living: BTreeMap::new(),
            deaths,
            dead,
            target: 0,
            launcher: false,
            restarts: RestartPolicy::default(),
            unheard: false,
            last_death: None,
            training: Training::default(),
        }
    }

    /// Finds the workers of a run that was killed: living ones come back by themselves, dead ones are reported, so
    /// that nobody waits for them.
    pub async fn adopt(&mut self) -> Result<usize> {
        let mut adopted = 0;
        for (identity, lives) in self.launch.files.earlier()? {
            if lives {
                adopted += 1;
                self.watch_orphan(identity);
            } else {
                self.launch.files.forget(&identity.name);
                bury(self.handle.as_ref(), &identity, false).await;
            }
        }
        Ok(adopted)
    }

    /// From now on so many workers are wanted.
    pub fn want(&mut self, target: usize) -> Result<()> {
        self.target = target;
        self.fill()
    }

    /// Whether the worker of local stages is wanted from now on.
    pub fn want_launcher(&mut self, wanted: bool) -> Result<()> {
        self.launcher = wanted;
        self.fill()
    }

    /// What the job's status says about its workers.
    pub fn observe(&mut self, status: &JobStatus) {
        let shards: u64 = status
            .stages
            .iter()
            .map(|stage| stage.done + stage.failed + stage.retries)
            .sum();
        let progress = shards.saturating_add(self.training.observe(status));
        self.restarts.observe(Instant::now(), progress);
    }

    /// The next process that ends.
    pub async fn next_death(&mut self) -> Death {
        match self.deaths.recv().await {
            Some(death) => death,
            // The fleet holds a sender itself.
            None => std::future::pending().await,
        }
    }

    /// When to call [`Self::fill`] again.
    pub fn wake_at(&self) -> Option<Instant> {
        let due = self.restarts.due();
        due.filter(|_| self.is_short())
    }

    /// The coordinator has stopped by itself. Its workers are dead to the next one, which hears so from
    /// [`Self::adopt`].
    pub fn coordinator_stopped(&mut self) {
        self.unheard = true;
    }

    /// Takes in a death; `respawn` while the job goes on. What to say about it, if anything.
    pub fn bury(&mut self, death: Death, respawn: bool) -> Result<Option<String>> {
        self.living.remove(&death.identity.name);
        if !self.unheard {
            self.launch.files.forget(&death.identity.name);
        }
        let expected = death.clean && !self.is_short();
        if !respawn || expected {
            return Ok(None);
        }
        let said = format!("worker {} ended: {}", death.identity.name, death.how);
        self.last_death = Some(death.identity.name);
        let wanted = self.target + usize::from(self.launcher);
        if !self.restarts.death(Instant::now(), death.clean, wanted) {
            return Err(self.crashes(&said));
        }
        self.fill()?;
        Ok((!death.clean).then_some(said))
    }

    /// Starts what is missing, unless it is too early.
    pub fn fill(&mut self) -> Result<()> {
        if !self.restarts.may_start(Instant::now()) {
            return Ok(());
        }
        while let Some(name) = self.missing() {
            let (identity, child) = self.launch.spawn(&name)?;
            tracing::info!(worker = %name, pid = identity.pid, "worker started");
            self.living.insert(name, identity.clone());
            self.watch_child(identity, child);
        }
        Ok(())
    }

    /// Sends all workers a signal.
    pub fn signal(&self, signal: Signal) {
        for identity in self.living.values() {
            identity.signal(signal);
        }
    }

    /// Whether no worker lives.
    pub fn is_empty(&self) -> bool {
        self.living.is_empty()
    }

    /// Workers that live.
    pub fn len(&self) -> usize {
        self.living.len()
    }

    fn is_short(&self) -> bool {
        self.missing().is_some()
    }

    /// The name of a worker that is wanted and not there.
    fn missing(&self) -> Option<String> {
        if self.launcher && !self.living.contains_key(LAUNCHER) {
            return Some(LAUNCHER.to_owned());
        }
        let pool = self.living.keys().filter(|name| *name != LAUNCHER).count();
        if pool >= self.target {
            return None;
        }
        let mut names = (1_u32..).map(|n| format!("local-{n}"));
        names.find(|name| !self.living.contains_key(name))
    }

    fn watch_child(&self, identity: Identity, mut child: Child) {
        let (dead, handle) = (self.dead.clone(), self.handle.clone());
        tokio::spawn(async move {
            let status = child.wait().await;
            let clean = status.as_ref().is_ok_and(std::process::ExitStatus::success);
            bury(handle.as_ref(), &identity, clean).await;
            let _ended = dead.send(Death {
                how: describe(&status),
                identity,
                clean,
            });
        });
    }

    /// Not our child: its lock is free when it has ended.
    fn watch_orphan(&mut self, identity: Identity) {
        tracing::info!(worker = %identity.name, pid = identity.pid, "a worker of an earlier run still lives");
        self.living.insert(identity.name.clone(), identity.clone());
        let (dead, handle) = (self.dead.clone(), self.handle.clone());
        let path = self.launch.files.lock(&identity.name);
        tokio::spawn(async move {
            let _panicked = tokio::task::spawn_blocking(move || Lock::wait(&path).map(drop)).await;
            // It may have ended well, but nobody was told.
            bury(handle.as_ref(), &identity, false).await;
            let _ended = dead.send(Death {
                how: "it was left by an earlier run".to_owned(),
                identity,
                clean: true,
            });
        });
    }

    fn crashes(&self, last: &str) -> Error {
        let name = self.last_death.clone().unwrap_or_default();
        let files: &Files = &self.launch.files;
        let tail = files.tail(&name);
        let error = Error::new(
            Code::WorkerCrashes,
            format!(
                "workers die without getting anything done, {} times in a row; the last: {last}",
                self.restarts.deaths_in_row()
            ),
        )
        .fix(format!(
            "look at {}; when the cause is gone, the same command goes on with the job",
            files.log(&name).display()
        ));
        if tail.is_empty() {
            return error;
        }
        error.because(&std::io::Error::other(format!(
            "its log ends with\n    {tail}"
        )))
    }
}

/// Kills what a dead worker left running, then tells the coordinator, in this order: nothing runs twice.
async fn bury(handle: Option<&Handle>, identity: &Identity, clean: bool) {
    if !clean {
        let dead = identity.clone();
        let _panicked = tokio::task::spawn_blocking(move || dead.sweep()).await;
    }
    if let (Some(handle), Some(id)) = (handle, identity.worker_id()) {
        handle.worker_gone(id).await;
    }
}

/// Whether a stage runs in the launcher's own process tree.
pub fn is_local(stage: &StageSpec) -> bool {
    stage.dispatch.run_mode == RunMode::Local
}

/// Whether such a stage has something left to do.
pub fn has_local_work(spec: &JobSpec, status: &JobStatus) -> bool {
    spec.stages
        .iter()
        .zip(&status.stages)
        .any(|(stage, status)| {
            is_local(stage) && status.done + status.failed + status.cancelled < status.shards
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_proto::v1::GroupStatus;

    #[test]
    fn a_training_comes_further_by_steps_and_by_groups_that_hold() {
        let mut training = Training::default();
        let mut seen = |epoch: u64, step: Option<u64>, ran_ms: u64| {
            training.observe(&JobStatus {
                at_ms: 1_000 + ran_ms,
                groups: vec![GroupStatus {
                    epoch,
                    step,
                    running_since_ms: 1_000,
                    ..GroupStatus::default()
                }],
                ..JobStatus::default()
            })
        };
        assert_eq!(seen(1, None, 5_000), 0);
        assert_eq!(seen(2, None, 0), 0, "another epoch is no progress");
        assert_eq!(seen(2, Some(40), 1_000), 40);
        assert_eq!(seen(3, Some(30), 1_000), 40, "steps that are done again");
        assert_eq!(seen(3, Some(30), HEALTHY_MS), 41);
        assert_eq!(seen(3, Some(35), 2 * HEALTHY_MS), 41, "counted once");
    }
}
