//! Where a token may come from: a file, the environment or stdin, never the command line.

use petctl_text::Secret;
use petctl_text::obstacle::Obstacle;
use petctl_ui::error::{Code, Error, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a token, with its line end.
const MAX_BYTES: u64 = 4 * 1024;

/// The token from `--token-file` or `--token`; `None` where neither is given.
pub fn read_secret(file: Option<&Path>, source: Option<&str>) -> Result<Option<Secret>> {
    // The file may come from the environment; what was typed counts more.
    let Some(source) = source else {
        return file.map(from_file).transpose();
    };
    if source == "-" {
        return from_reader(io::stdin().lock(), "stdin").map(Some);
    }
    if let Some(path) = source.strip_prefix("file:") {
        return from_file(Path::new(path)).map(Some);
    }
    if let Some(name) = source.strip_prefix("env:") {
        return from_environment(name).map(Some);
    }
    // It is not repeated: it may be the token.
    Err(Error::new(
        Code::TokenOnCommandLine,
        "--token takes a source, not the token itself: every user of this machine can read command lines",
    )
    .fix("use --token-file FILE, --token env:NAME, --token file:PATH or --token -; make a new token if this was one"))
}

fn from_file(path: &Path) -> Result<Secret> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| {
        Error::new(
            Code::TokenUnreadable,
            format!("can't read the token file {shown}"),
        )
        .because(&error)
        .fix(Obstacle::of(&error).fix_reading(
            "name the file that the coordinator wrote; `petctl rendezvous` says where it is",
        ))
    })?;
    from_reader(file, &shown)
}

fn from_environment(name: &str) -> Result<Secret> {
    let text = std::env::var(name).map_err(|_| {
        Error::new(
            Code::TokenUnreadable,
            format!("the environment variable {name} holds no token"),
        )
        .fix(format!("set {name}, or use --token-file FILE"))
    })?;
    check(&text, &format!("the environment variable {name}"))
}

fn from_reader(reader: impl Read, shown: &str) -> Result<Secret> {
    let mut text = String::new();
    reader
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| {
            Error::new(
                Code::TokenUnreadable,
                format!("can't read a token from {shown}"),
            )
            .because(&error)
            .fix(Obstacle::of(&error).fix_reading("name another file that holds it"))
        })?;
    check(&text, shown)
}

fn check(text: &str, shown: &str) -> Result<Secret> {
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::new(Code::TokenUnreadable, format!("{shown} holds no token"))
            .fix("a token is one line of visible characters; use the file that the coordinator wrote"));
    }
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_on_the_command_line_is_refused_and_not_repeated() {
        let error = read_secret(None, Some("hunter2hunter2hunter2")).unwrap_err();
        assert_eq!(error.code(), "TOKEN_ON_COMMAND_LINE");
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn tokens_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "abc\n").unwrap();
        let secret = read_secret(Some(&path), None).unwrap().unwrap();
        assert_eq!(secret.expose(), "abc");
        std::fs::write(&path, "two words\n").unwrap();
        assert_eq!(
            read_secret(Some(&path), None).unwrap_err().code(),
            "TOKEN_UNREADABLE"
        );
    }
}
