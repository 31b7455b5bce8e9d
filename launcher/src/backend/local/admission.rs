//! Whether a job may start here: is it the one that was there, and is its output its own.

use super::Settings;
use crate::commands::Context;
use crate::error::Result;
use crate::job::{PreparedJob, canonical};
use crate::marker::{self, Owner};
use crate::state::{JobCard, JobFolder, now_ms};
use petctl_core::Rerun;
use serde_json::Value;
use std::collections::BTreeSet;

/// Changed keys that are named.
const MAX_CHANGES: usize = 8;

/// How a job may start.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    /// To be written when the job starts.
    pub(crate) card: JobCard,
    /// Nothing of it was here before, or nothing of that is to be left.
    pub(crate) first: bool,
    /// What changed since it was here before: keys of the job file and lists of files.
    pub(crate) changes: Vec<String>,
    /// Its output is that of before: what is no part of the job any more can be taken out of it.
    pub(crate) same_output: bool,
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
    let rerun_all = settings.rerun == Rerun::All;
    let same = earlier
        .as_ref()
        .is_some_and(|card| card.fingerprint == fingerprint);
    let output = &job.spec.storage.output;
    let owner = marker::owner(&job.spec, &fingerprint).await?;
    let known = earlier
        .as_ref()
        .is_some_and(|card| card.knows(&owner, output));
    match &owner {
        Owner::OtherJob(_) => return Err(marker::in_use(&job.spec, &owner)),
        Owner::Strange(_) if !known => return Err(marker::in_use(&job.spec, &owner)),
        Owner::EarlierJob(_) if !known && !rerun_all => {
            return Err(marker::in_use(&job.spec, &owner));
        }
        Owner::Nobody | Owner::ThisJob | Owner::EarlierJob(_) | Owner::Strange(_) => {}
    }
    if rerun_all {
        clear(context, folder, job, &owner, earlier.as_ref(), settings.yes).await?;
    } else if !same && earlier.is_some() {
        // What still runs is of the version before.
        super::stop_orphans(folder).await?;
    }
    let output_marked = owner != Owner::Nobody && !rerun_all;
    let changes = match &earlier {
        Some(card) if !same => changes(card, job)?,
        Some(_) | None => Vec::new(),
    };
    let first = earlier.is_none() || rerun_all;
    let same_output = earlier.as_ref().is_some_and(|card| card.output == *output);
    let mark_first = output_marked || !same || rerun_all;
    Ok(Admitted {
        card: card(job, earlier, same && !rerun_all),
        first,
        changes,
        same_output,
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
    let stages: Vec<String> = stages.into_iter().collect();
    marker::clear(&job.spec, &stages, false).await
}

fn card(job: &PreparedJob, earlier: Option<JobCard>, same: bool) -> JobCard {
    let now = now_ms();
    let fingerprint = job.fingerprint_hex();
    let accepted_at_ms = earlier
        .as_ref()
        .filter(|_| same)
        .map(|card| card.accepted_at_ms);
    JobCard {
        version: JobCard::VERSION,
        name: job.spec.name.clone(),
        job_file: job.file.path.display().to_string(),
        set: job.file.set.clone(),
        output: job.spec.storage.output.clone(),
        spec: job.spec.clone(),
        listed: job.listed(),
        accepted_at_ms: accepted_at_ms.unwrap_or(now),
        started_at_ms: now,
        pid: std::process::id(),
        before: earlier.and_then(|card| {
            if card.fingerprint == fingerprint {
                card.before
            } else {
                Some(card.fingerprint)
            }
        }),
        fingerprint,
        date: job.date.clone(),
    }
}

/// What is not as it was when the job was last run: keys of the job file, and lists of files.
fn changes(card: &JobCard, job: &PreparedJob) -> Result<Vec<String>> {
    let mut changes = Vec::new();
    differences(
        "",
        &canonical(&card.spec)?,
        &canonical(&job.spec)?,
        &mut changes,
    );
    for (index, (stage, now)) in job.spec.stages.iter().zip(job.listed()).enumerate() {
        let before = card.listed.get(index).copied().unwrap_or(0);
        if before != now {
            changes.push(format!(
                "the files of stage `{}` ({before} before, {now} now)",
                stage.name
            ));
        }
    }
    let more = changes.len().saturating_sub(MAX_CHANGES);
    changes.truncate(MAX_CHANGES);
    if more > 0 {
        changes.push(format!("{more} more"));
    }
    Ok(changes)
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
