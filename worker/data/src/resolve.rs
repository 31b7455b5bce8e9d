//! Asks the storage what a lease wants: names, versions and sizes, before anything is fetched.

use std::sync::{Arc, MutexGuard, PoisonError};

use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use petctl_attempt::paths::{below, input_names};
use petctl_commit::BlobCommitter;
use petctl_proto::v1::Lease;
use petctl_spec::ShardDetail;
use petctl_storage::{
    Entry, Named, SharedStore, StorageError, StorageProblem, folder_named, named,
};
use sha2::{Digest, Sha256};

use crate::cache::Want;
use crate::fetch::{Source, Tree, TreeFile, file_name, tree_root};
use crate::job::{RemoteJob, Wholes, version_of};
use crate::problem::Problem;
use crate::stager::{Found, Plan};
use crate::wants::{InputSource, NeededStage};
use petctl_output::layout::check_key;
use petctl_text::hex;

/// Inputs of one shard that are asked for at a time.
const HEADS: usize = 8;

impl RemoteJob {
    /// What a lease wants, and where it will find it.
    pub(super) async fn resolve(
        &self,
        lease: &Lease,
        detail: &ShardDetail,
    ) -> Result<Plan, Problem> {
        let Some(stage) = self.stage(lease.stage) else {
            return Ok(Plan::default());
        };
        let names = input_names(detail, lease, stage.reads_files);
        let mut plan = match (&self.input, &self.input_store) {
            (InputSource::Staged(_), Some(store)) if stage.all_inputs => {
                self.resolve_tree(store, &names).await?
            }
            (InputSource::Staged(_), Some(store)) => {
                self.resolve_inputs(store, &names, stage.reads_folders)
                    .await?
            }
            (InputSource::Folder(folder), _) => Plan {
                wants: Vec::new(),
                found: Found {
                    inputs: below(Some(folder), &names),
                    input_root: Some(folder.clone()),
                },
            },
            (InputSource::None | InputSource::Staged(_), _) => Plan::default(),
        };
        if let Some(output) = &self.output {
            for need in &stage.needs {
                self.resolve_need(output, need, &lease.key, &mut plan)
                    .await?;
            }
        }
        Ok(plan)
    }

    async fn resolve_inputs(
        &self,
        store: &SharedStore,
        names: &[String],
        folders: bool,
    ) -> Result<Plan, Problem> {
        let looks = names
            .iter()
            .cloned()
            .map(|name| async move { self.resolve_input(store, &name, folders).await }.boxed());
        let found: Vec<(Want<Source>, String)> = futures::stream::iter(looks)
            .buffered(HEADS)
            .try_collect()
            .await?;
        let (wants, inputs) = found.into_iter().unzip();
        Ok(Plan {
            found: Found {
                inputs,
                input_root: None,
            },
            wants,
        })
    }

    /// What an input wants, and the path under which its command finds it.
    async fn resolve_input(
        &self,
        store: &SharedStore,
        name: &str,
        folders: bool,
    ) -> Result<(Want<Source>, String), Problem> {
        check_input(store, name)?;
        let named = if folders {
            folder_named(store, name).await?.map(Named::Folder)
        } else {
            named(store, name).await?
        };
        match named {
            None => Err(Problem::input_missing(&store.address(name))),
            Some(Named::Folder(below)) => {
                let mut tree = tree_of(below);
                // It is there even where all that is in it is elsewhere by now.
                tree.folders.push(name.to_owned());
                let want = self.tree_want(store, name, &Arc::new(tree));
                let folder = tree_root(&want.path).join(name);
                Ok((want, folder.to_string_lossy().into_owned()))
            }
            Some(Named::File(properties)) => {
                let hash = self.hash(&[&store.address(name), &properties.etag.0]);
                let path = self.engine.scratch().cache().join(&hash);
                let file = path.join(file_name(name));
                let want = Want {
                    path,
                    version: hash,
                    bytes: properties.size,
                    source: Source::Input {
                        store: Arc::clone(store),
                        name: name.to_owned(),
                        etag: properties.etag,
                    },
                };
                Ok((want, file.to_string_lossy().into_owned()))
            }
        }
    }

