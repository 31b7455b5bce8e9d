//! Inputs that a manifest names, among the blobs of a container: blobs, and folders with all that is below them.

use super::Input;
use super::blob::folders_of;
use petctl_storage::{Entry, Named, SharedStore};
use petctl_ui::error::{Code, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use tokio::task::JoinSet;

/// Inputs up to which each is asked for by its name; of more, all of the input is listed.
const MAX_ASKED: usize = 2_000;
/// Questions at a time.
const PARALLEL: usize = 32;

/// What each name stands for; those that are not there are left out.
pub(super) async fn find(
    store: &SharedStore,
    names: &BTreeSet<&str>,
) -> Result<BTreeMap<String, Vec<Input>>> {
    if names.len() <= MAX_ASKED {
        ask(store, names).await
    } else {
        list(store, names).await
    }
}

async fn ask(store: &SharedStore, names: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<Input>>> {
    let mut found = BTreeMap::new();
    let mut asking = JoinSet::new();
    let mut names = names.iter();
    loop {
        while asking.len() < PARALLEL {
            let Some(name) = names.next() else { break };
            let (store, name) = (store.clone(), (*name).to_owned());
            asking.spawn(async move {
                let named = petctl_storage::named(&store, &name).await;
                (name, named)
            });
        }
        let Some(answer) = asking.join_next().await else {
            return Ok(found);
        };
        let (name, named) = answer.map_err(|error| {
            Error::new(Code::Bug, "a task that looks for inputs ended").because(&error)
        })?;
        let inputs = match named? {
            None => continue,
            Some(Named::Folder(below)) => of_folder(below),
            Some(Named::File(properties)) => vec![Input::Blob {
                name: name.clone(),
                etag: properties.etag.0,
            }],
        };
        found.insert(name, inputs);
    }
}

/// A folder counts by all blobs in it.
fn of_folder(below: Vec<Entry>) -> Vec<Input> {
    let files = below.into_iter().filter(|entry| !entry.is_folder);
    files.map(Input::of_blob).collect()
}

/// By the same rules as [`petctl_storage::named`].
async fn list(store: &SharedStore, names: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<Input>>> {
    let (mut files, mut folders) = (BTreeMap::new(), BTreeMap::<String, Vec<Input>>::new());
    let mut mark: Option<String> = None;
    loop {
        let page = store.list("", mark.as_deref()).await?;
        for entry in page.entries {
            for folder in folders_of(&entry).filter(|folder| names.contains(folder)) {
                let inputs = folders.entry(folder.to_owned()).or_default();
                if !entry.is_folder {
                    inputs.push(Input::of_blob(entry.clone()));
                }
            }
            if !entry.is_folder && names.contains(entry.name.as_str()) {
                files.insert(entry.name.clone(), entry);
            }
        }
        mark = page.mark;
        if mark.is_none() {
            break;
        }
    }
    let mut found = folders;
    for (name, file) in files {
        if file.properties.size > 0 || !found.contains_key(&name) {
            found.insert(name, vec![Input::of_blob(file)]);
        }
    }
    Ok(found)
}
