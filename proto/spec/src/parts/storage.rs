//! `[storage]`: where the inputs are, where the committed outputs go, and how blob storage is reached.

use crate::keys::DEFAULT_STAGE_BYTES;
use crate::model::root::StorageRoot;
use crate::model::{SecretRef, StorageAccess, StorageSpec};
use petctl_codes::Code;
use petctl_keyed::{Report, Section, parse_secret, resolve_path};
use petctl_text::words::shown;
use std::collections::BTreeMap;

/// Characters that a date behind a container's name takes: `-2026-01-31`.
const DATE_CHARS: usize = 11;

/// Reads `[storage]`; `None` where it has no usable output.
pub(crate) fn read_storage(
    section: &Section<'_>,
    folder: &str,
    report: &mut Report<'_>,
) -> Option<StorageSpec> {
    let input = read_root(section, "input", folder, report);
    let output = read_root(section, "output", folder, report);
    let mounts = read_mounts(section);
    let access = read_access(section, folder, report);
    // A bad input is reported; what follows from it is not.
    let (input, output) = (input.flatten(), output.flatten()?);
    if let Some(input) = input.as_ref().filter(|input| input.is_inside(&output)) {
        let kind = if output.is_blob() { "" } else { " folder" };
        let message = format!(
            "the inputs `{}` lie in the output{kind} `{}`",
            shown(&input.to_string()),
            shown(&output.to_string())
        );
        let place = section
            .place_of("output")
            .or_option(section.place_of("input"));
        let fix = if output.is_blob() {
            "use a prefix of its own for the outputs, such as `az://extracted/us101`"
        } else {
            "use an output folder of its own, such as `output = \"results\"`"
        };
        report.add(
            Code::JobFileValue,
            place,
            section.path_of("output"),
            message,
            fix,
        );
    }
    let dated = section.switch("dated");
    check_dated(section, dated, &output, report);
    Some(StorageSpec {
        input: input.map(|input| input.to_string()),
        output: output.to_string(),
        dated,
        stage_bytes: section.bytes("stage_bytes").unwrap_or(DEFAULT_STAGE_BYTES),
        incomplete_input: section.switch("incomplete_input"),
        mounts,
        access,
    })
}

/// A container without a prefix gets the date behind its own name, which Azure must still take.
fn check_dated(section: &Section<'_>, dated: bool, output: &StorageRoot, report: &mut Report<'_>) {
    let StorageRoot::Container { container, prefix } = output else {
        return;
    };
    if !dated || !prefix.is_empty() || container.len() + DATE_CHARS <= 63 {
        return;
    }
    let message = format!(
        "`dated` in {} puts {DATE_CHARS} characters behind the container `{container}`, and Azure allows 63 in all",
        section.title
    );
    report.add(
        Code::JobFileValue,
        section.place_of("dated"),
        section.path_of("dated"),
        message,
        "use a shorter name, or a prefix below the container, which then has the date",
    );
}

/// What is no absolute path has been reported with the shape of the key.
fn read_mounts(section: &Section<'_>) -> BTreeMap<String, String> {
    let mounts = section.scalars("mounts").into_iter();
    mounts
        .map(|(container, folder)| (container, resolve_path("/", &folder)))
        .collect()
}

fn read_access(section: &Section<'_>, folder: &str, report: &mut Report<'_>) -> StorageAccess {
    let mut text = |key: &str, check: TextCheck| {
        let text = section.text(key)?;
        let Err((what, fix)) = check(text) else {
            return Some(text.to_owned());
        };
        let message = format!("`{key}` in {} {what}", section.title);
        let place = section.place_of(key);
        report.add(
            Code::JobFileValue,
            place,
            section.path_of(key),
            message,
            fix,
        );
        None
    };
    let account = text("account", check_account);
    let endpoint = text("endpoint", check_endpoint);
    let client_id = text("client_id", check_client_id);
    let secret = |key: &str| -> Option<SecretRef> {
        let text = section.text(key)?;
        // What can't be read has been reported with the shape of the key.
        parse_secret(text, folder).ok()
    };
    let (sas_token, account_key) = (secret("sas_token"), secret("account_key"));
    if section.is_given("sas_token") && section.is_given("account_key") {
        let message = format!("{} has both `sas_token` and `account_key`", section.title);
        let place = section
            .place_of("account_key")
            .or_option(section.place_of("sas_token"));
        let fix = "keep one of them; a SAS token can be bound to what the job needs";
        let path = section.path_of("account_key");
        report.add(Code::JobFileValue, place, path, message, fix);
    }
    StorageAccess {
        account,
        endpoint: endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
        sas_token,
        account_key,
        client_id,
    }
}

/// Says what is wrong with a text, and what to do about it.
pub(crate) type TextCheck = fn(&str) -> Result<(), (String, String)>;

