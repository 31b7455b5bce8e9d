//! Brings one thing from the store to this machine: what is at its path is whole, whatever happens on the way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt};
use petctl_commit::Commit;
use petctl_commit::write_manifest;
use petctl_storage::{ETag, SharedStore, StorageError, StorageProblem};
use petctl_transfer::{NoProgress, Tuning, fetch_file};
use serde::{Deserialize, Serialize};

use crate::problem::{Problem, local};
use crate::scratch::Scratch;
use crate::stager::move_to;
use petctl_output::layout::check_key;
use petctl_text::hex;

/// Files of one folder that are fetched at a time.
const FILES: usize = 8;
/// Name of a tree's list of files, beside its folder.
const LIST: &str = "files.json";

/// What to fetch.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// One input, into a folder of its own.
    Input {
        store: SharedStore,
        name: String,
        etag: ETag,
    },
    /// The committed outputs of a shard.
    Output {
        store: SharedStore,
        commit: Box<Commit>,
    },
    /// All inputs of a job, or those of one folder.
    Tree { store: SharedStore, tree: Arc<Tree> },
}

/// Files with their folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// In the order of their names.
    pub(super) files: Vec<TreeFile>,
    /// Folders that are there whether or not files are in them.
    pub(super) folders: Vec<String>,
}

/// One input of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TreeFile {
    pub(super) name: String,
    pub(super) etag: String,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Fetcher {
    scratch: Arc<Scratch>,
    tuning: Tuning,
}

impl Fetcher {
    pub(super) fn new(scratch: Arc<Scratch>) -> Self {
        Self {
            scratch,
            tuning: Tuning::default(),
        }
    }

    /// Fetches into a folder apart, and moves that to `target` when it is whole.
    pub(super) async fn fetch(&self, target: &Path, source: &Source) -> Result<(), Problem> {
        let folder = self.scratch.incoming();
        let fetched = self.fetch_into(&folder, target, source).await;
        let moved = fetched.and_then(|()| {
            // Something that nobody knows of would be in the way.
            self.remove(target);
            move_to(&folder, target).map_err(|error| Problem::scratch("make", target, error))
        });
        if moved.is_err() {
            self.remove(&folder);
        }
        moved
    }

    async fn fetch_into(
        &self,
        folder: &Path,
        target: &Path,
        source: &Source,
    ) -> Result<(), Problem> {
        make(folder)?;
        match source {
            Source::Input { store, name, etag } => {
                let file = folder.join(file_name(name));
                match self.fetch_file(store, name, &file, Some(etag)).await {
                    Err(error) if error.problem == StorageProblem::NotFound => {
                        Err(Problem::input_missing(&store.address(name)))
                    }
                    other => other.map(drop).map_err(Problem::from),
                }
            }
            Source::Output { store, commit } => self.fetch_output(store, commit, folder).await,
            Source::Tree { store, tree } => self.fetch_tree(store, tree, folder, target).await,
        }
    }

    async fn fetch_output(
        &self,
        store: &SharedStore,
        commit: &Commit,
        folder: &Path,
    ) -> Result<(), Problem> {
        commit.manifest.check_shape().map_err(|(name, why)| {
            let address = store.address(&format!("{}{name}", commit.data));
            bad_name(format!("{address:?} can't be made here: {why}"))
        })?;
        let files = commit.manifest.files.clone().into_iter();
        let fetches = files.map(|file| {
            async move {
                check_name(&file.name)?;
                let name = format!("{}{}", commit.data, file.name);
                let to = folder.join(&file.name);
                make_parent(&to)?;
                let sha256 = self.fetch_file(store, &name, &to, None).await?;
                if sha256 == file.sha256 {
                    return Ok(());
                }
                let message = format!("{} is not what its manifest says", store.address(&name));
                Err(Problem::from(
                    StorageError::new(StorageProblem::Corrupt, message).fix(
                        "look who writes there beside petctl; `petctl run --rerun` makes it anew",
                    ),
                ))
            }
            .boxed()
        });
        futures::stream::iter(fetches)
            .buffer_unordered(FILES)
            .try_collect::<()>()
            .await?;
        for name in &commit.manifest.empty_folders {
            make(&folder.join(name))?;
        }
        for link in &commit.manifest.links {
            link.make(folder)
                .map_err(|error| Problem::scratch("make", &folder.join(&link.name), error))?;
        }
        write_manifest(folder, &commit.manifest)?;
        Ok(())
    }

