//! Moments as outputs carry them: RFC 3339 in UTC with nanoseconds in logs and manifests, milliseconds in records.

use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-21T07:00:00.123456789Z`. Times before 1970 read as 1970, those after 9999 as its end.
pub fn rfc3339(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let timestamp = SignedDuration::try_from(since_epoch)
        .ok()
        .and_then(|since| Timestamp::from_duration(since).ok())
        .unwrap_or(Timestamp::MAX);
    format!("{timestamp:.9}")
}

/// Milliseconds since 1970, by this machine's clock; 0 before.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_read_as_the_calendar_says() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399, 1, "2000-02-28T23:59:59.000000001Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000000000Z"),
            (1_795_244_400, 123_456_789, "2026-11-21T07:00:00.123456789Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
            (253_402_300_800, 0, "9999-12-30T22:00:00.999999999Z"),
        ];
        for (seconds, nanos, expected) in cases {
            assert_eq!(
                rfc3339(UNIX_EPOCH + Duration::new(seconds, nanos)),
                expected
            );
        }
    }
}
