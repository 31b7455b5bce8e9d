//! Secrets: a file says where each is found. And paths, which are relative to a folder.

use petctl_text::words::is_identifier;
use serde::{Deserialize, Serialize};

/// Where a secret is found. Each process that needs it reads it by itself; it never travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// `env:NAME`: in this environment variable.
    Env(String),
    /// `file:PATH`: in this file, without the white space around it. Read again when the secret is near its end.
    File(String),
}

/// Reads `env:NAME` or `file:PATH`, the path relative to a folder; else says what is wrong, and never the text itself.
///
/// # Errors
/// What is wrong, and the fix.
pub fn parse_secret(text: &str, folder: &str) -> Result<SecretRef, (&'static str, String)> {
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

/// Joins a path to a folder and takes `.`, `..` and doubled `/` out of it, by the letters alone.
#[must_use]
pub fn resolve_path(folder: &str, path: &str) -> String {
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{folder}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_by_where_it_is() {
        assert_eq!(
            parse_secret("env:SAS", "/j"),
            Ok(SecretRef::Env("SAS".into()))
        );
        assert_eq!(
            parse_secret("file:secrets/key", "/j"),
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
            let problem = format!("{:?}", parse_secret(bad, "/j").unwrap_err());
            assert!(!problem.contains("geheim"), "{problem}");
        }
    }
}
