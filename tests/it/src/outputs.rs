//! Whether outputs and event log are as they must be, whatever died.

use crate::ask::Event;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use walkdir::WalkDir;

/// The manifest of a committed folder, held to its files.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Key of the shard.
    pub key: String,
    /// 1 for the first attempt.
    pub attempt: u64,
    /// The lease under which it was made.
    pub lease: u64,
    /// SHA-256 of the manifest itself, hex.
    pub sha256: String,
}

/// Holds an output folder to a stage's promise: every shard is committed, every manifest's names, sizes and hashes hold,
/// nothing else can be seen, and nothing of an attempt is left.
///
/// # Panics
/// Where it breaks the promise; says where.
pub fn verify_outputs(output: &Path, stage: &str, keys: &[String]) -> BTreeMap<String, Manifest> {
    let found = committed(output, stage);
    let wanted: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    let there: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    let missing: Vec<_> = wanted.difference(&there).collect();
    let more: Vec<_> = there.difference(&wanted).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "of stage {stage} are missing {missing:?}, and too many {more:?}"
    );
    let attempts = output.join(".petctl/attempts");
    let left: Vec<_> = WalkDir::new(&attempts)
        .min_depth(2)
        .into_iter()
        .flatten()
        .map(walkdir::DirEntry::into_path)
        .collect();
    assert!(left.is_empty(), "attempts are left: {left:#?}");
    found
}

/// Holds an event log to its promise: one commit of each shard, of just the manifest that can be read now.
///
/// # Panics
/// Where it breaks the promise; says where.
pub fn verify_commits(events: &[Event], found: &BTreeMap<String, Manifest>, keys: &[String]) {
    let mut commits: BTreeMap<&str, &Event> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event.kind == "shard_committed")
    {
        let shard = event.text_of("shard");
        let key = keys.iter().find(|key| *key == shard);
        let key = key.unwrap_or_else(|| panic!("a commit of shard {shard}: {event:?}"));
        let earlier = commits.insert(key, event);
        assert!(
            earlier.is_none(),
            "shard {key} was committed twice: {earlier:?} and {event:?}"
        );
    }
    for key in keys {
        let event = commits
            .get(key.as_str())
            .unwrap_or_else(|| panic!("no commit of shard {key} in the event log"));
        let manifest = found
            .get(key)
            .unwrap_or_else(|| panic!("no outputs of shard {key}"));
        assert_eq!(
            event.text_of("manifest_sha256"),
            manifest.sha256,
            "the commit of shard {key}: {event:?}, {manifest:?}"
        );
    }
    let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert!(
        sequences.is_sorted_by(|a, b| a < b),
        "the event log is out of order: {sequences:?}"
    );
}

/// Every folder of a stage that has a manifest, checked; panics where a file belongs to none.
fn committed(output: &Path, stage: &str) -> BTreeMap<String, Manifest> {
    let root = output.join(stage);
    let mut found = BTreeMap::new();
    if !root.exists() {
        return found;
    }
    let mut walk = WalkDir::new(&root)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.unwrap_or_else(|error| panic!("can't walk {}: {error}", root.display()));
        let path = entry.path();
        assert!(
            path.is_dir(),
            "{} belongs to no committed folder",
            path.display()
        );
        if path.join("manifest.json").exists() {
            let key = path
                .strip_prefix(&root)
                .ok()
                .and_then(Path::to_str)
                .expect("keys are texts")
                .to_owned();
            found.insert(key.clone(), check(path, stage, &key));
            walk.skip_current_dir();
        } else {
            let empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
            assert!(!empty, "{} is an empty folder", path.display());
        }
    }
    found
}

