//! A worker's part of a training group: its processes, what it reports of them, the checkpoints they write.

use crate::cluster::Cluster;
use fastrand::Rng;
use petctl_core::{
    Checkpoint, CheckpointReport, Epoch, FromWorker, GroupPhase, GroupProgress, GroupReport,
    GroupStart, JobId, MasterOffer, RankFailure, RankProgress, ToWorker,
};

/// What a simulated training does, drawn from the seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// Steps between two checkpoints; 0: it writes none.
    pub checkpoint_every: u64,
    /// Longest writing of a checkpoint, in ms.
    pub write_ms: u64,
    /// Longest stop of a process, in ms.
    pub stop_ms: u64,
    /// Processes are reported gone before they are.
    pub lies_about_stops: bool,
    /// Checkpoints are reported before they are complete.
    pub lies_about_checkpoints: bool,
}

/// What the processes of a worker need to act.
pub struct Stage<'a> {
    /// Now, in ms.
    pub now: u64,
    /// Which worker this is.
    pub index: usize,
    /// All processes.
    pub cluster: &'a mut Cluster,
    /// The run's randomness.
    pub rng: &'a mut Rng,
    /// What the training does.
    pub habits: Habits,
}

/// A worker's part of a training group.
#[derive(Clone, Debug, Default)]
pub struct Trainer {
    start: Option<GroupStart>,
    phase: Phase,
    failures: Vec<(u64, RankFailure)>,
    /// The coordinator has not been told yet.
    untold: bool,
    collapses_at: Option<u64>,
    written_step: u64,
    writing: Option<(u64, String, u64)>,
    unacknowledged: Vec<CheckpointReport>,
    requests: u64,
    offer: Option<(u64, MasterOffer)>,
    /// What was wrong with an order.
    pub broken: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Running,
    Stopping {
        done_at: u64,
        failing: bool,
    },
    Stopped,
    Succeeded,
}

