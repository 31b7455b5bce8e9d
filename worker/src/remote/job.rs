//! One job of which a part is in blob storage, on this worker.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use petctl_proto::v1::{AttemptResult, Lease};
use petctl_spec::{JobSpec, MAX_RESULT_BYTES, ShardDetail, parse_result};
use petctl_storage::commit::{BlobBegin, BlobCommitter, Commit, Ticket};
use petctl_storage::{SharedStore, StorageError, StorageProblem};
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use crate::commit::{CommitError, Committed, manifest_bytes};
use crate::layout::{AttemptName, check_key, hex};
use crate::outcome;
use crate::places::{Places, below, detail, input_names};
use crate::process::StopSwitch;
use crate::remote::engine::Engine;
use crate::remote::fetch::{Source, TreeFile, tree_root};
use crate::remote::logs::KeptLogs;
use crate::remote::problem::Problem;
use crate::remote::shelf::Want;
use crate::remote::stager::{Found, Plan};
use crate::remote::wants::{InputPlace, NeededStage, StageWants, of_stages};
use crate::report;

/// Inputs of one shard that are asked for at a time.
const HEADS: usize = 8;
/// Logs of failed attempts that are sent at a time; what is beyond that stays here.
const FAILED_LOGS: usize = 32;

/// What stands between the storage and the attempts of a job.
#[derive(Debug)]
pub(crate) struct RemoteJob {
    pub(super) engine: Arc<Engine>,
    pub(super) name: String,
    /// Where everything of the job is on this machine; `None`: outputs go to a folder, and only inputs are staged.
    root: Option<PathBuf>,
    output: Option<BlobCommitter>,
    output_root: String,
    input: InputPlace,
    /// Where inputs that have to be fetched are.
    input_store: Option<SharedStore>,
    /// Tells the inputs of one account from those of another.
    account: String,
    stages: Vec<StageWants>,
    /// For attempts that may publish.
    tickets: Mutex<BTreeMap<u64, Ticket>>,
    tree: OnceCell<Arc<Vec<TreeFile>>>,
    /// Commits of stages that are needed as a whole; they are listed once.
    wholes: Mutex<BTreeMap<String, Arc<OnceCell<Arc<Vec<Commit>>>>>>,
    pub(super) logs: KeptLogs,
    pub(super) failed_logs: Arc<Semaphore>,
}

impl RemoteJob {
    /// Opens the stores of the job; nothing is sent yet.
    pub(super) fn open(engine: Arc<Engine>, job_id: u64, spec: &JobSpec) -> Result<Self, Problem> {
        let access = &spec.storage.access;
        let place = spec.storage.output_root();
        let output = if place.is_blob() {
            Some(BlobCommitter::new(petctl_storage::open(&place, access)?))
        } else {
            None
        };
        let input = InputPlace::of(&spec.storage);
        let input_store = match &input {
            InputPlace::Staged(root) => Some(petctl_storage::open(root, access)?),
            InputPlace::None | InputPlace::Folder(_) => None,
        };
        let root = match output {
            Some(_) => Some(engine.scratch().job_folder(&spec.name, job_id)?),
            None => None,
        };
        let output_root = root.as_ref().map_or_else(
            || spec.storage.output.clone(),
            |root| root.to_string_lossy().into_owned(),
        );
        Ok(Self {
            engine,
            name: spec.name.clone(),
            root,
            output,
            output_root,
            input,
            input_store,
            account: format!("{:?} {:?}", access.account, access.endpoint),
            stages: of_stages(spec),
            tickets: Mutex::default(),
            tree: OnceCell::new(),
            wholes: Mutex::default(),
            logs: KeptLogs::default(),
            failed_logs: Arc::new(Semaphore::new(FAILED_LOGS)),
        })
    }

    /// Where attempts write, if what they write is sent from there.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Whether outputs are sent.
    pub(crate) fn sends(&self) -> bool {
        self.output.is_some()
    }

    pub(super) fn output(&self) -> Option<&BlobCommitter> {
        self.output.as_ref()
    }

