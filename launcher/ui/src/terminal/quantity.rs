//! Numbers, times and counts as people read them.

/// A count with its noun: "1 shard", "9 shards".
pub fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{} {many}", thousands(number))
    }
}

/// A count of shards.
pub fn shards(number: u64) -> String {
    count(number, "shard", "shards")
}

/// About how long: "0.4 s", "12 s", "3 min 5 s", "2 h 10 min", "3 d 4 h".
pub fn duration(duration_ms: u64) -> String {
    let s = duration_ms / 1_000;
    match s {
        0..10 => format!("{:.1} s", precise(duration_ms) / 1_000.0),
        10..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        86_400.. => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Seconds for a table.
pub fn seconds(duration_ms: u64) -> String {
    let s = precise(duration_ms) / 1_000.0;
    if s < 100.0 {
        format!("{s:.2}")
    } else {
        format!("{s:.0}")
    }
}

/// A mean of the seconds that so many took, for a table.
pub fn mean_seconds(mean_s: f64, of: u64) -> String {
    if of > 0 {
        format!("{mean_s:.2}")
    } else {
        "-".to_owned()
    }
}

/// A rate of shards: "2.4 shards/s", "1,301 shards/s".
pub(super) fn rate(per_s: f64) -> String {
    if per_s < 100.0 {
        return format!("{per_s:.1} shards/s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive here; a rate too large for a number of shards is cut"
    )]
    let whole = per_s.round() as u64;
    format!("{} shards/s", thousands(whole))
}

/// A size: "512 B", "3.4 MiB".
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes.saturating_mul(10) / 1_024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    if tenths < 1_000 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

/// How long ago something was, from two moments in ms since 1970.
pub fn ago(now_ms: u64, then_ms: u64) -> String {
    match now_ms.saturating_sub(then_ms) {
        0..1_000 => "just now".to_owned(),
        elapsed_ms => format!("{} ago", duration(elapsed_ms)),
    }
}

/// A moment in ms since 1970 as UTC: `2026-11-21 07:25:13Z`.
pub fn clock(at_ms: u64) -> String {
    let s = at_ms / 1_000;
    let (year, month, day) = date(s / 86_400);
    let of_day = s % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// A measured value with at most four significant places behind the point.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    if value != 0.0 && (value.abs() >= 1e9 || value.abs() < 1e-3) {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// With a comma between thousands.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a duration is shown with three digits"
)]
fn precise(duration_ms: u64) -> f64 {
    duration_ms as f64
}

/// Civil date of a day since 1970, after Howard Hinnant's `civil_from_days`.
fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_civil_dates() {
        assert_eq!(clock(0), "1970-01-01 00:00:00Z");
        assert_eq!(clock(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(clock(1_795_245_913_999), "2026-11-21 07:25:13Z");
    }

    #[test]
    fn durations_have_two_units() {
        for (ms, text) in [
            (0, "0.0 s"),
            (450, "0.5 s"),
            (12_900, "12 s"),
            (185_000, "3 min 5 s"),
            (7_800_000, "2 h 10 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (2.0, "2"),
            (-0.123_456, "-0.123"),
            (1e12, "1.000e12"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(count(1_234_567, "shard", "shards"), "1,234,567 shards");
    }
}
