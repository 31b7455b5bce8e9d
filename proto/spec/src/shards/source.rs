//! `shards`: where a stage's shards come from.

use crate::model::{MAX_SHARDS, ShardSource};
use crate::parts::storage::read_root;
use crate::shards::key::{KeyError, check_keys};
use crate::shards::matrix::read_matrix;
use crate::shards::{self, ShardGlob, ShardSourceError};
use petctl_codes::Code;
use petctl_keyed::{Node, Place, Report, Section, Value};
use petctl_text::dates;
use petctl_text::words::{shown, thousands};

const SOURCES: [&str; 6] = ["glob", "range", "dates", "values", "manifest", "matrix"];

/// Reads the table; `None` where it names no usable source. Relative paths are those of `folder`.
pub(crate) fn read_source(
    table: &Section<'_>,
    folder: &str,
    report: &mut Report<'_>,
) -> Option<ShardSource> {
    let fix = "write one of `glob`, `range`, `dates`, `values`, `manifest` and `matrix`, such as `{ range = [0, 1000] }`";
    match only_source(table, &SOURCES, fix, report)? {
        "glob" => read_glob(table, report),
        "manifest" => read_manifest(table, folder, report),
        "matrix" => read_matrix(table, report),
        computed => read_computed(table, computed, report),
    }
}

/// The one source that is named; `None`, and a word about it, where there are none or two.
pub(crate) fn only_source(
    table: &Section<'_>,
    sources: &[&'static str],
    fix: &str,
    report: &mut Report<'_>,
) -> Option<&'static str> {
    let given = sources
        .iter()
        .filter(|name| table.is_given(name))
        .copied()
        .collect::<Vec<_>>();
    let Some(first) = given.first() else {
        if !table.has_only("step") {
            // A key with a slip in it, most likely; it has been reported.
            return None;
        }
        let message = format!("{} says not where the shards come from", table.title);
        report.add(
            Code::JobFileMissing,
            table.place,
            table.path.clone(),
            message,
            fix,
        );
        return None;
    };
    if let Some(second) = given.get(1) {
        let message = format!("{} has both `{first}` and `{second}`", table.title);
        let place = table.place_of(second).or_option(table.place_of(first));
        report.add(
            Code::JobFileValue,
            place,
            table.path_of(second),
            message,
            "keep one of them",
        );
        return None;
    }
    if table.is_given("step") && *first != "dates" {
        let message = format!("`step` in {} is for `dates` alone", table.title);
        report.add(
            Code::JobFileValue,
            table.place_of("step"),
            table.path_of("step"),
            message,
            "take it out",
        );
    }
    Some(first)
}

/// A source that an axis may be, too.
pub(crate) fn read_computed(
    table: &Section<'_>,
    name: &str,
    report: &mut Report<'_>,
) -> Option<ShardSource> {
    match name {
        "range" => read_range(table, report),
        "dates" => read_dates(table, report),
        _ => read_values(table, report),
    }
}

fn read_manifest(
    table: &Section<'_>,
    folder: &str,
    report: &mut Report<'_>,
) -> Option<ShardSource> {
    let root = read_root(table, "manifest", folder, report)??;
    if root.is_whole_container() {
        let message = format!(
            "`manifest` in {} is a container, not a file in it",
            table.title
        );
        report.add(
            Code::JobFileValue,
            table.place_of("manifest"),
            table.path_of("manifest"),
            message,
            "write such as `az://raw/us101/shards.jsonl`",
        );
        return None;
    }
    Some(ShardSource::Manifest(root.to_string()))
}

fn read_glob(table: &Section<'_>, report: &mut Report<'_>) -> Option<ShardSource> {
    let pattern = table.text("glob")?;
    if let Err(error) = ShardGlob::new(pattern) {
        let message = format!("`glob` in {}: {error}", table.title);
        let fix = "write a pattern such as \"**/*.xml\", relative to the input folder";
        report.add(
            Code::JobFileValue,
            table.place_of("glob"),
            table.path_of("glob"),
            message,
            fix,
        );
        return None;
    }
    Some(ShardSource::Glob(pattern.to_owned()))
}

fn read_range(table: &Section<'_>, report: &mut Report<'_>) -> Option<ShardSource> {
    let mut bound = |node: &Node| {
        let Value::Integer(number) = node.value else {
            return None;
        };
        let bound = u64::try_from(number)
            .ok()
            .filter(|bound| i64::try_from(*bound).is_ok());
        if bound.is_none() {
            let message = format!("`range` in {} goes from 0 to at most 2^63 - 1", table.title);
            let fix = "write it such as `range = [0, 1000]`";
            report.add(
                Code::JobFileValue,
                node.place,
                table.path_of("range"),
                message,
                fix,
            );
        }
        bound
    };
    let bounds = table
        .list("range")
        .iter()
        .map(&mut bound)
        .collect::<Vec<_>>();
    let [Some(start), Some(end)] = bounds[..] else {
        return None;
    };
    let place = table.place_of("range");
    if start >= end {
        let message = format!(
            "`range = [{start}, {end}]` in {} has no shards: it ends before {end}",
            table.title
        );
        let fix = format!("write an end above {start}; the end itself does not belong to it");
        report.add(Code::NoShards, place, table.path_of("range"), message, fix);
        return None;
    }
    check_count(table, "range", ShardSource::Range { start, end }, report)
}