    /// Whether the outputs of a stage are worth keeping here.
    pub(super) fn is_needed(&self, stage: u32) -> bool {
        self.stage(stage).is_some_and(|stage| stage.is_needed)
    }

    /// Where the outputs of a shard are kept, or staged.
    pub(super) fn place_of(&self, stage: &str, key: &str) -> PathBuf {
        Path::new(&self.output_root).join(stage).join(key)
    }

    /// A lease has come, and will run when its turn comes.
    pub(crate) fn expect(self: &Arc<Self>, lease: &Lease) {
        let job = Arc::clone(self);
        let looked_at = lease.clone();
        self.engine.stager().expect(lease.lease_id, async move {
            let lease = looked_at;
            match detail(&lease) {
                Ok(detail) => job.look(&lease, &detail).await,
                Err(result) => Err(Problem {
                    outcome: result.outcome(),
                    code: "INVALID_JOB_SPEC",
                    message: result.message,
                }),
            }
        });
    }

    /// It will not run here.
    pub(crate) fn forget(&self, lease_id: u64) {
        self.engine.stager().release(lease_id);
    }

    /// Waits until all is here that the attempt works on.
    pub(crate) fn places(
        self: &Arc<Self>,
        lease: &Lease,
        switch: &StopSwitch,
    ) -> Result<Places, Box<AttemptResult>> {
        let detail = detail(lease)?;
        let stager = self.engine.stager();
        if !stager.expects(lease.lease_id) {
            self.expect(lease);
        }
        let staged = self.engine.block_on(async {
            tokio::select! {
                biased;
                order = switch.ordered(|_| true) => Err(outcome::stopped(lease, &order)),
                staged = stager.staged(lease.lease_id) => staged.map_err(|problem| problem.result(lease)),
            }
        });
        let (found, hold) = staged.map_err(|result| {
            stager.release(lease.lease_id);
            Box::new(result)
        })?;
        Ok(Places {
            detail,
            inputs: found.inputs,
            input_root: found.input_root,
            output_root: self.output_root.clone(),
            _hold: Some(hold),
        })
    }

    /// What an attempt does before it starts: a fenced one makes sure that no earlier one commits any more. A result
    /// means that there is nothing to run.
    pub(crate) fn claim(
        &self,
        lease: &Lease,
        name: AttemptName<'_>,
        switch: &StopSwitch,
    ) -> Option<AttemptResult> {
        let output = self.output.as_ref()?;
        let begin = self.engine.block_on(async {
            tokio::select! {
                biased;
                order = switch.ordered(|_| true) => Err(outcome::stopped(lease, &order)),
                begin = self.begin(output, lease, name) => Ok(begin),
            }
        });
        match begin {
            Ok(Ok(Some(committed))) => Some(outcome::committed(lease, committed)),
            Ok(Ok(None)) => None,
            Ok(Err(problem)) => Some(problem.result(lease)),
            Err(stopped) => Some(stopped),
        }
    }

    async fn begin(
        &self,
        output: &BlobCommitter,
        lease: &Lease,
        name: AttemptName<'_>,
    ) -> Result<Option<Committed>, Problem> {
        match output
            .begin(name, lease.fence, lease.replaces_below)
            .await?
        {
            BlobBegin::Free(ticket) => {
                self.lock_tickets().insert(lease.lease_id, ticket);
                Ok(None)
            }
            BlobBegin::Committed(commit) => self.adopt(&commit).await.map(Some),
            BlobBegin::LeaseLost { by } => Err(lease_lost(by)),
        }
    }

    /// What the attempt may publish with; it is asked for once.
    pub(super) fn take_ticket(&self, lease_id: u64) -> Option<Ticket> {
        self.lock_tickets().remove(&lease_id)
    }

