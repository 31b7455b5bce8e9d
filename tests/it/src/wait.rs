//! Waiting for the thing itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// A loaded machine of two cores gets this long for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// Looks until there is something.
///
/// # Panics
/// Where there is nothing after a minute; `what` says for what it was waited.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(what, DEADLINE, look)
}

/// Looks until it is true.
///
/// # Panics
/// As [`wait_for`].
pub fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    wait_for(what, || look().then_some(()));
}

pub(crate) fn wait_within<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            start.elapsed() < deadline,
            "after {} s still not: {what}",
            deadline.as_secs()
        );
        sleep(PAUSE);
    }
}
