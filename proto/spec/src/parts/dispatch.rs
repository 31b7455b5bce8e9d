//! How a stage's shards are handed out and judged: where it runs, warm processes, GPUs, exit codes, failures allowed.

use crate::model::{DispatchSpec, MinDone, RunMode, ServeSpec, StageKind};
use crate::shards::stage_count;
use petctl_codes::Code;
use petctl_keyed::{Report, Section, Value};
use petctl_text::duration::parse_percent_ppm;

/// Reads a stage's own keys of it; what can't be used is reported.
pub(crate) fn read_dispatch(
    section: &Section<'_>,
    workers: Option<&Section<'_>>,
    report: &mut Report<'_>,
) -> Option<DispatchSpec> {
    // What a training can't say has been reported.
    if section.text("kind") == Some("train") {
        return Some(DispatchSpec::default());
    }
    let gpu_milli = section.thousandths("gpus");
    check_gpus(section, workers, gpu_milli, report);
    check_codes(section, report);
    Some(DispatchSpec {
        run_mode: if section.text("run_mode") == Some("local") {
            RunMode::Local
        } else {
            RunMode::Workers
        },
        serve: read_serve(section, report),
        speculative: section.switch("speculative"),
        gpu_milli,
        retry_on: section.exit_codes("retry_on"),
        skip_on: section.exit_codes("skip_on"),
        allow_failed_ppm: section.share_ppm("allow_failed"),
        min_done: min_done(section),
        run_after_skip: section.switch("run_after_skip"),
    })
}

/// A number of shards, or a percentage of them.
fn min_done(section: &Section<'_>) -> MinDone {
    match section.node("min_done").map(|node| &node.value) {
        Some(Value::Integer(count)) => {
            u64::try_from(*count).map_or(MinDone::Nothing, MinDone::Shards)
        }
        Some(Value::Text(text)) => parse_percent_ppm(text).map_or(MinDone::Nothing, MinDone::Ppm),
        Some(_) | None => MinDone::Nothing,
    }
}

/// More shards that must be done than the stage can have.
pub(crate) fn check_min_done(
    section: &Section<'_>,
    kind: Option<&StageKind>,
    report: &mut Report<'_>,
) {
    let MinDone::Shards(min) = min_done(section) else {
        return;
    };
    let Some(count) = kind.and_then(stage_count).filter(|count| *count < min) else {
        return;
    };
    let (has, fix) = match count {
        1 => ("one shard".to_owned(), "write `min_done = 1`".to_owned()),
        _ => (
            format!("{count} shards"),
            format!("use a number from 1 to {count}, or a percentage such as \"80%\""),
        ),
    };
    let message = format!(
        "`min_done` in {} is {min}, and the stage has {has}",
        section.title
    );
    add(section, "min_done", message, fix, report);
}

fn read_serve(section: &Section<'_>, report: &mut Report<'_>) -> Option<ServeSpec> {
    let start_timeout_ms = section.duration_ms("start_timeout")?;
    if section.switch("serve") {
        if start_timeout_ms == 0 {
            let message = format!(
                "`start_timeout` in {} is 0s: no process is ready that soon",
                section.title
            );
            let fix = "use a longer one, such as \"2m\"";
            add(section, "start_timeout", message, fix, report);
        }
        return Some(ServeSpec { start_timeout_ms });
    }
    // Of a stage that runs once it has been said already.
    if section.is_given("start_timeout") && section.text("kind") == Some("shards") {
        let message = format!(
            "`start_timeout` in {} is for warm processes, and it has no `serve = true`",
            section.title
        );
        let fix = "take it out, or add `serve = true`";
        add(section, "start_timeout", message, fix, report);
    }
    None
}

fn check_gpus(
    section: &Section<'_>,
    workers: Option<&Section<'_>>,
    gpu_milli: u32,
    report: &mut Report<'_>,
) {
    if gpu_milli == 0 {
        return;
    }
    let asked = section.scalar("gpus").unwrap_or_default();
    if gpu_milli > 1_000 && !gpu_milli.is_multiple_of(1_000) {
        let message = format!(
            "`gpus` in {} is {asked}: above 1 only whole GPUs can be asked for",
            section.title
        );
        let fix = format!(
            "use {} or {}, or a part of one",
            gpu_milli / 1_000,
            gpu_milli.div_ceil(1_000)
        );
        return add(section, "gpus", message, fix, report);
    }
    let Some(offered) = workers.and_then(|workers| workers.integer_u32("gpus")) else {
        return;
    };
    if u64::from(gpu_milli) > u64::from(offered) * 1_000 {
        let has = match offered {
            0 => "[workers] has no `gpus`".to_owned(),
            count => format!("a worker offers {count}"),
        };
        let message = format!("`gpus` in {} is {asked}, but {has}", section.title);
        let fix = format!(
            "add `gpus = {}` or more to [workers]",
            gpu_milli.div_ceil(1_000)
        );
        add(section, "gpus", message, fix, report);
    }
}

fn check_codes(section: &Section<'_>, report: &mut Report<'_>) {
    let retry_on = section.exit_codes("retry_on");
    if section.node("retry_on").is_some() && retry_on.is_empty() {
        let message = format!("`retry_on` in {} names no exit code", section.title);
        let fix = "take it out: then all are tried again; or use `retries = 0` to try none again";
        add(section, "retry_on", message, fix, report);
    }
    let skip_on = section.exit_codes("skip_on");
    if let Some(code) = retry_on.iter().find(|code| skip_on.contains(code)) {
        let message = format!(
            "`retry_on` and `skip_on` in {} both name the exit code {code}",
            section.title
        );
        add(
            section,
            "skip_on",
            message,
            "take it out of one of them",
            report,
        );
    }
}

fn add(
    section: &Section<'_>,
    key: &str,
    message: String,
    fix: impl Into<String>,
    report: &mut Report<'_>,
) {
    let place = section.place_of(key);
    report.add(
        Code::JobFileValue,
        place,
        section.path_of(key),
        message,
        fix,
    );
}
