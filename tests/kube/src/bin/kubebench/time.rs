//! Times of this machine's clock, which is also that of all pods; and waiting.

use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A loaded machine of two cores gets this long for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// And where there are thousands of pods.
const LONG_PATIENCE: Duration = Duration::from_secs(900);

/// How often a file is looked at, and how often the cluster is asked: that costs it something.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
pub(crate) const ASK: Duration = Duration::from_millis(500);

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Looks every so often until there is an answer.
pub(crate) fn until<T>(
    what: &str,
    every: Duration,
    look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    within(PATIENCE, what, every, look)
}

/// The same for what thousands of pods take.
pub(crate) fn until_long<T>(
    what: &str,
    every: Duration,
    look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    within(LONG_PATIENCE, what, every, look)
}

fn within<T>(
    patience: Duration,
    what: &str,
    every: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = look()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("not within {} s: {what}", patience.as_secs());
        }
        sleep(every);
    }
}

/// `1.23 s`
pub(crate) fn seconds(value: f64) -> String {
    format!("{value:.2} s")
}
