//! Secrets: a job file says where each is found.

use crate::model::SecretRef;
use crate::parts::storage::resolve_path;
use petctl_text::words::is_identifier;

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
}
