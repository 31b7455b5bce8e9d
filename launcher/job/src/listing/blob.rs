//! Blobs below the input's prefix.

use super::found::Found;
use super::{Input, MAX_ENTRIES, OWN_FOLDER, Wanted, too_many};
use petctl_spec::{JobSpec, MAX_SHARDS, StorageRoot};
use petctl_storage::{Entry, SharedStore};
use petctl_ui::error::{Code, Error, Result};
use std::collections::BTreeMap;
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
    let mut walk = Walk::new(spec, root, wanted)?;
    let mut inputs = Vec::new();
    while let Some(entries) = walk.page(inputs.len(), say).await? {
        for entry in entries {
            if entry.is_folder {
                continue;
            }
            if !wanted.fits.matches(&entry.name) {
                walk.found.miss(Path::new(&entry.name));
                continue;
            }
            inputs.push(Input::of_blob(entry));
            if inputs.len() as u64 > MAX_SHARDS {
                return Err(too_many(wanted, root));
            }
        }
    }
    if inputs.is_empty() {
        return Err(walk.nothing().await?);
    }
    Ok(inputs)
}

/// All folders that fit, with the blobs below them. A container has no folders: those are meant that names of blobs
/// lead through, and those that are marked.
pub(super) async fn folders(
    spec: &JobSpec,
    root: &StorageRoot,
    wanted: &Wanted<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<BTreeMap<String, Vec<Input>>> {
    let mut walk = Walk::new(spec, root, wanted)?;
    let mut folders: BTreeMap<String, Vec<Input>> = BTreeMap::new();
    while let Some(entries) = walk.page(folders.len(), say).await? {
        for entry in entries {
            let mut fits = false;
            for folder in folders_of(&entry).filter(|folder| wanted.fits.matches_folder(folder)) {
                fits = true;
                let inputs = folders.entry(folder.to_owned()).or_default();
                if !entry.is_folder {
                    inputs.push(Input::of_blob(entry.clone()));
                }
            }
            if !fits && !entry.is_folder {
                walk.found.miss(Path::new(&entry.name));
            }
        }
        if folders.len() as u64 > MAX_SHARDS {
            return Err(too_many(wanted, root));
        }
    }
    if folders.is_empty() {
        return Err(walk.nothing().await?);
    }
    Ok(folders)
}

/// The folders that a blob is in, and the one that it marks.
pub(super) fn folders_of(entry: &Entry) -> impl Iterator<Item = &str> {
    let name = if entry.is_folder {
        entry.name.trim_end_matches('/')
    } else {
        entry.name.as_str()
    };
    let above = name.match_indices('/').map(|(end, _)| end);
    above
        .chain(entry.is_folder.then_some(name.len()))
        .map(|end| &name[..end])
}

/// Goes through the blobs that could fit, a page at a time.
struct Walk<'a> {
    root: &'a StorageRoot,
    wanted: &'a Wanted<'a>,
    store: SharedStore,
    /// What the names of all that fits start with.
    literal: &'a str,
    output: Option<String>,
    found: Found,
    /// Where the next page starts; `None`: there is none.
    next: Option<Option<String>>,
}

impl<'a> Walk<'a> {
    fn new(spec: &JobSpec, root: &'a StorageRoot, wanted: &'a Wanted<'a>) -> Result<Self> {
        let literal = wanted.pattern.split(SPECIAL).next().unwrap_or_default();
        Ok(Self {
            root,
            wanted,
            store: petctl_storage::open(root, &spec.storage.access)?,
            // The name of a folder's marker has no slash at its end.
            literal: if literal == wanted.pattern {
                literal.trim_end_matches('/')
            } else {
                literal
            },
            output: below(&spec.storage.output_root(), root),
            found: Found::new(wanted.pattern),
            next: Some(None),
        })
    }

    /// Inputs of one page; `None` behind the last one. `fit` is how many shards there are so far.
    async fn page(
        &mut self,
        fit: usize,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<Option<Vec<Entry>>> {
        let Some(mark) = self.next.take() else {
            return Ok(None);
        };
        let page = self.store.list(self.literal, mark.as_deref()).await?;
        let mut entries = page.entries;
        for _ in &entries {
            self.found.seen(say, fit);
        }
        if self.found.entries > MAX_ENTRIES {
            let what = format!("{} holds more than {MAX_ENTRIES} blobs", self.root);
            return Err(Error::new(Code::TooManyShards, what).fix(
                "set [storage] input to a longer prefix, or start the pattern with a folder",
            ));
        }
        entries.retain(|entry| !is_own(&entry.name, self.output.as_deref()));
        self.next = page.mark.map(Some);
        Ok(Some(entries))
    }

    /// Why nothing fits.
    async fn nothing(self) -> Result<Error> {
        let found = if self.literal.is_empty() {
            self.found
        } else {
            // Only what starts like the pattern was looked at; what would fit may start otherwise.
            look_again(&self.store, self.wanted.pattern, self.output.as_deref()).await?
        };
        Ok(found.nothing(self.wanted.stage, self.root))
    }
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
    fn a_blob_is_in_all_folders_of_its_name_and_a_marker_is_one_itself() {
        let folders = |name: &str, is_folder: bool| {
            let entry = Entry {
                name: name.to_owned(),
                properties: petctl_storage::Properties {
                    size: 0,
                    etag: petctl_storage::ETag("1".to_owned()),
                    modified: std::time::SystemTime::UNIX_EPOCH,
                    md5: None,
                },
                is_folder,
                note: None,
            };
            folders_of(&entry).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(folders("a/b/c.db3", false), ["a", "a/b"]);
        assert_eq!(folders("c.db3", false), Vec::<String>::new());
        assert_eq!(folders("a/b", true), ["a", "a/b"]);
        assert_eq!(folders("a/b/", true), ["a", "a/b"]);
    }

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
