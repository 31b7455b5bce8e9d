//! Whether a job may start here: is it the one that was there, and is its output its own.

use super::Settings;
use crate::commands::Context;
use crate::error::{Code, Error, Result};
use crate::job::{PreparedJob, canonical};
use crate::marker::{self, Owner};
use crate::state::{JobCard, JobFolder, now_ms};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Changed keys that are named.
const MAX_CHANGES: usize = 8;

/// How a job may start.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    /// To be written when the job starts.
    pub(crate) card: JobCard,
    /// This job was here before, and goes on.
    pub(crate) resumed: bool,
    /// Its output has a marker: results that are said to be there can be there.
    pub(crate) output_marked: bool,
    /// The output may be marked before the job is submitted: that says nothing about results that may be missing.
    pub(crate) mark_first: bool,
}

/// Checks the job against what was here before; clears earlier results where that is wanted.
pub(crate) async fn check(
    context: &Context,
    folder: &JobFolder,
    job: &PreparedJob,
    settings: &Settings,
) -> Result<Admitted> {
    let earlier = folder.card()?;
    let fingerprint = job.fingerprint_hex();
    let same = earlier
        .as_ref()
        .is_some_and(|card| card.fingerprint == fingerprint);
    if let (Some(card), false, false) = (&earlier, same, settings.rerun_all) {
        return Err(changed(card, job)?);
    }
    let owner = marker::owner(&job.spec, &fingerprint)?;
    match &owner {
        Owner::OtherJob(_) => return Err(marker::in_use(&job.spec, &owner)),
        // Our own state says that this job writes there; only the marker is gone.
        Owner::Strange(_) if !same => return Err(marker::in_use(&job.spec, &owner)),
        Owner::EarlierJob if !settings.rerun_all => return Err(marker::in_use(&job.spec, &owner)),
        Owner::Nobody | Owner::ThisJob | Owner::EarlierJob | Owner::Strange(_) => {}
    }
    if settings.rerun_all {
        clear(context, folder, job, &owner, earlier.as_ref(), settings.yes).await?;
    }
    let output_marked = owner != Owner::Nobody && !settings.rerun_all;
    let mark_first = output_marked || !same || settings.rerun_all;
    let card = card(job, earlier.filter(|_| same && !settings.rerun_all));
    Ok(Admitted {
        card,
        resumed: same,
        output_marked,
        mark_first,
    })
}

async fn clear(
    context: &Context,
    folder: &JobFolder,
    job: &PreparedJob,
    owner: &Owner,
    earlier: Option<&JobCard>,
    yes: bool,
) -> Result<()> {
    // What still runs could commit into the cleared folder.
    super::stop_orphans(folder).await?;
    if *owner == Owner::Nobody {
        return Ok(());
    }
    let output = &job.spec.storage.output;
    let name = &job.spec.name;
    context.confirm(
        yes,
        &format!("Delete the earlier results of job `{name}` in {output}?"),
    )?;
    let now = job.spec.stages.iter().map(|stage| stage.name.clone());
    let before = earlier
        .iter()
        .flat_map(|card| &card.spec.stages)
        .map(|stage| stage.name.clone());
    let stages: BTreeSet<String> = now.chain(before).collect();
    marker::clear(
        Path::new(output),
        &stages.into_iter().collect::<Vec<_>>(),
        false,
    )
}

fn card(job: &PreparedJob, earlier: Option<JobCard>) -> JobCard {
    let now = now_ms();
    JobCard {
        version: JobCard::VERSION,
        name: job.spec.name.clone(),
        job_file: job.file.path.display().to_string(),
        set: job.file.set.clone(),
        output: job.spec.storage.output.clone(),
        fingerprint: job.fingerprint_hex(),
        spec: job.spec.clone(),
        listed: job.listed(),
        accepted_at_ms: earlier.map_or(now, |card| card.accepted_at_ms),
        started_at_ms: now,
        pid: std::process::id(),
    }
}

