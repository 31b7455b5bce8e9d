//! `[job]` and `[setup]`: what the job is called, what its commands are made of, and what comes before them.

use crate::keys::MAX_TEXT_BYTES;
use crate::model::SetupSpec;
use crate::shards::ShardGlob;
use petctl_codes::Code;
use petctl_keyed::{Report, Section};
use petctl_text::words::shown;

/// What `[job]` says.
pub(crate) struct JobTable {
    pub(crate) name: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) code: Vec<String>,
}

/// Reads `[job]`; what can't be used is reported.
pub(crate) fn read_job_table(section: &Section<'_>, report: &mut Report<'_>) -> JobTable {
    JobTable {
        name: section.text("name").map(str::to_owned),
        image: read_image(section, report),
        code: read_code(section, report),
    }
}

/// Whether a container image is named with its digest: `name@sha256:` and 64 digits in lower case.
pub(crate) fn is_image(text: &str) -> bool {
    let strange = |c: char| c.is_whitespace() || c.is_control();
    let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    text.split_once("@sha256:").is_some_and(|(name, digest)| {
        !name.is_empty()
            && !name.contains(strange)
            && !name.contains('@')
            && digest.len() == 64
            && digest.bytes().all(digit)
    })
}

/// Whether it can be a pattern of code files.
pub(crate) fn check_code(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() || pattern.len() > MAX_TEXT_BYTES {
        return Err(format!(
            "a pattern has 1 to {MAX_TEXT_BYTES} bytes; this one has {}",
            pattern.len()
        ));
    }
    ShardGlob::below(pattern, "the job file's folder")
        .map(drop)
        .map_err(|error| error.to_string())
}

fn read_image(section: &Section<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = section.text("image")?;
    if is_image(text) {
        return Some(text.to_owned());
    }
    let why = if text.contains("@sha256:") {
        "has a digest that is none"
    } else {
        "has no digest, and what a tag stands for can change"
    };
    let message = format!("`image` in {}: `{}` {why}", section.title, shown(text));
    let fix = "write `NAME@sha256:` and the 64 digits that `docker images --digests` shows";
    let place = section.place_of("image");
    report.add(
        Code::JobFileValue,
        place,
        section.path_of("image"),
        message,
        fix,
    );
    None
}

fn read_code(section: &Section<'_>, report: &mut Report<'_>) -> Vec<String> {
    let mut code = Vec::new();
    for (pattern, place) in section.texts("code") {
        match check_code(pattern) {
            Ok(()) => code.push(pattern.to_owned()),
            Err(why) => {
                let message = format!("`code` in {}: {why}", section.title);
                let fix = "write patterns such as \"*.py\" or \"lib/**\", relative to the job file";
                report.add(
                    Code::JobFileValue,
                    place,
                    section.path_of("code"),
                    message,
                    fix,
                );
            }
        }
    }
    code
}

/// Reads `[setup]`; what can't be used is reported.
pub(crate) fn read_setup(section: &Section<'_>, report: &mut Report<'_>) -> Option<SetupSpec> {
    let node = section.node("command")?;
    let command = section.texts("command");
    if command
        .first()
        .is_none_or(|(program, _)| program.is_empty())
    {
        report.add(
            Code::JobFileValue,
            node.place,
            section.path_of("command"),
            format!("`command` in {} has no program", section.title),
            "write it such as `command = [\"./prepare.sh\"]`",
        );
        return None;
    }
    Some(SetupSpec {
        command: command
            .into_iter()
            .map(|(text, _)| text.to_owned())
            .collect(),
        timeout_ms: section.duration_ms("timeout")?,
    })
}
