//! One job of which a part is in blob storage, on this worker.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use petctl_attempt::paths::detail;
use petctl_attempt::{AttemptPaths, identity, outcome};
use petctl_codes::Code;
use petctl_commit::report;
use petctl_commit::{BlobBegin, BlobCommitter, Commit, Ticket};
use petctl_commit::{CommitError, Committed, manifest_bytes};
use petctl_output::result::{MAX_RESULT_BYTES, parse_result};
use petctl_process::StopSwitch;
use petctl_proto::v1::{AttemptResult, Lease};
use petctl_spec::JobSpec;
use petctl_storage::{SharedStore, StorageError};
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use crate::engine::Engine;
use crate::fetch::Tree;
use crate::logs::KeptLogs;
use crate::problem::Problem;
use crate::stager::Hold;
use crate::wants::{InputSource, StageWants, of_stages};
use petctl_output::layout::{AttemptName, NamedLease};

/// Logs of failed attempts that are sent at a time; what is beyond that stays here.
const FAILED_LOGS: usize = 32;

/// Commits of stages that are needed as a whole.
pub(super) type Wholes = BTreeMap<String, Arc<OnceCell<Arc<Vec<Commit>>>>>;

/// What stands between the storage and the attempts of a job.
#[derive(Debug)]
pub struct RemoteJob {
    pub(super) engine: Arc<Engine>,
    pub(super) name: String,
    /// Where everything of the job is on this machine; `None`: outputs go to a folder, and only inputs are staged.
    root: Option<PathBuf>,
    pub(super) output: Option<BlobCommitter>,
    output_root: String,
    pub(super) input: InputSource,
    /// Where inputs that have to be fetched are.
    pub(super) input_store: Option<SharedStore>,
    /// Tells the inputs of one account from those of another.
    pub(super) account: String,
    stages: Vec<StageWants>,
    /// For attempts that may publish.
    tickets: Mutex<BTreeMap<u64, Ticket>>,
    pub(super) tree: OnceCell<Arc<Tree>>,
    /// They are listed once.
    pub(super) wholes: Mutex<Wholes>,
    pub(super) logs: KeptLogs,
    pub(super) failed_logs: Arc<Semaphore>,
}

impl RemoteJob {
    /// Opens the stores of the job; nothing is sent yet.
    pub(super) fn open(engine: Arc<Engine>, job_id: u64, spec: &JobSpec) -> Result<Self, Problem> {
        let access = &spec.storage.access;
        let root = spec.storage.output_root();
        let output = if root.is_blob() {
            Some(BlobCommitter::new(petctl_storage::open(&root, access)?))
        } else {
            None
        };
        let input = InputSource::of(&spec.storage);
        let input_store = match &input {
            InputSource::Staged(root) => Some(petctl_storage::open(root, access)?),
            InputSource::None | InputSource::Folder(_) => None,
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
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// The job's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether outputs are sent.
    pub fn sends(&self) -> bool {
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
    pub(super) fn path_of(&self, stage: &str, key: &str) -> PathBuf {
        Path::new(&self.output_root).join(stage).join(key)
    }

    /// A lease has come, and will run when its turn comes.
    pub fn expect(self: &Arc<Self>, lease: &Lease) {
        let job = Arc::clone(self);
        let expected = lease.clone();
        self.engine.stager().expect(lease.lease_id, async move {
            let lease = expected;
            match detail(&lease) {
                Ok(detail) => job.resolve(&lease, &detail).await,
                Err(result) => Err(Problem {
                    outcome: result.outcome(),
                    code: Code::InvalidJobSpec,
                    message: result.message,
                }),
            }
        });
    }

    /// It will not run here.
    pub fn forget(&self, lease_id: u64) {
        self.engine.stager().release(lease_id);
    }

    /// Waits until all is here that the attempt works on. It stays as long as the [`Hold`] lives.
    ///
    /// # Errors
    /// What came of the attempt: it can't start.
    pub fn paths(
        self: &Arc<Self>,
        lease: &Lease,
        switch: &StopSwitch,
    ) -> Result<(AttemptPaths, Hold), Box<AttemptResult>> {
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
        let paths = AttemptPaths {
            detail,
            inputs: found.inputs,
            input_root: found.input_root,
            output_root: self.output_root.clone(),
        };
        Ok((paths, hold))
    }

    /// What an attempt does before it starts: a fenced one makes sure that no earlier one commits any more. A result
    /// means that there is nothing to run.
    pub fn claim(
        &self,
        lease: &Lease,
        name: AttemptName<'_>,
        switch: &StopSwitch,
    ) -> Option<AttemptResult> {
        let output = self.output.as_ref()?;
        if identity::is_first(lease) {
            self.lock_tickets()
                .insert(lease.lease_id, Ticket::default());
            return None;
        }
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
        // The worker is named when it publishes.
        let maker = identity::maker(lease, &self.name, "");
        match output.begin(maker, name, lease.fence).await? {
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

    pub(super) fn stage(&self, index: u32) -> Option<&StageWants> {
        self.stages.get(usize::try_from(index).ok()?)
    }

    fn lock_tickets(&self) -> MutexGuard<'_, BTreeMap<u64, Ticket>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
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
    manifest: &petctl_output::manifest::Manifest,
    report: Option<petctl_output::result::ShardReport>,
) -> Result<Committed, Problem> {
    let bytes = manifest_bytes(manifest).map_err(|error| Problem::broken(error.to_string()))?;
    Ok(Committed::new(
        manifest,
        Sha256::digest(&bytes).into(),
        report,
    ))
}

/// How the outputs of one lease are told from those of another.
pub(super) fn version_of(lease: NamedLease) -> String {
    lease.to_string()
}

pub(super) fn lease_lost(by: Option<NamedLease>) -> Problem {
    match by {
        Some(_) => CommitError::Overtaken.into(),
        // Its claim was swept.
        None => Problem {
            outcome: petctl_proto::v1::Outcome::Revoked,
            code: Code::LeaseLost,
            message: "the job has ended".to_owned(),
        },
    }
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
