//! Blobs below the input's prefix.

use super::found::Found;
use super::{Input, MAX_ENTRIES, OWN_FOLDER, Wanted, too_many};
use petctl_spec::{JobSpec, MAX_SHARDS, StorageRoot};
use petctl_storage::SharedStore;
use petctl_ui::error::{Code, Error, Result};
use std::path::Path;

/// Entries that are looked at once more to say why nothing fits.
const MAX_LOOKED_AT: u64 = 20_000;
/// What a pattern is no text of.
const SPECIAL: [char; 5] = ['*', '?', '[', '{', '\\'];

/// Names and versions of all blobs that fit, in the order of their names.
pub(super) async fn list(
    spec: &JobSpec,
    root: &StorageRoot,
    wanted: &Wanted<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Input>> {
    if wanted.fits.is_of_folders() {
        let what = format!(
            "stage `{}`: `{}` is of folders, and {root} is a container",
            wanted.stage, wanted.pattern
        );
        return Err(Error::new(Code::InvalidShardSource, what).fix(
            "mount the container and set [storage] input to the folder, or name the files of each shard in a manifest",
        ));
    }
    let store = petctl_storage::open(root, &spec.storage.access)?;
    let literal = wanted.pattern.split(SPECIAL).next().unwrap_or_default();
    let output = below(&spec.storage.output_root(), root);
    let mut found = Found::new(wanted.pattern);
    let mut inputs = Vec::new();
    let mut mark: Option<String> = None;
    loop {
        let page = store.list(literal, mark.as_deref()).await?;
        for entry in page.entries {
            found.seen(say, inputs.len());
            if entry.is_folder || is_own(&entry.name, output.as_deref()) {
                continue;
            }
            if !wanted.fits.matches(&entry.name) {
                found.miss(Path::new(&entry.name));
                continue;
            }
            inputs.push(Input::Blob {
                name: entry.name,
                etag: entry.properties.etag.0,
            });
            if inputs.len() as u64 > MAX_SHARDS {
                return Err(too_many(wanted, root));
            }
        }
        if found.entries > MAX_ENTRIES {
            let what = format!("{root} holds more than {MAX_ENTRIES} blobs");
            return Err(Error::new(Code::TooManyShards, what).fix(
                "set [storage] input to a longer prefix, or start the pattern with a folder",
            ));
        }
        mark = page.mark;
        if mark.is_none() {
            break;
        }
    }
    if inputs.is_empty() {
        let found = if literal.is_empty() {
            found
        } else {
            // Only what starts like the pattern was looked at; what would fit may start otherwise.
            look_again(&store, wanted.pattern, output.as_deref()).await?
        };
        return Err(found.nothing(wanted.stage, root));
    }
    Ok(inputs)
}

async fn look_again(store: &SharedStore, pattern: &str, output: Option<&str>) -> Result<Found> {
    let mut found = Found::new(pattern);
    let mut mark: Option<String> = None;
    loop {
        let page = store.list("", mark.as_deref()).await?;
        for entry in page.entries {
            found.seen(&|_| (), 0);
            if !entry.is_folder && !is_own(&entry.name, output) {
                found.miss(Path::new(&entry.name));
            }
        }
        mark = page.mark;
        if mark.is_none() || found.entries > MAX_LOOKED_AT {
            return Ok(found);
        }
    }
}

/// petctl's own things and the outputs of this job are no inputs.
fn is_own(name: &str, output: Option<&str>) -> bool {
    let below = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    name.split('/').any(|part| part == OWN_FOLDER) || output.is_some_and(below)
}

/// Where a place lies below another one; `None` where it does not.
fn below(place: &StorageRoot, root: &StorageRoot) -> Option<String> {
    let place = place.to_string();
    let rest = place.strip_prefix(&root.to_string())?.strip_prefix('/')?;
    Some(rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_below_the_input_and_own_things_are_no_inputs() {
        let root = |text| StorageRoot::read(text).unwrap();
        let output = below(&root("az://raw/a/out"), &root("az://raw/a"));
        assert_eq!(output.as_deref(), Some("out"));
        assert_eq!(below(&root("az://raw/ab"), &root("az://raw/a")), None);
        for (name, own) in [
            ("out/s/x", true),
            ("outer/x", false),
            ("x/.petctl/job.json", true),
            (".petctl.xml", false),
        ] {
            assert_eq!(is_own(name, output.as_deref()), own, "{name}");
        }
    }
}