    async fn resolve_tree(&self, store: &SharedStore, names: &[String]) -> Result<Plan, Problem> {
        let tree = self.tree.get_or_try_init(|| list(store).boxed()).await?;
        if let Some(missing) = names.iter().find(|name| !tree.has(name)) {
            return Err(Problem::input_missing(&store.address(missing)));
        }
        let want = self.tree_want(store, "", tree);
        let root = tree_root(&want.path).to_string_lossy().into_owned();
        Ok(Plan {
            found: Found {
                inputs: below(Some(&root), names),
                input_root: Some(root),
            },
            wants: vec![want],
        })
    }

    /// Wants all of a tree in one version, which is that of all that is in it.
    fn tree_want(&self, store: &SharedStore, name: &str, tree: &Arc<Tree>) -> Want<Source> {
        let files = tree.files.iter();
        let files = files.flat_map(|file| [file.name.as_str(), file.etag.as_str()]);
        let folders = tree.folders.iter().map(String::as_str);
        let version = self.hash(&files.chain(folders).collect::<Vec<&str>>());
        let trees = self.engine.scratch().trees();
        Want {
            path: trees
                .join(self.hash(&[&store.address(name)]))
                .join(&version),
            version,
            bytes: tree.files.iter().map(|file| file.bytes).sum(),
            source: Source::Tree {
                store: Arc::clone(store),
                tree: Arc::clone(tree),
            },
        }
    }

    async fn resolve_need(
        &self,
        output: &BlobCommitter,
        need: &NeededStage,
        key: &str,
        plan: &mut Plan,
    ) -> Result<(), Problem> {
        let commits = if need.per_shard {
            let missing = || {
                let name = format!("{}/{key}/", need.name);
                Problem::input_missing(&output.store().address(&name))
            };
            let commit = output.committed(&need.name, key).await?;
            Arc::new(vec![commit.ok_or_else(missing)?])
        } else {
            let cell = Arc::clone(self.lock_wholes().entry(need.name.clone()).or_default());
            let list = || output.list_committed(&need.name).map_ok(Arc::new).boxed();
            Arc::clone(cell.get_or_try_init(list).await?)
        };
        for commit in commits.iter() {
            let manifest = &commit.manifest;
            if check_key(&manifest.key).is_err() || manifest.stage != need.name {
                continue;
            }
            plan.wants.push(Want {
                path: self.path_of(&need.name, &manifest.key),
                version: version_of(manifest.lease()),
                bytes: manifest.total_bytes(),
                source: Source::Output {
                    store: Arc::clone(output.store()),
                    commit: Box::new(commit.clone()),
                },
            });
        }
        Ok(())
    }

    fn hash(&self, parts: &[&str]) -> String {
        let mut hasher = Sha256::new();
        hasher.update(&self.account);
        for part in parts {
            hasher.update([0]);
            hasher.update(part);
        }
        let mut hash = hex(&hasher.finalize());
        hash.truncate(40);
        hash
    }

    fn lock_wholes(&self) -> MutexGuard<'_, Wholes> {
        self.wholes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_input(store: &SharedStore, name: &str) -> Result<(), Problem> {
    check_key(name).map_err(|error| {
        let message = format!("the input {:?} can't be: {error}", store.address(name));
        Problem::from(StorageError::new(StorageProblem::BadName, message))
    })
}

/// All inputs.
async fn list(store: &SharedStore) -> Result<Arc<Tree>, StorageError> {
    let (mut entries, mut mark) = (Vec::new(), None);
    loop {
        let page = store.list("", mark.as_deref()).await?;
        entries.extend(page.entries);
        mark = page.mark;
        if mark.is_none() {
            return Ok(Arc::new(tree_of(entries)));
        }
    }
}

fn tree_of(entries: Vec<Entry>) -> Tree {
    let mut tree = Tree::default();
    for entry in entries {
        if entry.is_folder {
            let name = entry.name.trim_end_matches('/');
            tree.folders.push(name.to_owned());
        } else {
            tree.files.push(TreeFile {
                name: entry.name,
                etag: entry.properties.etag.0,
                bytes: entry.properties.size,
            });
        }
    }
    tree.files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    tree
}

impl Tree {
    /// Whether a file or a folder is in it.
    fn has(&self, name: &str) -> bool {
        let at = |name: &str| self.files.partition_point(|file| file.name.as_str() < name);
        let is = |at: usize, fits: &dyn Fn(&str) -> bool| {
            self.files.get(at).is_some_and(|file| fits(&file.name))
        };
        let below = format!("{name}/");
        is(at(name), &|file| file == name)
            || is(at(&below), &|file| file.starts_with(&below))
            || self.folders.iter().any(|folder| folder == name)
    }
}
