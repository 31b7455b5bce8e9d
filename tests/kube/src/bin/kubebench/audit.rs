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
    let before = ids(place)?;
    sleep(time);
    since(place, &before)
}

/// The ids of those so far.
pub(crate) fn ids(place: &Place) -> Result<BTreeSet<String>> {
    let all = requests(place)?.into_iter();
    Ok(all.map(|(id, _)| id).collect())
}

/// Those after these, by verb and resource.
pub(crate) fn since(place: &Place, before: &BTreeSet<String>) -> Result<BTreeMap<String, usize>> {
    let mut known = BTreeSet::new();
    let mut calls = BTreeMap::new();
    for (id, what) in requests(place)? {
        if !before.contains(&id) && known.insert(id) {
            *calls.entry(what).or_insert(0) += 1;
        }
    }
    Ok(calls)
}

/// `3 patch jobs + 1 watch pods`
pub(crate) fn named(calls: &BTreeMap<String, usize>) -> String {
    let named = calls.iter().map(|(what, count)| format!("{count} {what}"));
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        "none".to_owned()
    } else {
        named.join(" + ")
    }
}

/// How many there were since the place was set up.
pub(crate) fn so_far(place: &Place) -> Result<usize> {
    Ok(ids(place)?.len())
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