/// Whether Azure takes it as the name of a storage account.
pub(crate) fn check_account(text: &str) -> Result<(), (String, String)> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if (3..=24).contains(&text.len()) && text.bytes().all(good) {
        return Ok(());
    }
    let what = format!("is no name of a storage account: `{}`", shown(text));
    let fix = "use 3 to 24 characters of a-z and 0-9; an address goes into `endpoint`";
    Err((what, fix.into()))
}

/// Whether it can be the address of a blob service. What is wrong with it is said without repeating it.
pub(crate) fn check_endpoint(text: &str) -> Result<(), (String, String)> {
    let example = "write such as \"https://mystorage.blob.core.windows.net\"";
    let wrong = |what: &str, fix: &str| Err((what.to_owned(), fix.to_owned()));
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else {
        return wrong("does not start with `https://` or `http://`", example);
    };
    if rest.contains('?') {
        return wrong(
            "has a `?`: a SAS token is no part of it",
            "take off the `?` and what follows; name the token as `sas_token = \"env:NAME\"` or `\"file:PATH\"`",
        );
    }
    let host = rest.split('/').next().unwrap_or_default();
    let strange = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '#' | '\\' | '@');
    if host.is_empty() || rest.contains(strange) {
        return wrong("is no address of a blob service", example);
    }
    Ok(())
}

/// Whether it looks like a client id.
pub(crate) fn check_client_id(text: &str) -> Result<(), (String, String)> {
    let good = |b: u8| b.is_ascii_hexdigit() || b == b'-';
    if text.len() == 36 && text.bytes().all(good) {
        return Ok(());
    }
    let fix = "write it as the portal shows it, such as \"6f1c9d3e-0000-4000-8000-000000000000\"";
    Err(("is no client id".into(), fix.into()))
}

/// The place that a key names: `None` where the key is not there, `Some(None)` where it can't be used.
pub(crate) fn read_root(
    section: &Section<'_>,
    key: &str,
    folder: &str,
    report: &mut Report<'_>,
) -> Option<Option<StorageRoot>> {
    let text = section.text(key)?;
    if !text.starts_with("az://") {
        return read_folder(section, key, folder, report).map(|path| path.map(StorageRoot::Folder));
    }
    let problem = match StorageRoot::parse_az(text) {
        Ok(root) => return Some(Some(root)),
        Err(problem) => problem,
    };
    let message = format!(
        "`{key}` in {}: `{}` {}",
        section.title,
        shown(text),
        problem.what
    );
    let place = section.place_of(key);
    report.add(
        Code::JobFileValue,
        place,
        section.path_of(key),
        message,
        problem.fix,
    );
    Some(None)
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

type Problem = (Code, String, String);

fn local_path(text: &str) -> Result<String, Problem> {
    let known =
        "use a local folder, such as `results`, `file:///data/results`, or `az://CONTAINER/PREFIX`";
    if text.starts_with('~') {
        let fix = "write the whole path; `~` is not expanded in a job file";
        return Err((Code::JobFileValue, "starts with `~`".into(), fix.into()));
    }
    if text.chars().any(char::is_control) {
        return Err((
            Code::JobFileValue,
            "has a control character".into(),
            "take it out".into(),
        ));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(text.to_owned());
    };
    match scheme {
        "az" => Err((
            Code::JobFileValue,
            "is blob storage, and this must be a folder".into(),
            "use a folder that every worker sees, such as `/shared/checkpoints`".into(),
        )),
        "https" | "http" if rest.contains(".blob.") => Err((
            Code::JobFileValue,
            "is the address of a blob service".into(),
            "write `az://CONTAINER/PREFIX`, and `account = \"NAME\"` beside it".into(),
        )),
        "file" => file_path(rest).ok_or_else(|| {
            let fix = "write `file:///` and an absolute path, with `%20` for a space";
            (
                Code::JobFileValue,
                "is no local file address".into(),
                fix.into(),
            )
        }),
        _ => {
            let what = format!(
                "is of the kind `{}://`, which petctl does not know",
                shown(scheme)
            );
            Err((Code::JobFileValue, what, known.into()))
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
    }

    #[test]
    fn addresses_of_a_service_are_refused_without_being_repeated() {
        assert_eq!(
            check_endpoint("http://127.0.0.1:10000/devstoreaccount1"),
            Ok(())
        );
        for bad in [
            "mystorage",
            "https://",
            "https://a?sig=geheim",
            "https://u:geheim@a",
            "https://a b",
        ] {
            let problem = format!("{:?}", check_endpoint(bad).unwrap_err());
            assert!(!problem.contains("geheim"), "{problem}");
        }
        assert!(check_account("my_account").is_err() && check_account("devstoreaccount1").is_ok());
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
