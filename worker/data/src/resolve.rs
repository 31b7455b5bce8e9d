//! Asks the storage what a lease wants: names, versions and sizes, before anything is fetched.

use std::sync::{Arc, MutexGuard, PoisonError};

use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use petctl_attempt::paths::{below, input_names};
use petctl_commit::BlobCommitter;
use petctl_proto::v1::Lease;
use petctl_spec::ShardDetail;
use petctl_storage::{SharedStore, StorageError, StorageProblem};
use sha2::{Digest, Sha256};

use crate::cache::Want;
use crate::fetch::{Source, TreeFile, file_name, tree_root};
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
            (InputSource::Staged(_), Some(store)) => self.resolve_inputs(store, &names).await?,
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

    async fn resolve_inputs(&self, store: &SharedStore, names: &[String]) -> Result<Plan, Problem> {
        let heads = names.iter().cloned().map(|name| {
            async move {
                check_input(store, &name)?;
                let properties = store
                    .head(&name)
                    .await?
                    .ok_or_else(|| Problem::input_missing(&store.address(&name)))?;
                let hash = self.hash(&[&store.address(&name), &properties.etag.0]);
                let path = self.engine.scratch().cache().join(&hash);
                Ok::<_, Problem>(Want {
                    path,
                    version: hash,
                    bytes: properties.size,
                    source: Source::Input {
                        store: Arc::clone(store),
                        name,
                        etag: properties.etag,
                    },
                })
            }
            .boxed()
        });
        let wants: Vec<Want<Source>> = futures::stream::iter(heads)
            .buffered(HEADS)
            .try_collect()
            .await?;
        let files = wants.iter().zip(names).map(|(want, name)| {
            let file = want.path.join(file_name(name));
            file.to_string_lossy().into_owned()
        });
        Ok(Plan {
            found: Found {
                inputs: files.collect(),
                input_root: None,
            },
            wants,
        })
    }

    async fn resolve_tree(&self, store: &SharedStore, names: &[String]) -> Result<Plan, Problem> {
        let files = self.tree.get_or_try_init(|| list(store).boxed()).await?;
        let has = |name: &String| {
            files
                .binary_search_by(|file| file.name.as_str().cmp(name))
                .is_ok()
        };
        if let Some(missing) = names.iter().find(|name| !has(name)) {
            return Err(Problem::input_missing(&store.address(missing)));
        }
        let listing: Vec<&str> = files
            .iter()
            .flat_map(|file| [file.name.as_str(), file.etag.as_str()])
            .collect();
        let version = self.hash(&listing);
        let trees = self.engine.scratch().trees();
        let path = trees.join(self.hash(&[&store.address("")])).join(&version);
        let root = tree_root(&path).to_string_lossy().into_owned();
        Ok(Plan {
            found: Found {
                inputs: below(Some(&root), names),
                input_root: Some(root),
            },
            wants: vec![Want {
                path,
                version,
                bytes: files.iter().map(|file| file.bytes).sum(),
                source: Source::Tree {
                    store: Arc::clone(store),
                    files: Arc::clone(files),
                },
            }],
        })
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

/// All inputs, in the order of their names.
async fn list(store: &SharedStore) -> Result<Arc<Vec<TreeFile>>, StorageError> {
    let (mut files, mut mark) = (Vec::new(), None);
    loop {
        let page = store.list("", mark.as_deref()).await?;
        let entries = page.entries.into_iter().filter(|entry| !entry.is_folder);
        files.extend(entries.map(|entry| TreeFile {
            name: entry.name,
            etag: entry.properties.etag.0,
            bytes: entry.properties.size,
        }));
        mark = page.mark;
        if mark.is_none() {
            break;
        }
    }
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Arc::new(files))
}
