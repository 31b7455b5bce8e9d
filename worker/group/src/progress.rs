//! When anything was last seen of a group's processes, and how far they are.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use petctl_proto::v1::{GroupProgress, RankProgress};

use crate::failure::error_file::open_at_once;

/// Weight of the newest step in the mean of step times.
const NEWEST: f64 = 0.2;
/// Most bytes of a heartbeat file that are read.
const MAX_BYTES: u64 = 256;

/// Shared by the group's thread, the socket and whoever sends heartbeats.
#[derive(Debug)]
pub struct Progress {
    job_id: u64,
    epoch: u64,
    started: Instant,
    /// When output was last read, in ms since the start.
    output_ms: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_seen: Instant,
    files: Vec<Watched>,
    steps: BTreeMap<u32, Steps>,
}

/// A rank's heartbeat file.
#[derive(Debug)]
struct Watched {
    rank: u32,
    path: PathBuf,
    changed: Option<(SystemTime, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Steps {
    step: u64,
    at: Instant,
    mean_ms: Option<f64>,
}

impl Progress {
    /// `heartbeats` are the ranks' heartbeat files.
    pub(super) fn new(job_id: u64, epoch: u64, heartbeats: Vec<(u32, PathBuf)>) -> Self {
        let watched = |(rank, path)| Watched {
            rank,
            path,
            changed: None,
        };
        let started = Instant::now();
        let state = State {
            last_seen: started,
            files: heartbeats.into_iter().map(watched).collect(),
            steps: BTreeMap::new(),
        };
        Self {
            job_id,
            epoch,
            started,
            output_ms: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    /// Output was read.
    pub(super) fn output_seen(&self, now: Instant) {
        let ms = now.duration_since(self.started).as_millis();
        self.output_ms
            .store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A script reported its step. Without a step time it is the time since its last report.
    pub fn report(&self, rank: u32, step: u64, step_time_ms: Option<f64>) {
        self.lock().step(Instant::now(), rank, step, step_time_ms);
    }

    /// For a heartbeat. Looks at the ranks' files.
    pub fn snapshot(&self) -> GroupProgress {
        let now = Instant::now();
        let output = self.started + Duration::from_millis(self.output_ms.load(Ordering::Relaxed));
        let mut state = self.lock();
        state.look_at_files(now);
        let quiet = now.saturating_duration_since(state.last_seen.max(output));
        let ranks = state.steps.iter().map(|(rank, steps)| RankProgress {
            rank: *rank,
            step: steps.step,
            step_time_ms: steps.mean_ms.unwrap_or_default(),
        });
        GroupProgress {
            job_id: self.job_id,
            epoch: self.epoch,
            quiet_ms: u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX),
            ranks: ranks.collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A change counts from when it is noticed: the clock of a file system may differ.
    fn look_at_files(&mut self, now: Instant) {
        let mut reported = Vec::new();
        for file in &mut self.files {
            let metadata = fs::metadata(&file.path).ok();
            let changed = metadata.and_then(|found| Some((found.modified().ok()?, found.len())));
            if changed.is_none() || changed == file.changed {
                continue;
            }
            file.changed = changed;
            self.last_seen = now;
            reported.extend(step_in(&file.path).map(|step| (file.rank, step)));
        }
        for (rank, (step, seconds)) in reported {
            self.step(now, rank, step, seconds.map(|s| s * 1_000.0));
        }
    }

    fn step(&mut self, now: Instant, rank: u32, step: u64, step_time_ms: Option<f64>) {
        self.last_seen = now;
        let before = self.steps.get(&rank).copied();
        let since_last = || {
            let before = before.filter(|before| before.step < step)?;
            #[expect(
                clippy::cast_precision_loss,
                reason = "a mean of times need not be exact"
            )]
            let steps = (step - before.step) as f64;
            Some(now.duration_since(before.at).as_secs_f64() * 1_000.0 / steps)
        };
        let given = step_time_ms.filter(|ms| ms.is_finite() && *ms >= 0.0);
        let mean_before = before.and_then(|before| before.mean_ms);
        let mean_ms = match (mean_before, given.or_else(since_last)) {
            (Some(mean), Some(newest)) => Some(mean + NEWEST * (newest - mean)),
            (mean, newest) => newest.or(mean),
        };
        let steps = Steps {
            step,
            at: now,
            mean_ms,
        };
        self.steps.insert(rank, steps);
    }
}

/// A heartbeat file may say the step, and after it the seconds of a step.
fn step_in(path: &Path) -> Option<(u64, Option<f64>)> {
    let mut text = String::new();
    open_at_once(path)
        .ok()?
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    let mut words = text.split_ascii_whitespace();
    let step = words.next()?.parse().ok()?;
    Some((step, words.next().and_then(|word| word.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_step_times_are_those_reported_last() {
        let progress = Progress::new(7, 3, Vec::new());
        progress.report(1, 10, Some(500.0));
        progress.report(1, 11, Some(1_000.0));
        progress.report(0, 9, None);
        let seen = progress.snapshot();
        assert_eq!((seen.job_id, seen.epoch), (7, 3));
        let ranks: Vec<_> = seen
            .ranks
            .iter()
            .map(|rank| (rank.rank, rank.step, rank.step_time_ms))
            .collect();
        assert_eq!(ranks, [(0, 9, 0.0), (1, 11, 600.0)]);
        progress.report(1, 12, Some(f64::NAN));
        assert_eq!(progress.snapshot().ranks[1].step, 12);
    }

    #[test]
    fn a_heartbeat_file_is_a_sign_of_life_and_may_say_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heartbeat");
        let progress = Progress::new(7, 3, vec![(4, path.clone())]);
        std::thread::sleep(Duration::from_millis(30));
        assert!(progress.snapshot().quiet_ms >= 30);
        fs::write(&path, "120 0.25\n").unwrap();
        let seen = progress.snapshot();
        assert!(seen.quiet_ms < 30, "{seen:?}");
        assert_eq!(
            (seen.ranks[0].step, seen.ranks[0].step_time_ms),
            (120, 250.0)
        );
        std::thread::sleep(Duration::from_millis(30));
        assert!(progress.snapshot().quiet_ms >= 30, "it did not change");
        progress.output_seen(Instant::now());
        assert!(progress.snapshot().quiet_ms < 30);
    }
}
