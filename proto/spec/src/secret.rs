//! Secrets: a job file says where each is found, and nothing that is shown repeats one.

use crate::model::SecretRef;
use crate::storage::resolve_path;
use crate::words::is_identifier;

/// Shortest text in base64 that is taken for a key; a storage account's has 88 characters.
const MIN_KEY_CHARS: usize = 60;
/// What stands before a secret, in lower case, and is followed by it up to the next `&`, `;`, quote or space.
const MARKS: [&str; 3] = ["sig=", "accountkey=", "sharedaccesssignature="];
/// Keys of the job file whose whole value is hidden, unless it says where the secret is found.
const KEYS: [&str; 2] = ["sas_token", "account_key"];

/// Reads `env:NAME` or `file:PATH`, the path relative to a folder; else says what is wrong, and never the text itself.
pub(crate) fn parse(text: &str, folder: &str) -> Result<SecretRef, (&'static str, String)> {
    let fix = "write `env:NAME` for an environment variable, or `file:PATH` for a file";
    if let Some(name) = text.strip_prefix("env:") {
        if !is_identifier(name) {
            let what = "names no environment variable behind `env:`";
            return Err((what, "write it such as `\"env:MY_SAS\"`".into()));
        }
        return Ok(SecretRef::Env(name.to_owned()));
    }
    if let Some(path) = text.strip_prefix("file:") {
        if path.is_empty() || path.starts_with('~') || path.chars().any(char::is_control) {
            let what = "names no file behind `file:`";
            let fix = "write a path, relative to the job file or whole; `~` is not expanded";
            return Err((what, fix.into()));
        }
        return Ok(SecretRef::File(resolve_path(folder, path)));
    }
    Err(match text {
        "" => ("is empty", fix.into()),
        "-" => (
            "is `-`, and a job file has no standard input",
            format!("{fix}; `-` is for the command line"),
        ),
        _ => (
            "holds the secret itself, for everybody who can read the job file",
            format!("{fix}, and put the secret there"),
        ),
    })
}

/// The text with each character of a secret as a `*`: what follows `sig=` and the like, and long texts in base64.
pub(crate) fn masked(text: &str) -> String {
    let mut chars = text.chars().collect::<Vec<_>>();
    let lower = lower(&chars);
    for mark in MARKS {
        for start in ends_of(&lower, mark) {
            let ends = |c: &char| c.is_whitespace() || matches!(c, '&' | ';' | '"' | '\'');
            hide(&mut chars, start, ends);
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
pub(crate) fn masked_line(line: &str) -> String {
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
    fn a_secret_is_named_by_where_it_is() {
        assert_eq!(parse("env:SAS", "/j"), Ok(SecretRef::Env("SAS".into())));
        assert_eq!(
            parse("file:secrets/key", "/j"),
            Ok(SecretRef::File("/j/secrets/key".into()))
        );
        for bad in [
            "",
            "-",
            "env:",
            "env:A B",
            "file:",
            "file:~/k",
            "sv=1&sig=geheim",
        ] {
            let problem = format!("{:?}", parse(bad, "/j").unwrap_err());
            assert!(!problem.contains("geheim"), "{problem}");
        }
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
