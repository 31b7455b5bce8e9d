//! `[storage]`: the folders of the inputs and of the committed outputs.

use crate::errors::ErrorCode;
use crate::model::StorageSpec;
use crate::report::Report;
use crate::section::Section;
use crate::words::shown;

/// Reads `[storage]`; `None` where it has no usable output.
pub(crate) fn read_storage(
    section: &Section<'_>,
    folder: &str,
    report: &mut Report<'_>,
) -> Option<StorageSpec> {
    let input = read_folder(section, "input", folder, report);
    let output = read_folder(section, "output", folder, report);
    // A bad input is reported; what follows from it is not.
    let (input, output) = match input {
        None => (None, output??),
        Some(input) => (Some(input), output??),
    };
    if let Some(Some(input)) = &input
        && is_inside(input, &output)
    {
        let message = format!(
            "the inputs `{}` lie in the output folder `{}`",
            shown(input),
            shown(&output)
        );
        let place = section
            .place_of("output")
            .or_option(section.place_of("input"));
        let fix = "use an output folder of its own, such as `output = \"results\"`";
        report.add(
            ErrorCode::Value,
            place,
            section.path_of("output"),
            message,
            fix,
        );
    }
    Some(StorageSpec {
        input: input.flatten(),
        output,
        ..StorageSpec::default()
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

/// Whether a path is a folder or lies in it.
fn is_inside(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || folder == "/")
}

/// The local folder that a key names, absolute: `None` where the key is not there, `Some(None)` where it can't be used.
pub(crate) fn read_folder(
    section: &Section<'_>,
    key: &str,
    folder: &str,
    report: &mut Report<'_>,
) -> Option<Option<String>> {
    let text = section.text(key)?;
    let problem = match local_path(text) {
        Ok(path) => return Some(Some(resolve_path(folder, &path))),
        Err(problem) => problem,
    };
    let (code, what, fix) = problem;
    let message = format!("`{key}` in {}: `{}` {what}", section.title, shown(text));
    report.add(
        code,
        section.place_of(key),
        section.path_of(key),
        message,
        fix,
    );
    Some(None)
}

type Problem = (ErrorCode, String, String);

fn local_path(text: &str) -> Result<String, Problem> {
    let local = "use a local folder, such as `results`, or `file:///data/results`";
    if text.starts_with('~') {
        let fix = "write the whole path; `~` is not expanded in a job file";
        return Err((ErrorCode::Value, "starts with `~`".into(), fix.into()));
    }
    if text.chars().any(char::is_control) {
        return Err((
            ErrorCode::Value,
            "has a control character".into(),
            "take it out".into(),
        ));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(text.to_owned());
    };
    match scheme {
        "az" => Err((
            ErrorCode::NotBuiltYet,
            "is blob storage, which is not built yet".into(),
            local.into(),
        )),
        "file" => file_path(rest).ok_or_else(|| {
            let fix = "write `file:///` and an absolute path, with `%20` for a space";
            (
                ErrorCode::Value,
                "is no local file address".into(),
                fix.into(),
            )
        }),
        _ => {
            let what = format!(
                "is of the kind `{}://`, which petctl does not know",
                shown(scheme)
            );
            Err((ErrorCode::Value, what, local.into()))
        }
    }
}

/// The path of a file address: absolute, of this machine, its `%xx` decoded.
fn file_path(rest: &str) -> Option<String> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut left = path.as_bytes();
    while let Some((first, after)) = left.split_first() {
        if *first == b'%' {
            let (pair, after) = after.split_at_checked(2)?;
            let digits = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            left = after;
        } else {
            bytes.push(*first);
            left = after;
        }
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|path| !path.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_by_their_letters() {
        for (path, resolved) in [
            ("out", "/jobs/a/out"),
            ("./out/", "/jobs/a/out"),
            ("../b//c/./d", "/jobs/b/c/d"),
            ("../../../../x", "/x"),
            ("/abs/../y", "/y"),
            (".", "/jobs/a"),
        ] {
            assert_eq!(resolve_path("/jobs/a", path), resolved, "{path}");
        }
        assert!(
            is_inside("/a/b", "/a")
                && is_inside("/a", "/a")
                && is_inside("/a", "/")
                && !is_inside("/ab", "/a")
        );
    }

    #[test]
    fn file_addresses_are_read() {
        assert_eq!(file_path("/a%20b"), Some("/a b".into()));
        assert_eq!(file_path("localhost/a"), Some("/a".into()));
        for bad in ["a/b", "host/a", "/%2", "/%zz", "/%+1", "/%ff", "/%00", ""] {
            assert_eq!(file_path(bad), None, "{bad}");
        }
    }
}
