//! The committed outputs of a job, as names to fetch: `stage/key/file`.

use super::download::{Item, Items};
use super::filter::Filter;
use super::local::blocking;
use super::names::NameRules;
use super::tree::{Fault, Listed};
use petctl_commit::BlobCommitter;
use petctl_output::manifest::{self, Manifest, ManifestError, ManifestLink};
use petctl_storage::{Entry, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use petctl_text::unhex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use walkdir::WalkDir;

/// What a job has committed.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Files that the filter takes, sorted by name, each with the hash of its manifest; and what is no file.
    pub items: Items,
    /// Committed shards, by stage and key, whether a file of theirs is taken or not.
    pub shards: BTreeSet<(String, String)>,
}

/// Lists what is committed in these stages, in the store at a job's output. `folder` is that output where it is a local
/// folder. Files of attempts that no commit names are never taken.
///
/// # Errors
/// [`StorageError`]
pub async fn committed_outputs(
    store: &SharedStore,
    folder: Option<&Path>,
    stages: &[String],
    filter: &Filter,
) -> Result<Outputs, StorageError> {
    let mut outputs = Outputs::default();
    for stage in stages {
        let commits = match folder {
            Some(folder) => folder_commits(folder, stage, &mut outputs).await?,
            None => BlobCommitter::new(store.clone())
                .list_committed(stage)
                .await?
                .into_iter()
                .map(|commit| (commit.data, commit.manifest))
                .collect(),
        };
        if commits.is_empty() {
            continue;
        }
        let listed = Listed::read(store, stage).await?;
        for (data, manifest) in commits {
            outputs.shards.insert((stage.clone(), manifest.key.clone()));
            outputs.add(stage, &data, &manifest, &listed.files, filter);
        }
    }
    outputs.items.files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(outputs)
}

impl Outputs {
    fn add(
        &mut self,
        stage: &str,
        data: &str,
        manifest: &Manifest,
        listed: &BTreeMap<String, Entry>,
        filter: &Filter,
    ) {
        let below = data.strip_prefix(stage).unwrap_or(data);
        let below = below.trim_matches('/');
        for file in &manifest.files {
            let name = format!("{stage}/{}/{}", manifest.key, file.name);
            if !filter.takes(&name) {
                continue;
            }
            let there = listed.get(&format!("{below}/{}", file.name));
            let fault = match (NameRules::Folder.check(&name), there) {
                (Err(why), _) => Some((StorageProblem::BadName, why.to_owned())),
                (Ok(()), None) => Some((
                    StorageProblem::NotFound,
                    "its manifest names it, but it is gone".to_owned(),
                )),
                (Ok(()), Some(entry)) if entry.properties.size != file.bytes => Some((
                    StorageProblem::Corrupt,
                    format!(
                        "it has {} bytes, and {} in its manifest",
                        entry.properties.size, file.bytes
                    ),
                )),
                (Ok(()), Some(entry)) => {
                    self.items.files.push(Item {
                        source: entry.name.clone(),
                        name: name.clone(),
                        properties: entry.properties.clone(),
                        sha256: unhex(&file.sha256),
                    });
                    None
                }
            };
            let fault = fault.map(|(problem, why)| Fault { name, problem, why });
            self.items.faults.extend(fault);
        }
        self.add_shape(stage, manifest, filter);
    }

    /// Links and empty folders: they stand in the manifest alone.
    fn add_shape(&mut self, stage: &str, manifest: &Manifest, filter: &Filter) {
        let full = |name: &str| format!("{stage}/{}/{name}", manifest.key);
        if let Err((name, why)) = manifest.check_shape() {
            self.items.faults.push(Fault {
                name: full(&name),
                problem: StorageProblem::BadName,
                why: why.to_owned(),
            });
            return;
        }
        let links = manifest.links.iter().map(|link| ManifestLink {
            name: full(&link.name),
            target: link.target.clone(),
        });
        let links = links.filter(|link| filter.takes(&link.name));
        self.items.links.extend(links);
        let folders = manifest.empty_folders.iter().map(|name| full(name));
        let folders = folders.filter(|name| filter.takes(name));
        self.items.folders.extend(folders);
    }
}

/// The committed folders of a stage, with where their files are below the output.
async fn folder_commits(
    folder: &Path,
    stage: &str,
    outputs: &mut Outputs,
) -> Result<Vec<(String, Manifest)>, StorageError> {
    let (root, stage) = (folder.to_owned(), stage.to_owned());
    let (commits, faults) = blocking(move || {
        let mut commits = Vec::new();
        let mut faults = Vec::new();
        let mut entries = WalkDir::new(root.join(&stage))
            .sort_by_file_name()
            .into_iter();
        // What can't be read holds no manifest that counts.
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry else { continue };
            if !entry.file_type().is_dir() || !entry.path().join(manifest::FILE_NAME).is_file() {
                continue;
            }
            entries.skip_current_dir();
            let Some(data) = entry.path().strip_prefix(&root).ok().and_then(Path::to_str) else {
                continue;
            };
            match Manifest::read(entry.path()) {
                Ok(read) => {
                    let changed = read.manifest.changed_shape(entry.path()).into_iter();
                    faults.extend(changed.map(|(name, why)| Fault {
                        name: format!("{data}/{name}"),
                        problem: StorageProblem::NotFound,
                        why,
                    }));
                    commits.push((data.to_owned(), read.manifest));
                }
                Err(ManifestError::Missing) => {}
                Err(error) => faults.push(Fault {
                    name: format!("{data}/{}", manifest::FILE_NAME),
                    problem: StorageProblem::Corrupt,
                    why: error.to_string(),
                }),
            }
        }
        Ok((commits, faults))
    })
    .await?;
    outputs.items.faults.extend(faults);
    Ok(commits)
}