    async fn fetch_tree(
        &self,
        store: &SharedStore,
        tree: &Tree,
        folder: &Path,
        target: &Path,
    ) -> Result<(), Problem> {
        let root = tree_root(folder);
        make(&root)?;
        for name in &tree.folders {
            check_name(name)?;
            make(&root.join(name))?;
        }
        let older = older_files(target);
        let fetches = tree.files.iter().cloned().map(|file| {
            let to = root.join(&file.name);
            let same = older.get(&(file.name.clone(), file.etag.clone())).cloned();
            async move {
                check_name(&file.name)?;
                make_parent(&to)?;
                if same.is_some_and(|older| fs::hard_link(older, &to).is_ok()) {
                    return Ok(());
                }
                let etag = ETag(file.etag.clone());
                self.fetch_file(store, &file.name, &to, Some(&etag))
                    .await
                    .map(drop)
                    .map_err(Problem::from)
            }
            .boxed()
        });
        futures::stream::iter(fetches)
            .buffer_unordered(FILES)
            .try_collect::<()>()
            .await?;
        let list = folder.join(LIST);
        let bytes =
            serde_json::to_vec(&tree.files).map_err(|error| Problem::broken(error.to_string()))?;
        fs::write(&list, bytes).map_err(|error| Problem::scratch("write", &list, error))
    }

    /// The SHA-256 of what was fetched. Commands may read the file, and must not change it: others read it too.
    async fn fetch_file(
        &self,
        store: &SharedStore,
        name: &str,
        to: &Path,
        etag: Option<&ETag>,
    ) -> Result<String, StorageError> {
        let fetched = fetch_file(store, name, to, etag, &self.tuning, &NoProgress).await?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o444))
            .map_err(|error| local("write-protect", to, error))?;
        Ok(hex(&fetched.sha256))
    }

    /// What an earlier worker left that is whole, with its sizes.
    pub(super) fn left_over(&self) -> Vec<(PathBuf, u64)> {
        let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let inputs = entries(&self.scratch.cache()).into_iter().map(|folder| {
            let bytes = entries(&folder).iter().map(|file| size(file)).sum();
            (folder, bytes)
        });
        let trees = entries(&self.scratch.trees())
            .into_iter()
            .flat_map(|trees| entries(&trees))
            .map(|tree| {
                let bytes = list_of(&tree).iter().map(|file| file.bytes).sum();
                (tree, bytes)
            });
        inputs.chain(trees).collect()
    }

    fn remove(&self, path: &Path) {
        if let Some(gone) = self.scratch.take_away(path) {
            let _ = fs::remove_dir_all(gone);
        }
    }
}

/// The last part of a blob's name.
pub(super) fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Where the files of a staged tree are.
pub(super) fn tree_root(tree: &Path) -> PathBuf {
    tree.join("files")
}

/// Files of the trees that were staged from the same address before, by name and version.
fn older_files(target: &Path) -> BTreeMap<(String, String), PathBuf> {
    let Some(trees) = target.parent() else {
        return BTreeMap::new();
    };
    entries(trees)
        .into_iter()
        .flat_map(|tree| {
            let root = tree_root(&tree);
            list_of(&tree).into_iter().map(move |file| {
                let path = root.join(&file.name);
                ((file.name, file.etag), path)
            })
        })
        .collect()
}

fn list_of(tree: &Path) -> Vec<TreeFile> {
    let bytes = fs::read(tree.join(LIST)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn make(folder: &Path) -> Result<(), Problem> {
    fs::create_dir_all(folder).map_err(|error| Problem::scratch("make", folder, error))
}

fn make_parent(file: &Path) -> Result<(), Problem> {
    file.parent().map_or(Ok(()), make)
}

/// Names come from the service; none may lead elsewhere.
fn check_name(name: &str) -> Result<(), Problem> {
    if check_key(name).is_ok() {
        return Ok(());
    }
    let message = format!("the name {name:?} in the storage can't be a file here");
    Err(bad_name(message))
}

fn bad_name(message: String) -> Problem {
    StorageError::new(StorageProblem::BadName, message)
        .fix("rename it; its parts must not be empty, `.` or `..`")
        .into()
}
