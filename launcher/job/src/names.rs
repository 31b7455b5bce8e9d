//! Whether the output can hold every shard, before the first of them runs.

use crate::listing::listing_all;
use petctl_output::layout::AttemptName;
use petctl_output::layout::blob;
use petctl_output::names::check_blob_name;
use petctl_spec::StorageRoot;
use petctl_text::words::shown;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::count;

/// Attempts are numbered; one with so many digits is not reached.
const LAST_ATTEMPT: u32 = 99_999;

/// Refuses keys of a stage for which the output has no place: all of them at once.
pub(crate) fn check(root: &StorageRoot, stage: &str, keys: &[String]) -> Result<()> {
    // What a folder can't hold, no key may be.
    if !root.is_blob() {
        return Ok(());
    }
    let address = root.to_string();
    let place = address.strip_prefix("az://").unwrap_or(&address);
    let prefix = place.split_once('/').map_or("", |(_, prefix)| prefix);
    let why = |key: &str| {
        if blob::is_ambiguous(key) {
            return Some("a part of it looks like petctl's own name of an attempt");
        }
        // No other name that is made of the key is as long.
        let name = blob::log(AttemptName {
            stage,
            key,
            attempt: LAST_ATTEMPT,
            lineage: u64::MAX,
            lease_id: u64::MAX,
        });
        let whole = match prefix {
            "" => name,
            prefix => format!("{prefix}/{name}"),
        };
        check_blob_name(&whole).err()
    };
    let bad: Vec<String> = keys
        .iter()
        .filter_map(|key| Some(format!("{}: {}", shown(key), why(key)?)))
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    let what = format!(
        "stage `{stage}`: the outputs of {} can't be stored in {root}",
        count(bad.len() as u64, "shard", "shards")
    );
    Err(listing_all(Error::new(Code::InvalidShardKey, what), &bad)
        .fix("give these shards other keys: rename the files, or narrow the pattern"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(output: &str, keys: &[&str]) -> Option<String> {
        let root = StorageRoot::read(output)?;
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let checked = check(&root, "s", &keys);
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn all_keys_that_a_container_cannot_hold_are_named() {
        let long = vec!["x".repeat(200); 2].join("/");
        let keys = [
            "good",
            "a.",
            "b./c",
            "x/1-0000000000000007-0000000000000001",
            &long,
        ];
        assert_eq!(errors("/out", &keys), None);
        let error = errors("az://raw/out", &keys).unwrap();
        for bad in ["a.", "b./c", "x/1-0000000000000007-0000000000000001"] {
            assert!(error.contains(&format!("because: {bad}: ")), "{error}");
        }
        assert!(error.contains("the outputs of 3 shards"), "{error}");
        // What stands before a key counts.
        let deep = format!("az://raw/{}", vec!["p".repeat(200); 3].join("/"));
        assert!(errors(&deep, &[&long]).is_some());
        assert_eq!(errors(&deep, &["short"]), None);
    }
}
