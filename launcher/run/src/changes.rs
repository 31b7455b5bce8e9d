//! What changed in a job since it was last run, as its author calls it.

use petctl_job::home::JobCard;
use petctl_job::{PreparedJob, canonical};
use petctl_ui::Result;
use serde_json::Value;
use std::collections::BTreeSet;

/// Changed keys that are named.
const MAX_CHANGES: usize = 8;

/// What is not as it was when the job was last run: keys of the job file, and lists of files.
pub(crate) fn changes(card: &JobCard, job: &PreparedJob) -> Result<Vec<String>> {
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
