//! `[workers]`: how many workers, what each offers, and what it must pass before it joins.

use crate::model::{PreflightSpec, WorkersSpec};
use petctl_codes::Code;
use petctl_keyed::{Place, Report, Section};

/// Reads `[workers]`; what can't be used is reported and has its default.
pub(crate) fn read_workers(section: &Section<'_>, report: &mut Report<'_>) -> WorkersSpec {
    let (min, max, wanted) = (
        section.integer_u32("min"),
        section.integer_u32("max"),
        section.integer_u32("wanted"),
    );
    let ordered =
        |low: Option<u32>, high: Option<u32>| low.zip(high).is_none_or(|(low, high)| low <= high);
    let mut in_order = true;
    for (low, high, ordered) in [
        ("min", "max", ordered(min, max)),
        ("wanted", "max", ordered(wanted, max)),
        ("min", "wanted", ordered(min, wanted)),
    ] {
        if !ordered {
            in_order = false;
            report_order(section, low, high, report);
        }
    }
    let max = max.or(wanted).or(min).unwrap_or(1);
    let min = min.unwrap_or(1);
    let workers = WorkersSpec {
        min,
        max,
        wanted: wanted.unwrap_or(max),
        unit: section.integer_u32("unit").unwrap_or(1),
        slots: section.integer_u32("slots").unwrap_or(1),
        gpus: section.integer_u32("gpus").unwrap_or(0),
        spares: section.integer_u32("spares").unwrap_or(0),
        settle_timeout_ms: section.duration_ms("settle_timeout").unwrap_or(0),
        preflight: read_preflight(section, report),
    };
    if in_order {
        check_unit(&workers, section, report);
    }
    workers
}

/// Whether some number of workers from `min` to `most` is a multiple of `unit`.
pub(crate) fn unit_fits(unit: u32, min: u32, most: u32) -> bool {
    unit > 0 && most / unit * unit >= min.max(1)
}

fn report_order(section: &Section<'_>, low: &str, high: &str, report: &mut Report<'_>) {
    let value = |name: &str| section.integer_u32(name).unwrap_or_default();
    let message = format!(
        "`{low}` is {} and `{high}` is {}: `{low}` may not be larger",
        value(low),
        value(high)
    );
    let place = section.place_of(low).or_option(section.place_of(high));
    let fix = format!(
        "use `{low} = {}` or less, or `{high} = {}` or more",
        value(high),
        value(low)
    );
    report.add(
        Code::JobFileValue,
        place,
        section.path_of(low),
        message,
        fix,
    );
}

fn check_unit(workers: &WorkersSpec, section: &Section<'_>, report: &mut Report<'_>) {
    let WorkersSpec {
        min,
        max,
        wanted,
        unit,
        ..
    } = *workers;
    let (name, most) = if unit_fits(unit, min, max) {
        ("wanted", wanted)
    } else {
        ("max", max)
    };
    if unit_fits(unit, min, most) {
        return;
    }
    let message = format!(
        "`unit` is {unit}, and no multiple of it lies between `min`, which is {min}, and `{name}`, which is {most}"
    );
    let more = format!(
        "use `{name} = {}` or more",
        min.div_ceil(unit).saturating_mul(unit)
    );
    let fix = match most / unit * unit {
        0 => format!("{more}, or a smaller `unit`"),
        less => format!("{more}, or `min = {less}` or less"),
    };
    let places = ["min", "max", "wanted"].map(|name| section.place_of(name));
    let place = places
        .into_iter()
        .fold(section.place_of("unit"), Place::or_option);
    report.add(
        Code::JobFileValue,
        place,
        section.path_of("unit"),
        message,
        fix,
    );
}

fn read_preflight(workers: &Section<'_>, report: &mut Report<'_>) -> Option<PreflightSpec> {
    let title = "`preflight` of [workers]";
    let section = workers.table("preflight", title.into(), report)?;
    if section.has_only("timeout") {
        report.add(
            Code::JobFileMissing,
            workers.place_of("preflight"),
            workers.path_of("preflight"),
            format!("{title} checks nothing"),
            "name a check, such as `{ disk = \"10GiB\" }`, or take it out",
        );
    }
    let command = section.texts("command");
    let program = command.first().map(|(program, _)| *program);
    if section.node("command").is_some() && program.is_none_or(str::is_empty) {
        report.add(
            Code::JobFileValue,
            section.place_of("command"),
            section.path_of("command"),
            format!("`command` in {title} has no program"),
            "write it such as `command = [\"./check.sh\"]`",
        );
    }
    let mib = |name: &str| section.bytes(name).unwrap_or(0).div_ceil(1 << 20);
    Some(PreflightSpec {
        disk_mib: mib("disk"),
        memory_mib: mib("memory"),
        gpus: section.integer_u32("gpus").unwrap_or(0),
        command: command
            .into_iter()
            .map(|(text, _)| text.to_owned())
            .collect(),
        timeout_ms: section.duration_ms("timeout").unwrap_or(0),
    })
}