/// The error for a job file that is not the one that was submitted under this name.
fn changed(card: &JobCard, job: &PreparedJob) -> Result<Error> {
    let mut changes = Vec::new();
    differences(
        "",
        &canonical(&card.spec)?,
        &canonical(&job.spec)?,
        &mut changes,
    );
    for (index, stage) in job.spec.stages.iter().enumerate() {
        let before = card.listed.get(index).copied().unwrap_or(0);
        let now = job.keys.get(index).map_or(0, |keys| keys.len() as u64);
        if before != now {
            changes.push(format!(
                "the files of stage `{}` ({before} before, {now} now)",
                stage.name
            ));
        }
    }
    if changes.is_empty() {
        let listed = job.keys.iter().any(|keys| !keys.is_empty());
        let what = if listed {
            "the names of the listed files"
        } else {
            "the version of petctl"
        };
        changes.push(what.to_owned());
    }
    let more = changes.len().saturating_sub(MAX_CHANGES);
    changes.truncate(MAX_CHANGES);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let name = &card.name;
    let message = format!(
        "job `{name}` is not the one that was run before: {}{more} changed",
        changes.join(", ")
    );
    Ok(Error::new(Code::JobExists, message).fix(
        "run all of it again: --rerun all (deletes its earlier results); or keep them and start another job: \
         --set job.name=NAME --set storage.output=DIR",
    ))
}

/// Keys whose values differ, as they are called in a job file.
fn differences(path: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
            for key in keys {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                differences(
                    &path,
                    before.get(key).unwrap_or(&Value::Null),
                    now.get(key).unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        (Value::Array(before), Value::Array(now))
            if path == "stages" && same_names(before, now) =>
        {
            for (before, now) in before.iter().zip(now) {
                let name = now.get("name").and_then(Value::as_str).unwrap_or("?");
                differences(&format!("stage.{name}"), before, now, found);
            }
        }
        (before, now) if before != now => {
            let name = key_name(path);
            if !found.contains(&name) {
                found.push(name);
            }
        }
        _ => {}
    }
}

fn same_names(before: &[Value], now: &[Value]) -> bool {
    let names = |stages: &[Value]| {
        stages
            .iter()
            .map(|stage| stage.get("name").cloned())
            .collect::<Vec<_>>()
    };
    names(before) == names(now)
}

/// The job file's word for a key of the resolved job.
fn key_name(path: &str) -> String {
    let renamed = [
        ("stages", "the stages"),
        ("folder", "the folder of the job file"),
        ("gpus", "workers.gpus"),
        ("name", "job.name"),
    ];
    if let Some((_, name)) = renamed.iter().find(|(key, _)| *key == path) {
        return (*name).to_owned();
    }
    let path = path
        .replace(".kind.shards", ".shards")
        .replace(".kind.train.processes.number", ".processes_per_worker")
        .replace(".kind.train.processes", ".processes_per_worker")
        .replace(".kind.train.", ".")
        .replace(".kind.train", ".kind");
    // Both ends of a range are one key.
    match path.split_once(".range.") {
        Some((shards, _end)) => format!("{shards}.range"),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_named_as_in_the_job_file() {
        let before = json!({ "name": "j", "gpus": 1, "stages": [{ "name": "a", "kind": { "shards": 1 }, "command": ["x"] }] });
        let now = json!({ "name": "j", "gpus": 2, "stages": [{ "name": "a", "kind": { "shards": 2 }, "command": ["x"] }] });
        let mut found = Vec::new();
        differences("", &before, &now, &mut found);
        assert_eq!(found, ["workers.gpus", "stage.a.shards"]);
        let train = |count: u32| json!({ "stages": [{ "name": "a", "kind": { "train": { "processes": { "number": count } } } }] });
        found.clear();
        differences("", &train(1), &train(2), &mut found);
        assert_eq!(found, ["stage.a.processes_per_worker"]);
        let other = json!({ "name": "j", "gpus": 1, "stages": [] });
        found.clear();
        differences("", &before, &other, &mut found);
        assert_eq!(found, ["the stages"]);
    }
}
