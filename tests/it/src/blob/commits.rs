//! Whether a container holds what a job promises, whatever died.

use crate::blob::Blobs;
use crate::outputs::{Manifest, hash};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Holds the outputs below a prefix to a stage's promise: every shard has one commit, every file that it names is there
/// with its size and hash, and nothing else is: no claim, no prefix of an attempt that was lost.
///
/// # Panics
/// Where it breaks the promise; says where.
pub fn verify_blobs(
    blobs: &Blobs,
    prefix: &str,
    stage: &str,
    keys: &[String],
) -> BTreeMap<String, Manifest> {
    let root = joined(prefix, stage);
    let all = blobs.list(&format!("{root}/"));
    let mut left: BTreeSet<String> = all.keys().cloned().collect();
    let mut found = BTreeMap::new();
    for key in keys {
        let folder = format!("{root}/{key}");
        let register = format!("{folder}/manifest.json");
        let text = blobs
            .get(&register)
            .unwrap_or_else(|| panic!("no commit of {key}: there is no {register} in {all:#?}"));
        left.remove(&register);
        let (manifest, data) = commit(&text, stage, key);
        for file in manifest["files"].as_array().expect("a commit has files") {
            let name = file["name"].as_str().expect("a file has a name");
            let name = format!("{folder}/{data}/{name}");
            let bytes = blobs
                .get(&name)
                .unwrap_or_else(|| panic!("{register} names {name}, which is not there"));
            assert_eq!(file["bytes"].as_u64(), Some(bytes.len() as u64), "{name}");
            assert_eq!(
                file["sha256"].as_str(),
                Some(hash(&bytes).as_str()),
                "{name}"
            );
            left.remove(&name);
        }
        let number = |field: &str| manifest[field].as_u64().expect("a commit has numbers");
        found.insert(
            key.clone(),
            Manifest {
                key: key.clone(),
                attempt: number("attempt"),
                lease: crate::outputs::lease(&manifest),
                sha256: hash(&without_data(&text)),
            },
        );
    }
    // Markers of folders hold nothing.
    left.retain(|name| all[name] > 0);
    assert!(left.is_empty(), "no commit names these: {left:#?}");
    found
}

/// What a reader sees now, while the job runs or when it has died: each commit that is there is whole.
///
/// # Panics
/// Where something half-written can be seen.
pub fn verify_visible(blobs: &Blobs, prefix: &str, stage: &str) -> BTreeSet<String> {
    let root = format!("{}/", joined(prefix, stage));
    let mut seen = BTreeSet::new();
    for name in blobs.list(&root).keys() {
        let Some(key) = name
            .strip_prefix(&root)
            .and_then(|rest| rest.strip_suffix("/manifest.json"))
        else {
            continue;
        };
        // Taken away between two looks.
        let Some(text) = blobs.get(name) else {
            continue;
        };
        let manifest: Value = serde_json::from_slice(&text).expect("a register is JSON");
        let Some(files) = manifest["files"].as_array() else {
            assert!(manifest["claimed_by"].is_string(), "{name}: {manifest}");
            continue;
        };
        let data = manifest["data"].as_str().expect("a commit has its data");
        for file in files {
            let name = format!(
                "{root}{key}/{data}/{}",
                file["name"].as_str().unwrap_or_default()
            );
            let bytes = blobs.get(&name);
            let bytes = bytes.unwrap_or_else(|| panic!("{key} is committed without {name}"));
            assert_eq!(
                file["sha256"].as_str(),
                Some(hash(&bytes).as_str()),
                "{name}"
            );
        }
        seen.insert(key.to_owned());
    }
    seen
}

fn commit(text: &[u8], stage: &str, key: &str) -> (Value, String) {
    let manifest: Value =
        serde_json::from_slice(text).unwrap_or_else(|error| panic!("register of {key}: {error}"));
    assert!(
        manifest["files"].is_array(),
        "the register of {key} is no commit: {manifest}"
    );
    assert_eq!(manifest["stage"], stage, "commit of {key}");
    assert_eq!(manifest["key"], key, "commit of {key}");
    let data = manifest["data"].as_str().expect("a commit has its data");
    let named = ["attempt", "lineage", "lease_id"].map(|field| {
        let digits = manifest[field].as_str().map(str::to_owned);
        digits.unwrap_or_else(|| manifest[field].to_string())
    });
    assert_eq!(data, named.join("-"), "{manifest}");
    let data = data.to_owned();
    (manifest, data)
}

/// The manifest as it was before it became a commit: what the event log has the hash of.
fn without_data(text: &[u8]) -> Vec<u8> {
    let manifest: petctl_output::manifest::Manifest =
        serde_json::from_slice(text).expect("a commit holds a manifest");
    let mut bytes = serde_json::to_vec(&manifest).expect("a manifest is JSON");
    bytes.push(b'\n');
    bytes
}

fn joined(prefix: &str, stage: &str) -> String {
    match prefix {
        "" => stage.to_owned(),
        prefix => format!("{prefix}/{stage}"),
    }
}