impl Trainer {
    /// Processes of it live.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Stopping { .. })
    }

    /// The report that a request speaks of, if it is not acknowledged yet.
    #[must_use]
    pub fn said_of(&self, request: u64) -> Option<&CheckpointReport> {
        self.unacknowledged.iter().find(|c| c.request == request)
    }

    /// How it stands, for a Hello.
    #[must_use]
    pub fn report(&self, now: u64) -> Option<GroupReport> {
        let start = self.start.as_ref()?;
        let phase = match self.phase {
            Phase::Idle => return None,
            Phase::Running => GroupPhase::Running,
            Phase::Stopping { failing: true, .. } => GroupPhase::Failing,
            Phase::Stopping { failing: false, .. } => GroupPhase::Running,
            Phase::Stopped => GroupPhase::Stopped,
            Phase::Succeeded => GroupPhase::Succeeded,
        };
        let failures = self.failures.iter().map(|(at, failure)| RankFailure {
            age_ms: now.saturating_sub(*at),
            ..failure.clone()
        });
        Some(GroupReport {
            job: start.job,
            stage: start.stage,
            epoch: start.epoch,
            phase,
            failures: failures.collect(),
            exited: 0,
            processes: start.processes,
        })
    }

    /// Hears what concerns training; gives back what it says at once.
    pub fn hear(&mut self, message: &ToWorker, at: &mut Stage<'_>) -> Option<FromWorker> {
        match message {
            ToWorker::GroupPrepare {
                job,
                epoch,
                checkpoints,
                ..
            } => return self.prepare(*job, *epoch, checkpoints, at),
            ToWorker::GroupStart(start) => return self.begin(start, at),
            ToWorker::GroupStop {
                epoch, job, stage, ..
            } => {
                if self.start.as_ref().is_some_and(|s| s.epoch == *epoch) && self.is_alive() {
                    self.stop(at);
                } else if self.start.as_ref().is_none_or(|s| s.epoch != *epoch) {
                    // Nothing of that epoch is here.
                    return Some(FromWorker::Group(Box::new(GroupReport {
                        job: *job,
                        stage: *stage,
                        epoch: *epoch,
                        phase: GroupPhase::Stopped,
                        failures: Vec::new(),
                        exited: 0,
                        processes: 0,
                    })));
                } else {
                    self.untold = true;
                }
                return None;
            }
            ToWorker::CheckpointAnswer { request, drop, .. } => {
                self.unacknowledged.retain(|c| c.request != *request);
                for path in drop {
                    at.cluster.remove(path);
                }
            }
            ToWorker::Preflight(job) => {
                return Some(FromWorker::Preflight {
                    job: *job,
                    failure: None,
                });
            }
            ToWorker::Fenced(_) | ToWorker::Release(_) => self.stop(at),
            ToWorker::Welcome { .. }
            | ToWorker::HeartbeatAck(_)
            | ToWorker::Assignment { .. }
            | ToWorker::EpochChange { .. }
            | ToWorker::Leases(_)
            | ToWorker::ResultAck(_)
            | ToWorker::ResultRefusal { .. }
            | ToWorker::Revocation { .. }
            | ToWorker::Drain(_) => {}
        }
        None
    }

    fn prepare(
        &mut self,
        job: JobId,
        epoch: Epoch,
        checkpoints: &[Checkpoint],
        at: &mut Stage<'_>,
    ) -> Option<FromWorker> {
        let newest = checkpoints.iter().find(|c| at.cluster.is_there(&c.path));
        let offer = MasterOffer {
            job,
            epoch,
            port: at.rng.u16(1_024..),
            resume_step: newest.map(|c| c.step),
        };
        self.offer = Some((at.now + at.rng.u64(0..2_000), offer));
        None
    }

    fn begin(&mut self, start: &GroupStart, at: &mut Stage<'_>) -> Option<FromWorker> {
        if let Some(old) = &self.start
            && old.epoch >= start.epoch
        {
            if old.epoch == start.epoch
                && (old.first_rank, old.world_size) != (start.first_rank, start.world_size)
            {
                self.broken = Some(format!("epoch {} has two layouts", start.epoch));
            }
            self.untold = true;
            return None;
        }
        let step = start.resume.as_ref().map_or(0, |c| c.step);
        let begun = at.cluster.start(
            at.index,
            start.epoch.0,
            start.group_world_size,
            step,
            at.now,
        );
        if let Err(why) = begun {
            self.broken = Some(why);
        }
        self.start = Some(start.clone());
        self.phase = Phase::Running;
        self.failures.clear();
        self.collapses_at = None;
        self.written_step = step;
        self.writing = None;
        self.untold = true;
        None
    }

    /// Its processes get SIGTERM.
    pub fn stop(&mut self, at: &mut Stage<'_>) {
        if self.phase == Phase::Running {
            let slow = if at.rng.u32(0..60) == 0 { 30_000 } else { 0 };
            let done_at = at.now + at.rng.u64(0..=at.habits.stop_ms) + slow;
            self.phase = Phase::Stopping {
                done_at,
                failing: false,
            };
        }
    }

    /// One of its processes fails by itself.
    pub fn fail(&mut self, at: &mut Stage<'_>) -> bool {
        let Some(start) = self.start.as_ref().filter(|_| self.phase == Phase::Running) else {
            return false;
        };
        let failure = RankFailure {
            rank: start.first_rank + at.rng.u32(0..start.processes.max(1)),
            code: "RANK_FAILED".to_owned(),
            message: "it raised".to_owned(),
            ..RankFailure::default()
        };
        self.failures.push((at.now, failure));
        self.phase = Phase::Stopping {
            done_at: at.now + at.rng.u64(0..=at.habits.stop_ms),
            failing: true,
        };
        self.untold = true;
        true
    }

    /// Time passes. What it says, if its stream is open.
    pub fn step(&mut self, open: bool, beats: bool, at: &mut Stage<'_>) -> Vec<FromWorker> {
        self.processes(at);
        if !open {
            return Vec::new();
        }
        let mut said = Vec::new();
        if beats {
            // What has not been acknowledged is said again.
            said.extend(
                self.unacknowledged
                    .iter()
                    .cloned()
                    .map(FromWorker::Checkpoint),
            );
            said.extend(self.progress(at));
        }
        said.extend(self.checkpoint(at));
        if let Some((_, offer)) = self.offer.take_if(|(due, _)| *due <= at.now) {
            said.push(FromWorker::Master(offer));
        }
        if std::mem::take(&mut self.untold)
            && let Some(report) = self.report(at.now)
        {
            said.push(FromWorker::Group(Box::new(report)));
        }
        said
    }

    fn processes(&mut self, at: &mut Stage<'_>) {
        let Some(epoch) = self.start.as_ref().map(|s| s.epoch.0) else {
            return;
        };
        match self.phase {
            Phase::Running if at.cluster.is_finished(epoch) => {
                if at.rng.u32(0..5) == 0 {
                    at.cluster.succeeded(at.index, epoch);
                    self.phase = Phase::Succeeded;
                    self.untold = true;
                }
            }
            Phase::Running if at.cluster.is_torn(epoch) => {
                // Some collectives raise, others wait for ever.
                let collapses_at = *self.collapses_at.get_or_insert_with(|| {
                    let never = at.rng.u32(0..3) == 0;
                    at.now + at.rng.u64(0..2_000) + if never { u64::from(u32::MAX) } else { 0 }
                });
                if collapses_at <= at.now {
                    self.fail(at);
                }
            }
            Phase::Stopping { done_at, .. } => {
                let lies = at.habits.lies_about_stops;
                if done_at <= at.now {
                    at.cluster.gone(at.index, epoch);
                }
                if done_at <= at.now || lies {
                    self.phase = Phase::Stopped;
                    self.untold = true;
                }
            }
            Phase::Idle | Phase::Running | Phase::Stopped | Phase::Succeeded => {}
        }
    }

    fn progress(&self, at: &Stage<'_>) -> Option<FromWorker> {
        let start = self
            .start
            .as_ref()
            .filter(|_| self.phase == Phase::Running)?;
        let (step, stepped_at) = at.cluster.progress(start.epoch.0);
        Some(FromWorker::Progress(GroupProgress {
            job: start.job,
            epoch: start.epoch,
            quiet_ms: at.now.saturating_sub(stepped_at),
            ranks: vec![RankProgress {
                rank: start.first_rank,
                step,
                step_time_ms: 1.0,
            }],
        }))
    }

    /// Rank 0 writes one from time to time; it is said when it is complete, in the same order on the same stream.
    fn checkpoint(&mut self, at: &mut Stage<'_>) -> Option<FromWorker> {
        let start = self.start.as_ref().filter(|s| s.group_rank == 0)?;
        let every = at.habits.checkpoint_every;
        let (step, _) = at.cluster.progress(start.epoch.0);
        let due = every > 0 && step >= self.written_step + every;
        let mut said = false;
        if self.writing.is_none() && due && self.phase == Phase::Running {
            let path = format!("/c/{step}-{}", start.epoch);
            at.cluster.write(&path, false);
            let done_at = at.now + at.rng.u64(0..=at.habits.write_ms);
            self.writing = Some((step, path, done_at));
            said = at.habits.lies_about_checkpoints;
        }
        let (step, path, done_at) = self.writing.clone()?;
        if !self.is_alive() {
            // Its writer is gone: it stays half for ever.
            self.writing = None;
            return None;
        }
        if done_at <= at.now {
            at.cluster.write(&path, true);
            self.writing = None;
            self.written_step = step;
            said = !at.habits.lies_about_checkpoints;
        }
        if !said {
            return None;
        }
        self.requests += 1;
        let report = CheckpointReport {
            request: self.requests,
            job: start.job,
            stage: start.stage,
            epoch: start.epoch,
            step,
            path,
        };
        self.unacknowledged.push(report.clone());
        Some(FromWorker::Checkpoint(report))
    }
}
