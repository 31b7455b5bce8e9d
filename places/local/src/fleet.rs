//! The workers of a job: as many as are wanted, started again when they die.

use super::restart::RestartPolicy;
use super::worker::{Files, Identity, LOCAL_STAGES, Launch, describe};
use petctl_job::home::Lock;
use petctl_places::{Ended, Place, Stop, Wanted, Worker, WorkerState};
use petctl_rendezvous::Handle;
use petctl_ui::error::{Code, Error, Result};
use rustix::process::Signal;
use std::collections::BTreeMap;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// A worker's process has ended.
#[derive(Debug)]
struct Death {
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
    wanted: Wanted,
    restarts: RestartPolicy,
    /// Nobody hears of deaths any more: the next run tells its coordinator.
    unheard: bool,
    last_death: Option<String>,
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
            wanted: Wanted::NOTHING,
            restarts: RestartPolicy::default(),
            unheard: false,
            last_death: None,
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

    /// Takes in a death. What to say about it, if anything.
    fn take_in(&mut self, death: Death) -> Result<Ended> {
        let worker = death.identity.name.clone();
        self.living.remove(&worker);
        if !self.unheard {
            self.launch.files.forget(&worker);
        }
        let expected = death.clean && !self.is_short();
        if self.wanted == Wanted::NOTHING || expected {
            return Ok(Ended {
                worker,
                unexpected: None,
            });
        }
        let said = format!("worker {worker} ended: {}", death.how);
        self.last_death = Some(worker.clone());
        let wanted = self.wanted.workers + usize::from(self.wanted.local_stages);
        if !self.restarts.death(Instant::now(), death.clean, wanted) {
            return Err(self.crashes(&said));
        }
        self.fill()?;
        Ok(Ended {
            worker,
            unexpected: (!death.clean).then_some(said),
        })
    }

    /// Starts what is missing, unless it is too early.
    fn fill(&mut self) -> Result<()> {
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

    fn is_short(&self) -> bool {
        self.missing().is_some()
    }

    /// The name of a worker that is wanted and not there.
    fn missing(&self) -> Option<String> {
        if self.wanted.local_stages && !self.living.contains_key(LOCAL_STAGES) {
            return Some(LOCAL_STAGES.to_owned());
        }
        let pool = self
            .living
            .keys()
            .filter(|name| *name != LOCAL_STAGES)
            .count();
        if pool >= self.wanted.workers {
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

impl Place for Fleet {
    type Error = Error;

    fn ensure(&mut self, wanted: Wanted) -> Result<()> {
        self.wanted = wanted;
        self.fill()
    }

    fn observe(&self) -> Vec<Worker> {
        self.living
            .keys()
            .map(|name| Worker {
                name: name.clone(),
                state: WorkerState::Running,
                code: None,
                reason: String::new(),
            })
            .collect()
    }

    async fn ended(&mut self) -> Result<Ended> {
        loop {
            let due = self.restarts.due().filter(|_| self.is_short());
            tokio::select! {
                Some(death) = self.deaths.recv() => return self.take_in(death),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.fill()?,
                // The fleet holds a sender itself.
                else => std::future::pending().await,
            }
        }
    }

    fn gained(&mut self, progress: u64) {
        self.restarts.observe(Instant::now(), progress);
    }

    fn coordinator_stopped(&mut self) {
        self.unheard = true;
    }

    fn stop(&mut self, how: Stop) {
        let signal = match how {
            Stop::Leave => Signal::TERM,
            Stop::Kill => Signal::KILL,
        };
        for identity in self.living.values() {
            identity.signal(signal);
        }
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
