//! Durations and sizes as people write them: `10m`, `1h30m`, `500ms`; `16MiB`.

/// Units of a duration, largest first, with their ms.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of a size, with their bytes.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a duration such as `1h30m` and answers its ms.
///
/// # Errors
/// One sentence about what is wrong with it.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let mut rest = text;
    let mut total_ms: u64 = 0;
    let mut units = UNITS.iter();
    if text.is_empty() {
        return Err("it is empty".into());
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(match next.chars().next() {
                None => format!("`{}` has no unit", shown(rest)),
                Some(c) => format!("`{}` is no unit", c.escape_debug()),
            });
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(format!("`{}` is no unit", shown(unit)));
        }
        let Some((_, unit_ms)) = units.find(|(name, _)| *name == unit) else {
            return Err("its units must go from large to small, each once".into());
        };
        total_ms = number
            .checked_mul(*unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(|| "it is too long".to_owned())?;
        rest = next;
    }
    Ok(total_ms)
}

/// Reads a size such as `16MiB` and answers its bytes.
///
/// # Errors
/// One sentence about what is wrong with it.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let (number, unit) = split_number(text)?;
    if unit.is_empty() {
        return Err(format!("`{}` has no unit", shown(text)));
    }
    let (_, unit_bytes) = SIZES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(|| format!("`{}` is no unit", shown(unit)))?;
    number
        .checked_mul(*unit_bytes)
        .ok_or_else(|| "it is too large".to_owned())
}

/// Writes ms as [`parse_duration_ms`] reads them.
#[must_use]
pub fn format_duration_ms(duration_ms: u64) -> String {
    let mut rest = duration_ms;
    let mut text = String::new();
    for (unit, unit_ms) in UNITS {
        if rest >= unit_ms {
            text.push_str(&format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

fn split_number(text: &str) -> Result<(u64, &str), String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Err(format!(
            "`{}` does not start with a whole number",
            shown(text)
        ));
    }
    let number = digits
        .parse()
        .map_err(|_| format!("`{}` is too large", shown(digits)))?;
    Ok((number, rest))
}

fn shown(text: &str) -> String {
    crate::words::shown(text)
}

/// Reads `80%` or `99.5%`, in millionths: more than nothing, and at most all of it.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_percent_ppm(text: &str) -> Result<u32, String> {
    let number = text
        .strip_suffix('%')
        .ok_or_else(|| "it does not end in `%`".to_owned())?;
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let percent: f64 = number
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| "there is no number before `%`".to_owned())?;
    // A little is not nothing.
    let ppm = (percent * 10_000.0).round().max(1.0);
    if percent <= 0.0 || ppm > 1_000_000.0 {
        return Err("it must be more than 0% and at most 100%".to_owned());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to a million, as just checked"
    )]
    Ok(ppm as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1m500ms", 60_500),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
            assert_eq!(parse_duration_ms(&format_duration_ms(ms)), Ok(ms), "{text}");
        }
    }

    #[test]
    fn bad_durations_are_refused_with_a_reason() {
        for (text, why) in [
            ("", "it is empty"),
            ("10", "`10` has no unit"),
            ("m", "`m` does not start with a whole number"),
            ("-5s", "`-5s` does not start with a whole number"),
            ("1.5h", "`.` is no unit"),
            ("10 m", "` ` is no unit"),
            ("10min", "`min` is no unit"),
            ("30m1h", "its units must go from large to small, each once"),
            ("1s1s", "its units must go from large to small, each once"),
            (
                "99999999999999999999s",
                "`99999999999999999999` is too large",
            ),
            ("18446744073709551615d", "it is too long"),
        ] {
            assert_eq!(parse_duration_ms(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_bytes("16MiB"), Ok(16 << 20));
        assert_eq!(parse_bytes("2kb"), Ok(2_000));
        assert_eq!(parse_bytes("5"), Err("`5` has no unit".into()));
        assert_eq!(parse_bytes("5 MiB"), Err("` MiB` is no unit".into()));
        assert_eq!(parse_bytes("99999999TiB"), Err("it is too large".into()));
    }

    #[test]
    fn a_percentage_is_a_share_of_something() {
        for (text, ppm) in [
            ("80%", 800_000),
            ("99.5%", 995_000),
            ("100%", 1_000_000),
            ("0.00001%", 1),
        ] {
            assert_eq!(parse_percent_ppm(text), Ok(ppm), "{text}");
        }
        for text in [
            "80", "", "%", "x%", "-1%", "+5%", "0%", "100.1%", "1e1%", "inf%", "NaN%", "8 %",
            "5.%.",
        ] {
            assert!(parse_percent_ppm(text).is_err(), "{text}");
        }
    }
}