    /// The outputs of another attempt, which stand.
    pub(super) async fn adopt(&self, commit: &Commit) -> Result<Committed, Problem> {
        let Some(output) = &self.output else {
            return Err(Problem::broken("nothing is sent from here".to_owned()));
        };
        let manifest = &commit.manifest;
        if manifest.job != self.name {
            let holds = format!(
                "outputs of shard {} of stage {} of job {}",
                manifest.key, manifest.stage, manifest.job
            );
            let folder = output.store().address(&commit.data).into();
            return Err(CommitError::Occupied { folder, holds }.into());
        }
        let has_report = manifest
            .files
            .iter()
            .any(|file| file.name == report::FILE_NAME);
        let report = if has_report {
            let name = format!("{}{}", commit.data, report::FILE_NAME);
            let bytes = read_small(output.store(), &name).await?;
            Some(parse_result(&bytes).map_err(|error| Problem::from(CommitError::from(error)))?)
        } else {
            None
        };
        committed(manifest, report)
    }

    async fn look(&self, lease: &Lease, detail: &ShardDetail) -> Result<Plan, Problem> {
        let Some(stage) = self.stage(lease.stage) else {
            return Ok(Plan::default());
        };
        let names = input_names(detail, lease, stage.reads_files);
        let mut plan = match (&self.input, &self.input_store) {
            (InputPlace::Staged(_), Some(store)) if stage.all_inputs => {
                self.look_at_all(store, &names).await?
            }
            (InputPlace::Staged(_), Some(store)) => self.look_at_inputs(store, &names).await?,
            (InputPlace::Folder(folder), _) => Plan {
                wants: Vec::new(),
                found: Found {
                    inputs: below(Some(folder), &names),
                    input_root: Some(folder.clone()),
                },
            },
            (InputPlace::None | InputPlace::Staged(_), _) => Plan::default(),
        };
        if let Some(output) = &self.output {
            for need in &stage.needs {
                self.look_at_need(output, need, &lease.key, &mut plan)
                    .await?;
            }
        }
        Ok(plan)
    }

    async fn look_at_inputs(&self, store: &SharedStore, names: &[String]) -> Result<Plan, Problem> {
        let heads = names.to_vec().into_iter().map(|name| {
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
            let file = want.path.join(super::fetch::file_name(name));
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

    async fn look_at_all(&self, store: &SharedStore, names: &[String]) -> Result<Plan, Problem> {
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

    async fn look_at_need(
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
                path: self.place_of(&need.name, &manifest.key),
                version: version_of(manifest.lease_id),
                bytes: manifest.total_bytes(),
                source: Source::Output {
                    store: Arc::clone(output.store()),
                    commit: commit.clone(),
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

    fn stage(&self, index: u32) -> Option<&StageWants> {
        self.stages.get(usize::try_from(index).ok()?)
    }

    fn lock_tickets(&self) -> MutexGuard<'_, BTreeMap<u64, Ticket>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_wholes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<OnceCell<Arc<Vec<Commit>>>>>> {
        self.wholes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RemoteJob {
    fn drop(&mut self) {
        if let Some(root) = &self.root {
            self.engine.stager().forget_below(root);
        }
    }
}

/// Outputs as another attempt's, or ours, stand in the storage.
pub(super) fn committed(
    manifest: &crate::manifest::Manifest,
    report: Option<petctl_spec::ShardReport>,
) -> Result<Committed, Problem> {
    let bytes = manifest_bytes(manifest).map_err(|error| Problem::broken(error.to_string()))?;
    Ok(Committed {
        lease_id: manifest.lease_id,
        manifest_sha256: Sha256::digest(&bytes).into(),
        files: u32::try_from(manifest.files.len()).unwrap_or(u32::MAX),
        bytes: manifest.total_bytes(),
        report,
    })
}

/// How the outputs of one lease are told from those of another.
pub(super) fn version_of(lease_id: u64) -> String {
    format!("{lease_id:016x}")
}

pub(super) fn lease_lost(by: u64) -> Problem {
    Problem {
        outcome: petctl_proto::v1::Outcome::Revoked,
        code: "LEASE_LOST",
        message: match by {
            // Its claim was swept.
            0 => "the job has ended".to_owned(),
            by => format!("a later attempt (lease {by}) has taken the shard over"),
        },
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

async fn read_small(store: &SharedStore, name: &str) -> Result<Vec<u8>, StorageError> {
    let mut body = store.get(name, None, None).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.bytes.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() > MAX_RESULT_BYTES {
            break;
        }
    }
    Ok(bytes)
}
