//! When a worker that has ended is replaced: at once, later, or never. Decides only, so that it can be tested.

use std::time::Duration;
use tokio::time::Instant;

/// Deaths without any progress, beyond three for each worker, after which the job stops.
const MAX_DEATHS: u32 = 2;
/// First wait before a worker is started again when the one before died without progress.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A status that is seen this soon after the end of a worker may be older than the reason of that end.
const IN_FLIGHT: Duration = Duration::from_millis(300);

/// How fast workers are started again.
#[derive(Debug, Default)]
pub(crate) struct RestartPolicy {
    /// Commits, failures and retries, as last seen: while it grows, deaths are forgiven.
    progress: u64,
    deaths_in_row: u32,
    not_before: Option<Instant>,
    /// A worker ended well: it was released or drained. A status from then on says whether one is missing.
    asks_since: Option<Instant>,
}

impl RestartPolicy {
    /// The job's status has come, with so many commits, failures and retries.
    pub(crate) fn observe(&mut self, now: Instant, progress: u64) {
        if progress != self.progress {
            self.progress = progress;
            self.deaths_in_row = 0;
            self.not_before = None;
        }
        if self.asks_since.is_some_and(|since| now >= since) {
            self.asks_since = None;
        }
    }

    /// A worker that is missed has ended. `false`: too many have.
    pub(crate) fn death(&mut self, now: Instant, clean: bool, target: usize) -> bool {
        self.deaths_in_row += 1;
        let workers = u32::try_from(target).unwrap_or(u32::MAX / 4).max(1);
        if self.deaths_in_row > MAX_DEATHS + 3 * workers {
            return false;
        }
        if clean {
            self.asks_since = Some(now + IN_FLIGHT);
        } else if self.deaths_in_row > 1 {
            let factor = 1 << (self.deaths_in_row - 2).min(10);
            self.not_before = Some(now + (MIN_BACKOFF * factor).min(MAX_BACKOFF));
        }
        true
    }

    /// Whether workers may be started now.
    pub(crate) fn may_start(&mut self, now: Instant) -> bool {
        if self.asks_since.is_some() || self.not_before.is_some_and(|at| now < at) {
            return false;
        }
        self.not_before = None;
        true
    }

    /// When to ask again; a status may say so earlier.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.asks_since.is_none())
    }

    pub(crate) fn deaths_in_row(&self) -> u32 {
        self.deaths_in_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_ended_well_is_replaced_only_when_a_later_status_still_wants_it() {
        let (start, mut restarts) = (Instant::now(), RestartPolicy::default());
        assert!(restarts.death(start, true, 4));
        assert!(!restarts.may_start(start));
        assert_eq!(restarts.due(), None, "time alone starts none");
        assert!(!restarts.may_start(start + 10 * IN_FLIGHT));
        restarts.observe(start + IN_FLIGHT / 2, 0);
        assert!(
            !restarts.may_start(start + IN_FLIGHT / 2),
            "that status may have been on its way"
        );
        restarts.observe(start + IN_FLIGHT, 0);
        assert!(restarts.may_start(start + IN_FLIGHT));
    }

    #[test]
    fn a_worker_that_crashed_is_replaced_at_once_then_later_and_later_until_there_is_progress() {
        let (start, mut restarts) = (Instant::now(), RestartPolicy::default());
        assert!(restarts.death(start, false, 1));
        assert!(restarts.may_start(start));
        for wait in [MIN_BACKOFF, 2 * MIN_BACKOFF] {
            assert!(restarts.death(start, false, 1));
            assert_eq!(restarts.due(), Some(start + wait));
            assert!(!restarts.may_start(start));
            assert!(restarts.may_start(start + wait));
        }
        restarts.observe(start, 1);
        assert_eq!(restarts.deaths_in_row(), 0);
        let most = MAX_DEATHS + 3;
        assert!((0..most).all(|_| restarts.death(start, false, 1)));
        assert!(!restarts.death(start, false, 1), "one too many");
    }
}
