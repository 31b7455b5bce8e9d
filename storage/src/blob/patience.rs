//! How long a blob store tries.

use std::time::Duration;

/// Bounds of retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Most tries of one request.
    pub tries: u32,
    /// Pause before the first retry; doubled each time, with jitter.
    pub first_pause: Duration,
    /// Longest pause. A `Retry-After` that asks for more than is left of `total` ends the retries.
    pub longest_pause: Duration,
    /// No retry begins after this.
    pub total: Duration,
    /// Like `total`, for a service that never answered since the store was opened: it is rather a wrong address.
    pub first_contact: Duration,
    /// Silence after which a connection counts as broken.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 12,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            total: Duration::from_secs(90),
            first_contact: Duration::from_secs(5),
            stall: Duration::from_secs(30),
        }
    }
}