fn read_dates(table: &Section<'_>, report: &mut Report<'_>) -> Option<ShardSource> {
    let mut date = |node: &Node| {
        let text = node.value.as_scalar()?;
        let read = dates::parse_date(&text);
        if let Err(why) = &read {
            let message = format!("`dates` in {}: `{}`: {why}", table.title, shown(&text));
            let fix = "write days such as \"2024-01-31\"";
            report.add(
                Code::JobFileValue,
                node.place,
                table.path_of("dates"),
                message,
                fix,
            );
        }
        Some((read.ok()?, text))
    };
    let ends = table
        .list("dates")
        .iter()
        .map(&mut date)
        .collect::<Vec<_>>();
    let step = table.text("step").unwrap_or("1d");
    if let Err(why) = dates::parse_step(step) {
        let message = format!(
            "`step` in {}: `{}` is no distance: {why}",
            table.title,
            shown(step)
        );
        let fix = "write 1d, 1w, 1mo or 1y, or more of them";
        report.add(
            Code::JobFileValue,
            table.place_of("step"),
            table.path_of("step"),
            message,
            fix,
        );
        return None;
    }
    let [Some((first, first_text)), Some((last, last_text))] = &ends[..] else {
        return None;
    };
    if first > last {
        let message = format!(
            "`dates` in {} go from {first} to {last}, which is earlier",
            table.title
        );
        let fix = format!("write `dates = [\"{last}\", \"{first}\"]`");
        report.add(
            Code::NoShards,
            table.place_of("dates"),
            table.path_of("dates"),
            message,
            fix,
        );
        return None;
    }
    let source = ShardSource::Dates {
        first: first_text.clone(),
        last: last_text.clone(),
        step: step.to_owned(),
    };
    check_count(table, "dates", source, report)
}

fn read_values(table: &Section<'_>, report: &mut Report<'_>) -> Option<ShardSource> {
    table.node("values")?;
    check_values(table, "values", table.list("values"), report)
}

/// The keys of a list, which may stand for `values` or for an axis.
pub(crate) fn check_values(
    table: &Section<'_>,
    name: &str,
    items: &[Node],
    report: &mut Report<'_>,
) -> Option<ShardSource> {
    let values = items
        .iter()
        .filter_map(|item| item.value.as_scalar())
        .collect::<Vec<_>>();
    let (code, place, message, fix) = match check_keys(&values) {
        Ok(()) => return Some(ShardSource::Values(values)),
        Err(KeyError::None) => {
            let message = format!(
                "`{name}` in {} is empty: the stage has no shards",
                table.title
            );
            (
                Code::NoShards,
                table.place_of(name),
                message,
                "write one or more keys".to_owned(),
            )
        }
        Err(KeyError::TooMany(count)) => {
            let (message, fix) = too_many_shards(count as u128);
            (
                Code::TooManyShards,
                table.place_of(name),
                format!("`{name}` in {}: {message}", table.title),
                fix,
            )
        }
        Err(error @ KeyError::Invalid { index, .. }) => {
            let place = items.get(index).map_or(Place::Whole, |item| item.place);
            let fix =
                "a key is the path of a folder, such as \"a\" or \"north/12\"; no two are the same"
                    .to_owned();
            (
                Code::InvalidShardKey,
                place,
                format!("`{name}` in {}: {error}", table.title),
                fix,
            )
        }
    };
    report.add(code, place, table.path_of(name), message, fix);
    None
}

/// Refuses a source whose count is over the bound.
pub(crate) fn check_count(
    table: &Section<'_>,
    name: &str,
    source: ShardSource,
    report: &mut Report<'_>,
) -> Option<ShardSource> {
    let (code, message, fix) = match shards::keys(&source) {
        Ok(_) => return Some(source),
        Err(ShardSourceError::TooMany(count)) => {
            debug_assert!(count > MAX_SHARDS, "over the bound");
            let (message, fix) = too_many_shards(u128::from(count));
            (Code::TooManyShards, message, fix)
        }
        Err(
            error @ (ShardSourceError::Listed
            | ShardSourceError::Invalid { .. }
            | ShardSourceError::Empty),
        ) => (Code::JobFileValue, error.to_string(), String::new()),
    };
    report.add(
        code,
        table.place_of(name),
        table.path_of(name),
        format!("`{name}` in {}: {message}", table.title),
        fix,
    );
    None
}

/// The message about too many shards, which more than one reader gives.
pub(crate) fn too_many_shards(count: u128) -> (String, String) {
    let message = format!(
        "{} shards are more than the {} a job may have",
        thousands(count),
        thousands(u128::from(MAX_SHARDS))
    );
    (message, "split the job".to_owned())
}
