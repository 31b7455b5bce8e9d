//! How fast shards are committed.

use crate::Millis;
use std::collections::VecDeque;

/// Commits per second, over the last half minute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    /// (second, commits), newest last.
    seconds: VecDeque<(u64, u64)>,
    since: Option<Millis>,
}

const RATE_WINDOW_S: u64 = 30;

impl Rate {
    pub(crate) fn add(&mut self, now: Millis) {
        self.since.get_or_insert(now);
        let second = now.0 / 1_000;
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            Some(_) | None => self.seconds.push_back((second, 1)),
        }
        while self
            .seconds
            .front()
            .is_some_and(|(s, _)| s + RATE_WINDOW_S < second)
        {
            self.seconds.pop_front();
        }
    }

    pub(crate) fn per_s(&self, now: Millis) -> f64 {
        let Some(since) = self.since else { return 0.0 };
        let span_ms = now.since(since).clamp(1_000, RATE_WINDOW_S * 1_000);
        let first = now.0.saturating_sub(span_ms) / 1_000;
        let count: u64 = self
            .seconds
            .iter()
            .filter(|(s, _)| *s >= first)
            .map(|(_, c)| c)
            .sum();
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of half a minute are far below 2^52"
        )]
        let rate = count as f64 * 1_000.0 / span_ms as f64;
        rate
    }
}
