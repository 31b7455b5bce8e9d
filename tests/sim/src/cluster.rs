//! What training processes are to one another: they step together or not at all, and share a checkpoint folder.

use std::collections::{BTreeMap, BTreeSet};

/// All training processes of a run, and the files they leave.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    groups: BTreeMap<u64, Ranks>,
    /// Checkpoints by path, and whether all of each is there.
    files: BTreeMap<String, bool>,
    /// Workers that stand still now (SIGSTOP).
    pub frozen: BTreeSet<usize>,
    /// Epochs whose processes a worker has, as they really are.
    living: BTreeMap<usize, BTreeSet<u64>>,
    /// Steps of the whole training.
    pub steps: u64,
    /// Time of a step, in ms.
    pub step_ms: u64,
}

/// The processes of one epoch.
#[derive(Clone, Debug, Default)]
struct Ranks {
    size: usize,
    present: BTreeSet<usize>,
    step: u64,
    next_step_at: u64,
    stepped_at: u64,
    hung: bool,
    /// Some have gone without having finished: the others can't go on.
    torn: bool,
    /// All steps are done: each process exits 0.
    finished: bool,
    /// Workers whose processes have all exited 0.
    succeeded: BTreeSet<usize>,
}

impl Cluster {
    /// A worker starts its processes.
    ///
    /// # Errors
    /// If it has those of another epoch.
    pub fn start(
        &mut self,
        worker: usize,
        epoch: u64,
        size: u32,
        from_step: u64,
        now: u64,
    ) -> Result<(), String> {
        let living = self.living.entry(worker).or_default();
        if let Some(other) = living.iter().find(|e| **e != epoch) {
            return Err(format!(
                "worker {worker} starts epoch {epoch} while processes of epoch {other} live there"
            ));
        }
        living.insert(epoch);
        let ranks = self.groups.entry(epoch).or_insert_with(|| Ranks {
            size: size as usize,
            step: from_step,
            stepped_at: now,
            ..Ranks::default()
        });
        if ranks.size != size as usize {
            return Err(format!(
                "epoch {epoch} has {} workers for one of them, {size} for another",
                ranks.size
            ));
        }
        ranks.present.insert(worker);
        ranks.next_step_at = ranks.next_step_at.max(now + self.step_ms);
        Ok(())
    }

    /// A worker's processes of an epoch are gone.
    pub fn gone(&mut self, worker: usize, epoch: u64) {
        if let Some(living) = self.living.get_mut(&worker) {
            living.remove(&epoch);
        }
        if let Some(ranks) = self.groups.get_mut(&epoch) {
            ranks.present.remove(&worker);
            if !ranks.finished {
                ranks.torn = true;
            }
        }
    }

    /// A worker's processes have all exited 0.
    pub fn succeeded(&mut self, worker: usize, epoch: u64) {
        self.gone(worker, epoch);
        if let Some(ranks) = self.groups.get_mut(&epoch) {
            ranks.succeeded.insert(worker);
        }
    }

    /// All processes of a worker die with it.
    pub fn killed(&mut self, worker: usize) {
        let epochs: Vec<u64> = self.living.remove(&worker).into_iter().flatten().collect();
        for epoch in epochs {
            self.gone(worker, epoch);
        }
    }

    /// Nothing happens any more in the newest epoch. Whether there was something to hang.
    pub fn hang(&mut self) -> bool {
        let newest = self.groups.values_mut().next_back();
        newest.is_some_and(|ranks| {
            let hangs = ranks.present.len() == ranks.size && !ranks.finished;
            ranks.hung |= hangs;
            hangs
        })
    }

    /// Time passes.
    pub fn step(&mut self, now: u64) {
        let (steps, step_ms, frozen) = (self.steps, self.step_ms, &self.frozen);
        for ranks in self.groups.values_mut().rev().take(3) {
            let all = ranks.present.len() == ranks.size && ranks.present.is_disjoint(frozen);
            if !all || ranks.hung || ranks.torn || ranks.finished || ranks.next_step_at > now {
                continue;
            }
            ranks.step += 1;
            ranks.stepped_at = now;
            ranks.next_step_at = now + step_ms;
            ranks.finished = ranks.step >= steps;
        }
    }

    /// The step an epoch is at, and when it got there.
    #[must_use]
    pub fn progress(&self, epoch: u64) -> (u64, u64) {
        self.groups
            .get(&epoch)
            .map_or((0, 0), |r| (r.step, r.stepped_at))
    }

    /// Whether an epoch's processes exit 0 now.
    #[must_use]
    pub fn is_finished(&self, epoch: u64) -> bool {
        self.groups.get(&epoch).is_some_and(|r| r.finished)
    }

    /// Whether an epoch's processes wait for some that are gone.
    #[must_use]
    pub fn is_torn(&self, epoch: u64) -> bool {
        self.groups
            .get(&epoch)
            .is_some_and(|r| r.torn && !r.finished)
    }

    /// Whether every worker of an epoch has come to its end.
    #[must_use]
    pub fn all_succeeded(&self, epoch: u64) -> bool {
        self.groups
            .get(&epoch)
            .is_some_and(|r| r.succeeded.len() == r.size)
    }

    /// A checkpoint is begun, or complete.
    pub fn write(&mut self, path: &str, complete: bool) {
        self.files.insert(path.to_owned(), complete);
    }

    /// A checkpoint is removed.
    pub fn remove(&mut self, path: &str) {
        self.files.remove(path);
    }

    /// Whether all of a checkpoint is there.
    #[must_use]
    pub fn is_complete(&self, path: &str) -> bool {
        self.files.get(path).copied().unwrap_or(false)
    }

    /// Whether a checkpoint is there, complete or not.
    #[must_use]
    pub fn is_there(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }
}