fn check(folder: &Path, stage: &str, key: &str) -> Manifest {
    let read = |path: &Path| {
        fs::read(path).unwrap_or_else(|error| panic!("can't read {}: {error}", path.display()))
    };
    let text = read(&folder.join("manifest.json"));
    let manifest: Value =
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("manifest of {key}: {error}"));
    assert_eq!(manifest["stage"], stage, "manifest of {key}");
    assert_eq!(manifest["key"], key, "manifest of {key}");
    let mut named = BTreeSet::from(["manifest.json".to_owned()]);
    for file in manifest["files"]
        .as_array()
        .expect("a manifest names its files")
    {
        let name = file["name"].as_str().expect("a file has a name");
        let bytes = read(&folder.join(name));
        assert_eq!(
            file["bytes"].as_u64(),
            Some(bytes.len() as u64),
            "size of {name} of {key}"
        );
        assert_eq!(
            file["sha256"].as_str(),
            Some(hash(&bytes).as_str()),
            "SHA-256 of {name} of {key}"
        );
        named.insert(name.to_owned());
    }
    for entry in WalkDir::new(folder)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
    {
        let name = entry
            .path()
            .strip_prefix(folder)
            .expect("it is below the folder")
            .display()
            .to_string();
        assert!(
            named.contains(&name),
            "{name} of {key} is not in its manifest"
        );
    }
    Manifest {
        key: key.to_owned(),
        attempt: manifest["attempt"]
            .as_u64()
            .expect("a manifest has an attempt"),
        lease: lease(&manifest),
        sha256: hash(&text),
    }
}

/// The lease that a manifest names.
pub(crate) fn lease(manifest: &Value) -> u64 {
    let digits = manifest["lease_id"].as_str().unwrap_or_default();
    u64::from_str_radix(digits, 16).expect("a manifest has a lease, in hex digits")
}

pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An output folder with one good shard.
    fn good() -> tempfile::TempDir {
        let output = tempfile::tempdir().unwrap();
        let folder = output.path().join("work/0");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("data"), "good").unwrap();
        let manifest = json!({
            "stage": "work", "key": "0", "attempt": 1, "lease_id": "0000000000000007",
            "files": [{ "name": "data", "bytes": 4, "sha256": hash(b"good") }],
        });
        fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        output
    }

    /// Its name, and what does it.
    type Damage = (&'static str, fn(&Path));

    fn holds(output: &Path) -> bool {
        let output = output.to_owned();
        std::panic::catch_unwind(move || verify_outputs(&output, "work", &["0".to_owned()])).is_ok()
    }

    #[test]
    fn the_verifier_sees_every_kind_of_damage() {
        let damages: [Damage; 6] = [
            ("another byte", |output| {
                fs::write(output.join("work/0/data"), "evil").unwrap()
            }),
            ("a file less", |output| {
                fs::remove_file(output.join("work/0/data")).unwrap()
            }),
            ("a file more", |output| {
                fs::write(output.join("work/0/more"), "").unwrap()
            }),
            ("no manifest", |output| {
                fs::remove_file(output.join("work/0/manifest.json")).unwrap()
            }),
            ("an attempt left", |output| {
                fs::create_dir_all(output.join(".petctl/attempts/work/0.1-7")).unwrap()
            }),
            ("an empty folder", |output| {
                fs::create_dir(output.join("work/1")).unwrap()
            }),
        ];
        assert!(holds(good().path()));
        for (name, damage) in damages {
            let output = good();
            damage(output.path());
            assert!(!holds(output.path()), "{name} was not seen");
        }
    }

    #[test]
    fn the_verifier_sees_a_second_commit() {
        let output = good();
        let keys = ["0".to_owned()];
        let found = verify_outputs(output.path(), "work", &keys);
        let commit = |sequence| Event {
            sequence,
            at_ms: 1,
            kind: "shard_committed".to_owned(),
            text: String::new(),
            fields: json!({ "shard": "0", "manifest_sha256": found["0"].sha256 }),
        };
        verify_commits(&[commit(1)], &found, &keys);
        for events in [vec![], vec![commit(1), commit(2)]] {
            let (found, keys) = (found.clone(), keys.clone());
            assert!(
                std::panic::catch_unwind(move || verify_commits(&events, &found, &keys)).is_err()
            );
        }
    }
}
