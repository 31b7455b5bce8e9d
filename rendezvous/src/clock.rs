//! The coordinator's clock: milliseconds since 1970 that never go back.

use petctl_core::Millis;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time at its start, monotonic from there: a corrected system clock neither ends nor prolongs a deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Millis,
    started: Instant,
}

impl Clock {
    /// A clock that shows at least `floor`, the time of the last record of the log.
    pub(crate) fn starting_at_least(floor: Millis) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            base: Millis(whole_ms(wall)).max(floor),
            started: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.base.plus(whole_ms(self.started.elapsed()))
    }

    /// How long from `now` to `then`.
    pub(crate) fn until(now: Millis, then: Millis) -> Duration {
        Duration::from_millis(then.since(now))
    }
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use petctl_core::Millis;

    #[test]
    fn the_clock_does_not_go_back_behind_the_log() {
        let future = Millis(99_000_000_000_000);
        assert!(Clock::starting_at_least(future).now() >= future);
    }
}
