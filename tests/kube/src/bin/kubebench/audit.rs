//! What the coordinator asks the API server.

use crate::place::Place;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// Requests that were begun in this time by the coordinator of a place, by verb and resource. A watch is one request,
/// however long it lasts.
pub(crate) fn calls(place: &Place, time: Duration) -> Result<BTreeMap<String, usize>> {
    let before = requests(place)?.into_iter().map(|(id, _)| id);
    let before: BTreeSet<String> = before.collect();
    sleep(time);
    let mut known = BTreeSet::new();
    let mut calls = BTreeMap::new();
    for (id, what) in requests(place)? {
        if !before.contains(&id) && known.insert(id) {
            *calls.entry(what).or_insert(0) += 1;
        }
    }
    Ok(calls)
}

/// How many there were since the place was set up.
pub(crate) fn so_far(place: &Place) -> Result<usize> {
    let ids = requests(place)?.into_iter().map(|(id, _)| id);
    Ok(ids.collect::<BTreeSet<_>>().len())
}

/// The id of each request and what it asks; some twice.
fn requests(place: &Place) -> Result<Vec<(String, String)>> {
    let log = place.bed.audit_log();
    let text = fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    let user = format!(
        "system:serviceaccount:{}:petctl-coordinator",
        place.namespace.name()
    );
    let request = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        if event["user"]["username"] != user.as_str() {
            return None;
        }
        let resource = event["objectRef"]["resource"].as_str().unwrap_or("?");
        let what = format!("{} {resource}", event["verb"].as_str().unwrap_or("?"));
        Some((event["auditID"].as_str()?.to_owned(), what))
    };
    Ok(text.lines().filter_map(request).collect())
}
