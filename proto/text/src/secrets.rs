//! Secrets: text that never shows, and masks for those that stand in other text.

use std::fmt;
use subtle::ConstantTimeEq as _;

/// Shortest text in base64 that is taken for a key; a storage account's has 88 characters.
const MIN_KEY_CHARS: usize = 60;
/// What stands before a secret, in lower case, and is followed by it up to the next `&`, `;`, quote or space.
const MARKS: [&str; 3] = ["sig=", "accountkey=", "sharedaccesssignature="];
/// Keys of the job file whose whole value is hidden, unless it says where the secret is found.
const KEYS: [&str; 2] = ["sas_token", "account_key"];

/// Text that no message, log or `Debug` may show.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it or signs with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same text; takes as long for a nearly right guess as for a wrong one.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The text with each character of a secret as a `*`: what follows `sig=` and the like, and long texts in base64.
#[must_use]
pub fn masked(text: &str) -> String {
    let mut chars = text.chars().collect::<Vec<_>>();
    let lower = lower(&chars);
    for mark in MARKS {
        for start in ends_of(&lower, mark) {
            let before = start - mark.len();
            let is_name = before == 0 || !is_of_name(lower[before - 1]);
            // A text about such addresses has no secret there: `sig=…`.
            let is_value = chars
                .get(start)
                .is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '%' | '+' | '/'));
            let ends =
                |c: &char| c.is_whitespace() || matches!(c, '&' | ';' | '"' | '\'' | '`' | ')');
            if is_name && is_value {
                hide(&mut chars, start, ends);
            }
        }
    }
    let mut start = 0;
    for at in 0..=chars.len() {
        let inside = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        if chars.get(at).is_some_and(inside) {
            continue;
        }
        if at - start >= MIN_KEY_CHARS && chars.get(at - 1) == Some(&'=') {
            hide(&mut chars[..at], start, |_| false);
        }
        start = at + 1;
    }
    chars.into_iter().collect()
}

/// A line of a job file, or an override, with secrets masked as by [`masked`], and with the values of secret keys.
#[must_use]
pub fn masked_line(line: &str) -> String {
    let mut chars = line.chars().collect::<Vec<_>>();
    let lower = lower(&chars);
    for key in KEYS {
        for start in ends_of(&lower, key) {
            let after = |from: usize, skip: &dyn Fn(&char) -> bool| {
                chars.iter().skip(from).take_while(|c| skip(c)).count() + from
            };
            let equals = after(start, &|c| c.is_whitespace() || matches!(c, '"' | '\''));
            if chars.get(equals) != Some(&'=') {
                continue;
            }
            let quote = after(equals + 1, &|c| c.is_whitespace());
            let value = after(quote, &|c| matches!(c, '"' | '\''));
            let told = ["env:", "file:"];
            let rest = lower.iter().skip(value).collect::<String>();
            if told.iter().any(|told| rest.starts_with(told)) {
                continue;
            }
            let open = (value > quote).then(|| chars.get(quote).copied()).flatten();
            hide(&mut chars, value, |c| Some(*c) == open);
        }
    }
    masked(&chars.into_iter().collect::<String>())
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

fn lower(chars: &[char]) -> Vec<char> {
    chars.iter().map(char::to_ascii_lowercase).collect()
}

/// Where each occurrence of a word ends.
fn ends_of(text: &[char], word: &str) -> Vec<usize> {
    let word = word.chars().collect::<Vec<_>>();
    let windows = text.windows(word.len()).enumerate();
    let found = windows.filter(|(_, window)| *window == word.as_slice());
    found.map(|(at, _)| at + word.len()).collect()
}

fn hide(chars: &mut [char], start: usize, ends: impl Fn(&char) -> bool) {
    for c in chars.iter_mut().skip(start) {
        if ends(c) {
            return;
        }
        *c = '*';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }

    #[test]
    fn only_the_same_text_matches() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches(b"hunter2"));
        for other in [&b"hunter"[..], b"hunter3", b"hunter22", b""] {
            assert!(!secret.matches(other));
        }
    }

    #[test]
    fn what_only_looks_like_a_secret_is_shown() {
        for text in [
            "it has no signature (sig=)",
            "a SAS token looks like `sv=…&se=…&sp=…&sig=…`; copy it whole",
            "design=blue, re_sig=1, x-sig=2, sig =3",
        ] {
            assert_eq!(masked(text), text);
        }
        assert_eq!(
            masked("`?SIG=abc`, (sig=d), é&sig=ü1"),
            "`?SIG=***`, (sig=*), é&sig=ü1"
        );
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        let key = format!("{}==", "aB3/".repeat(21) + "xy");
        for (line, shown) in [
            (
                "sas_token = \"sv=1\" # x".into(),
                "sas_token = \"****\" # x".into(),
            ),
            ("sas_token = sv=1".into(), "sas_token = ****".into()),
            (
                "sas_token = \"env:SAS\"".into(),
                "sas_token = \"env:SAS\"".to_owned(),
            ),
            (
                "x = 'az://a?sv=1&sig=ab%2F&se=2'".into(),
                "x = 'az://a?sv=1&sig=*****&se=2'".into(),
            ),
            (
                format!("acount_key = \"{key}\""),
                format!("acount_key = \"{}\"", "*".repeat(key.len())),
            ),
            (
                "--set storage.account_key=é".into(),
                "--set storage.account_key=*".into(),
            ),
            (
                "\"account_key\" = \"a\"".into(),
                "\"account_key\" = \"*\"".into(),
            ),
            ("the sas_token of it".into(), "the sas_token of it".into()),
        ] {
            let line: String = line;
            assert_eq!(masked_line(&line), shown);
        }
        let digest = format!("image = \"a@sha256:{}\"", "0f".repeat(32));
        assert_eq!(masked_line(&digest), digest);
    }
}
