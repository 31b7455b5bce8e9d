//! Dates that are a step apart.

use jiff::ToSpan;
use jiff::civil::Date;

/// A distance between dates: so many days, or so many months.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Days; a week is seven.
    Days(i32),
    /// Months; a year is twelve.
    Months(i32),
}

/// Largest number in front of a step's unit.
const MAX_STEP: i32 = 10_000;

/// Reads `YYYY-MM-DD`; nothing else, not even a time behind it.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_date(text: &str) -> Result<Date, String> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !shaped {
        return Err("it is not written as YYYY-MM-DD".into());
    }
    text.parse().map_err(|_| "there is no such day".to_owned())
}

/// Reads `1d`, `2w`, `1mo` or `1y`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_step(text: &str) -> Result<Step, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number: i32 = digits
        .parse()
        .map_err(|_| "it does not start with a whole number".to_owned())?;
    if !(1..=MAX_STEP).contains(&number) {
        return Err(format!("its number must be from 1 to {MAX_STEP}"));
    }
    match unit {
        "d" => Ok(Step::Days(number)),
        "w" => Ok(Step::Days(number * 7)),
        "mo" => Ok(Step::Months(number)),
        "y" => Ok(Step::Months(number * 12)),
        _ => Err("its unit must be d, w, mo or y".into()),
    }
}

/// How many dates there are from `first` to `last`, both included.
#[must_use]
pub fn count(first: Date, last: Date, step: Step) -> u64 {
    if first > last {
        return 0;
    }
    let steps = match step {
        Step::Days(days) => first.until(last).map_or(0, |span| span.get_days()) / days,
        Step::Months(months) => {
            let years = i32::from(last.year()) - i32::from(first.year());
            let whole = years * 12 + i32::from(last.month()) - i32::from(first.month());
            let steps = whole / months;
            // In the last month the day may lie behind `last`.
            let beyond = at(first, step, steps).is_none_or(|date| date > last);
            if beyond { steps - 1 } else { steps }
        }
    };
    u64::try_from(steps).map_or(0, |steps| steps + 1)
}

/// The date that is `index` steps behind `first`. Months are counted from `first`, so the 31st does not drift.
#[must_use]
pub fn at(first: Date, step: Step, index: i32) -> Option<Date> {
    let span = match step {
        Step::Days(days) => 0.days().try_days(days.checked_mul(index)?),
        Step::Months(months) => 0.months().try_months(months.checked_mul(index)?),
    };
    first.checked_add(span.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dates(first: &str, last: &str, step: &str) -> Vec<String> {
        let (first, last) = (parse_date(first).unwrap(), parse_date(last).unwrap());
        let step = parse_step(step).unwrap();
        let count = count(first, last, step);
        (0..count)
            .map(|index| {
                at(first, step, i32::try_from(index).unwrap())
                    .unwrap()
                    .to_string()
            })
            .collect()
    }

    #[test]
    fn months_are_counted_from_the_first_date_without_drift() {
        assert_eq!(
            dates("2024-01-31", "2024-05-30", "1mo"),
            ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]
        );
        assert_eq!(dates("2024-01-01", "2024-12-31", "1mo").len(), 12);
        assert_eq!(
            dates("2024-02-29", "2028-02-29", "1y").last().unwrap(),
            "2028-02-29"
        );
        assert_eq!(
            dates("2024-02-29", "2025-12-31", "1y"),
            ["2024-02-29", "2025-02-28"]
        );
    }

    #[test]
    fn days_and_weeks_include_both_ends() {
        assert_eq!(
            dates("2024-02-28", "2024-03-01", "1d"),
            ["2024-02-28", "2024-02-29", "2024-03-01"]
        );
        assert_eq!(
            dates("2024-01-01", "2024-01-15", "1w"),
            ["2024-01-01", "2024-01-08", "2024-01-15"]
        );
        assert_eq!(dates("2024-01-01", "2024-01-14", "1w").len(), 2);
        assert_eq!(dates("2024-01-01", "2024-01-01", "10000y").len(), 1);
        assert_eq!(dates("0001-01-01", "9999-12-31", "1d").len(), 3_652_059);
    }

    #[test]
    fn the_count_and_the_dates_agree() {
        let mut random = 1_u64;
        let base = parse_date("2000-01-01").unwrap();
        for _ in 0..2_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let offset = i32::try_from((random >> 33) % 800).unwrap();
            let length = i32::try_from((random >> 43) % 900).unwrap();
            let step = match (random >> 20) % 3 {
                0 => Step::Days(1 + offset % 40),
                1 => Step::Months(1 + offset % 7),
                _ => Step::Months(12),
            };
            let first = at(base, Step::Days(1), offset).unwrap();
            let last = at(first, Step::Days(1), length).unwrap();
            let count = i32::try_from(count(first, last, step)).unwrap();
            assert!(
                at(first, step, count - 1).unwrap() <= last,
                "{first} {last} {step:?} {count}"
            );
            assert!(
                at(first, step, count).unwrap() > last,
                "{first} {last} {step:?} {count}"
            );
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        assert_eq!(parse_date("2024-02-30"), Err("there is no such day".into()));
        assert_eq!(parse_date("2023-02-29"), Err("there is no such day".into()));
        for text in [
            "",
            "2024-2-3",
            "2024-01-01T00:00",
            "20240101",
            "-024-01-01",
            "2024-01-0é",
        ] {
            assert_eq!(
                parse_date(text),
                Err("it is not written as YYYY-MM-DD".into()),
                "{text}"
            );
        }
        assert_eq!(
            parse_step("0d"),
            Err("its number must be from 1 to 10000".into())
        );
        assert_eq!(
            parse_step("1m"),
            Err("its unit must be d, w, mo or y".into())
        );
        assert_eq!(
            parse_step("mo"),
            Err("it does not start with a whole number".into())
        );
    }
}
