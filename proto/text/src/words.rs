//! How names look, and how strange text is shown to people.

use crate::secrets;

/// Most characters of somebody's text that a message repeats.
const MAX_SHOWN: usize = 80;
/// Most characters of it in which secrets are looked for.
const MAX_MASKED: usize = 1_000;

/// Says whether it may be the name of a job or stage: `^[a-z][a-z0-9-]{0,62}$`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 63
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Says whether it may be the name of an environment variable or parameter: `^[A-Za-z_][A-Za-z0-9_]{0,127}$`.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Repeats somebody's text in a message: control characters escaped, secrets masked, the end cut off where it is long.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    // Masked first: half a secret does not look like one.
    let start = text.chars().take(MAX_MASKED).collect::<String>();
    for (count, c) in secrets::masked(&start).chars().enumerate() {
        if count == MAX_SHOWN {
            out.push_str("...");
            break;
        }
        if is_strange(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
    }
    out
}

/// Characters that could hide or reorder what a terminal shows.
#[must_use]
pub fn is_strange(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Of some names, the one that was most likely meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 256 {
        return None;
    }
    let lower = word.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| {
            let distance =
                strsim::osa_distance(&lower, &name.to_ascii_lowercase().replace('-', "_"));
            (distance, name)
        })
        .filter(|(distance, name)| {
            let length = name.chars().count().max(lower.chars().count());
            *distance <= (length / 3).max(1) && *distance < length
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Separates the thousands of a number: `2,000,000`.
#[must_use]
pub fn thousands(number: u128) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Most characters of a log's line in a message.
pub const MAX_LINE_CHARS: usize = 500;

/// The first line that says something, and no more of it than fits.
#[must_use]
pub fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let clean = line.unwrap_or_default().chars().map(|character| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    });
    let mut short: String = clean.take(MAX_LINE_CHARS + 1).collect();
    if short.chars().count() > MAX_LINE_CHARS {
        short.pop();
        short.push('…');
    }
    short
}

/// The last line that says something: of most programs that fail, why they did.
#[must_use]
pub fn last_line(tail: &str) -> Option<String> {
    let line = tail.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(one_line(line)).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rule() {
        for good in ["a", "us101", "a-b-", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "1a",
            "-a",
            "A",
            "a_b",
            "a.b",
            "ä",
            "a b",
            &"a".repeat(64),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["retries", "timeout", "log_bytes"];
        assert_eq!(nearest("retires", known), Some("retries"));
        assert_eq!(nearest("time-out", known), Some("timeout"));
        assert_eq!(nearest("LogBytes", known), Some("log_bytes"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn strange_text_is_shown_safely() {
        assert_eq!(shown("a\u{1b}[31m"), "a\\u{1b}[31m");
        assert_eq!(shown(&"x".repeat(200)).len(), 83);
        assert_eq!(thousands(2_000_000), "2,000,000");
        assert_eq!(thousands(100), "100");
    }

    #[test]
    fn lines_are_cut_to_one_of_bounded_length() {
        assert_eq!(one_line("\n  a\tb\x1b[0m \nc"), "a b [0m");
        assert_eq!(
            one_line(&"x".repeat(900)).chars().count(),
            MAX_LINE_CHARS + 1
        );
        assert_eq!(
            last_line("Traceback\nKeyError: 'a'\n\n").as_deref(),
            Some("KeyError: 'a'")
        );
        assert_eq!(last_line(" \n\n"), None);
    }
}
