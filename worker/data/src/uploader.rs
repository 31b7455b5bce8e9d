//! What attempts wrote is uploaded while their slots go on with others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt};
use petctl_attempt::{Validity, identity, outcome};
use petctl_codes::Code;
use petctl_commit::Published;
use petctl_commit::{BlobCommitter, CommitError, Committer, Refused, Ticket, write_manifest};
use petctl_output::result::ShardReport;
use petctl_process::supervisor::Stop;
use petctl_process::{StopOrder, StopSwitch};
use petctl_proto::v1::{AttemptResult, Lease, Outcome};
use petctl_storage::{SharedStore, StorageError, StorageProblem};
use petctl_transfer::{NoProgress, send_file};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::RemoteJob;
use crate::job::{committed, lease_lost, version_of};
use crate::logs;
use crate::problem::{Problem, sentence};
use petctl_output::layout::AttemptName;
use petctl_output::manifest::Manifest;

/// Files of one attempt that are sent at a time.
const FILES: usize = 8;
/// Attempts that are sent at a time.
const UPLOADING: usize = 8;
/// How long a result waits for its log to be sent.
const LOG_PATIENCE: Duration = Duration::from_secs(15);
/// How long clearing up after a failed attempt may take.
const CLEAR_PATIENCE: Duration = Duration::from_secs(60);

/// Takes the result of an attempt.
pub type Report = Arc<dyn Fn(AttemptResult) + Send + Sync>;
type Order = watch::Sender<Option<StopOrder>>;

/// Attempts that have run, and whose outputs are on their way.
pub struct Uploader {
    orders: Mutex<BTreeMap<u64, Order>>,
    /// Attempts whose folders may wait here.
    room: Arc<Semaphore>,
    uploading: Semaphore,
    /// Everything that goes on, results that have been reported included.
    tasks: TaskTracker,
    validity: Arc<Validity>,
    report: Report,
}

impl fmt::Debug for Uploader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploader").finish_non_exhaustive()
    }
}

/// From where outputs are uploaded.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The job.
    pub remote: Arc<RemoteJob>,
    /// Knows where attempts wrote.
    pub committer: Arc<Committer>,
    /// Name of the worker.
    pub worker: String,
}

/// An attempt that exited with 0.
struct Upload {
    origin: Origin,
    lease: Lease,
    stage: String,
    /// How it ended, but for what is only known when it is published.
    result: AttemptResult,
    /// Its manifest may be published: what it sent may be what stands.
    may_stand: AtomicBool,
}

impl Uploader {
    /// For a worker of so many slots.
    pub fn new(slots: usize, validity: Arc<Validity>, report: Report) -> Arc<Self> {
        Arc::new(Self {
            orders: Mutex::default(),
            room: Arc::new(Semaphore::new(2 * slots.max(1))),
            uploading: Semaphore::new(UPLOADING),
            tasks: TaskTracker::new(),
            validity,
            report,
        })
    }

    /// Attempts that are on their way.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Stops uploading for these leases; for all where `wanted` is `None`. Those of a worker that leaves go on to the
    /// end.
    pub fn stop(&self, wanted: Option<&BTreeSet<u64>>, order: &StopOrder) {
        if !ends(order.stop) {
            return;
        }
        for (lease, ordered) in self.lock().iter() {
            if wanted.is_none_or(|wanted| wanted.contains(lease)) {
                ordered.send_replace(Some(order.clone()));
            }
        }
    }

    /// Takes an attempt over from its slot, which waits where too many are on their way. Its result is reported when it
    /// is published.
    pub fn take(
        self: &Arc<Self>,
        origin: Origin,
        lease: &Lease,
        result: AttemptResult,
        switch: &StopSwitch,
    ) {
        let stage = origin.remote.stage(lease.stage);
        let stage = stage.map(|stage| stage.name.clone()).unwrap_or_default();
        let remote = Arc::clone(&origin.remote);
        let upload = Upload::new(origin, lease, stage, result);
        let room = remote.engine.block_on(async {
            tokio::select! {
                biased;
                order = switch.ordered(ends) => Err(order),
                permit = Arc::clone(&self.room).acquire_owned() => Ok(permit),
            }
        });
        let permit = match room {
            Ok(permit) => permit,
            Err(order) => {
                upload.discard();
                return (self.report)(outcome::stopped(lease, &order));
            }
        };
        let order = watch::Sender::new(None);
        let ordered = order.subscribe();
        self.lock().insert(lease.lease_id, order);
        // An order that came before it was on the list went to the slot.
        if let Some(order) = switch.order() {
            self.stop(Some(&BTreeSet::from([lease.lease_id])), &order);
        }
        let uploader = Arc::clone(self);
        let uploading = async move {
            uploader.run(&upload, ordered).await;
            drop(permit);
        };
        self.tasks.spawn_on(uploading, remote.engine.handle());
    }

    /// Sends the log of an attempt that did not commit, after its result was reported.
    pub fn send_log_of_failed(&self, origin: Origin, lease: &Lease) {
        let remote = Arc::clone(&origin.remote);
        remote.take_ticket(lease.lease_id);
        let Ok(permit) = Arc::clone(&remote.failed_logs).try_acquire_owned() else {
            return;
        };
        let Some(stage) = remote.stage(lease.stage) else {
            return;
        };
        let upload = Upload::new(origin, lease, stage.name.clone(), AttemptResult::default());
        let handle = remote.engine.handle().clone();
        let uploading = async move {
            upload.send_log(CLEAR_PATIENCE).await;
            drop(permit);
        };
        self.tasks.spawn_on(uploading, &handle);
    }

    /// Waits until nothing is left to be sent or cleared up.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn run(&self, upload: &Upload, mut ordered: watch::Receiver<Option<StopOrder>>) {
        let lease = &upload.lease;
        let sent = tokio::select! {
            biased;
            order = ordered.wait_for(Option::is_some) => Err(stopped(lease, order.ok().and_then(|order| order.clone()))),
            sent = self.publish(upload) => sent.map_err(|problem| problem.result(lease)),
        };
        let sends_log = !matches!(&sent, Err(result) if result.outcome() == Outcome::Revoked);
        let is_ours = matches!(&sent, Ok(result) if result.committed_lease_id == 0);
        let mut result = match sent {
            Ok(result) | Err(result) => result,
        };
        upload.complete(&mut result);
        if result.outcome() == Outcome::Committed && sends_log {
            upload.send_log(LOG_PATIENCE).await;
        }
        let failed = result.outcome() != Outcome::Committed;
        self.lock().remove(&lease.lease_id);
        (self.report)(result);
        if !is_ours {
            upload.discard();
        }
        if !upload.may_stand.load(Ordering::Relaxed) {
            upload.clear_storage().await;
        }
        if failed && sends_log {
            upload.send_log(CLEAR_PATIENCE).await;
        }
    }

    async fn publish(&self, upload: &Upload) -> Result<AttemptResult, Problem> {
        // Never closed.
        let _permit = self.uploading.acquire().await;
        let (remote, lease, name) = (&upload.origin.remote, &upload.lease, upload.name());
        let (Some(output), Some(ticket)) = (remote.output(), remote.take_ticket(lease.lease_id))
        else {
            return Err(Problem::broken("the attempt has not begun".to_owned()));
        };
        let (manifest, report) = upload.describe().await?;
        let folder = upload.origin.committer.layout().attempt(name);
        let prefix = output.data_prefix(name);
        check_names(output.store(), &prefix, &manifest)?;
        let tuning = remote.engine.tuning();
        let files = manifest.files.clone().into_iter().map(|file| {
            let (path, name) = (folder.join(&file.name), format!("{prefix}{}", file.name));
            async move {
                let sent = send_file(output.store(), &name, &path, tuning, &NoProgress).await?;
                if sent.size == file.bytes {
                    return Ok(());
                }
                let message = format!("{} changed while it was sent", path.display());
                Err(StorageError::new(StorageProblem::Changed, message)
                    .fix("the command must not leave processes behind that go on writing"))
            }
            .boxed()
        });
        futures::stream::iter(files)
            .buffer_unordered(FILES)
            .try_collect::<()>()
            .await?;
        // A lease that may be lost commits nothing.
        self.validity.stands().await;
        upload.may_stand.store(true, Ordering::Relaxed);
        let maker = identity::maker(lease, remote.name(), &upload.origin.worker);
        let published = output
            .publish(&ticket, maker, name, (&manifest, report.as_ref()))
            .await?;
        if !matches!(published, Published::Ours(_)) {
            upload.may_stand.store(false, Ordering::Relaxed);
        }
        let committed = match published {
            Published::Ours(_) => {
                upload.clear_earlier(output, &ticket).await;
                upload.keep_or_discard(&manifest).await;
                committed(&manifest, report)?
            }
            Published::Theirs(commit) => remote.adopt(&commit).await?,
            Published::LeaseLost { by } => return Err(lease_lost(by)),
        };
        Ok(outcome::committed(lease, committed))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    fn new(origin: Origin, lease: &Lease, stage: String, result: AttemptResult) -> Self {
        Self {
            origin,
            lease: lease.clone(),
            stage,
            result,
            may_stand: AtomicBool::new(false),
        }
    }

    fn name(&self) -> AttemptName<'_> {
        identity::name(&self.lease, &self.stage)
    }

    /// Every file is read for this, off the threads that move data.
    async fn describe(&self) -> Result<(Manifest, Option<ShardReport>), Problem> {
        let (origin, lease, stage) = (self.origin.clone(), self.lease.clone(), self.stage.clone());
        let elapsed = Duration::from_millis(self.result.duration_ms);
        let described = tokio::task::spawn_blocking(move || {
            let maker = identity::maker(&lease, origin.remote.name(), &origin.worker);
            let name = identity::name(&lease, &stage);
            origin.committer.describe(maker, name, elapsed)
        });
        match described.await {
            Ok(described) => Ok(described?),
            Err(error) => Err(Problem::broken(format!(
                "the outputs were not read: {error}"
            ))),
        }
    }

    /// What was found out while it ran.
    fn complete(&self, result: &mut AttemptResult) {
        result.duration_ms = self.result.duration_ms;
        result.exit_code = self.result.exit_code;
        result.signal = self.result.signal;
        if !self.result.message.is_empty() {
            if !result.message.is_empty() {
                result.message.push_str("; ");
            }
            result.message.push_str(&self.result.message);
        }
    }

    /// The outputs stay here where another stage's attempts may want them.
    async fn keep_or_discard(&self, manifest: &Manifest) {
        if self.origin.remote.is_needed(self.lease.stage) {
            let folder = self.origin.committer.layout().attempt(self.name());
            let path = self.origin.remote.path_of(&self.stage, &self.lease.key);
            let version = version_of(identity::lease(&self.lease));
            let (stager, manifest) = (
                Arc::clone(self.origin.remote.engine.stager()),
                manifest.clone(),
            );
            let kept = tokio::task::spawn_blocking(move || {
                write_manifest(&folder, &manifest).is_ok()
                    && stager.keep(&folder, &path, &version, manifest.total_bytes())
            });
            if kept.await.unwrap_or(false) {
                return;
            }
        }
        self.discard();
    }

    /// Outputs of before go when others stand. What this leaves, the job's sweep finds.
    async fn clear_earlier(&self, output: &BlobCommitter, ticket: &Ticket) {
        let cleared = tokio::time::timeout(CLEAR_PATIENCE, output.settle(ticket)).await;
        if let Ok(Err(error)) = cleared {
            tracing::info!(
                code = error.code().as_str(),
                "could not remove outputs of before: {}",
                sentence(&error)
            );
        }
    }

    fn discard(&self) {
        self.origin.committer.discard(self.name());
    }

    /// Takes away what was sent and does not count. What this leaves, the job's sweep finds.
    async fn clear_storage(&self) {
        let Some(output) = self.origin.remote.output() else {
            return;
        };
        let cleared = tokio::time::timeout(CLEAR_PATIENCE, output.discard(self.name())).await;
        if let Ok(Err(error)) = cleared {
            tracing::info!(
                code = error.code().as_str(),
                "could not clear up after an attempt: {}",
                sentence(&error)
            );
        }
    }

    async fn send_log(&self, patience: Duration) {
        let Some(output) = self.origin.remote.output() else {
            return;
        };
        let sending = logs::send(
            &self.origin.remote.logs,
            self.origin.committer.layout(),
            self.name(),
            output.store(),
            self.origin.remote.engine.tuning(),
        );
        match tokio::time::timeout(patience, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    code = error.code().as_str(),
                    "could not send a log: {}",
                    sentence(&error)
                );
            }
            Err(_) => tracing::warn!(shard = self.lease.key, "sending a log took too long"),
        }
    }
}

/// Refuses files whose names the store can't hold: all of them, before the first is sent.
fn check_names(store: &SharedStore, prefix: &str, manifest: &Manifest) -> Result<(), CommitError> {
    let refused: Vec<Refused> = manifest
        .files
        .iter()
        .filter_map(|file| {
            let why = store.check_name(&format!("{prefix}{}", file.name)).err()?;
            Some(Refused {
                code: Code::OutputBadName,
                name: file.name.clone(),
                why: format!("can't be stored: {why}"),
            })
        })
        .collect();
    match refused.is_empty() {
        true => Ok(()),
        false => Err(CommitError::Refused(refused)),
    }
}

/// Whether an order takes the lease away: what has run is sent to the end where its worker only leaves.
fn ends(stop: Stop) -> bool {
    match stop {
        Stop::Revoked | Stop::Discarded => true,
        Stop::Preempted => false,
    }
}

fn stopped(lease: &Lease, order: Option<StopOrder>) -> AttemptResult {
    match order {
        Some(order) => outcome::stopped(lease, &order),
        None => outcome::ended(
            lease,
            Outcome::Revoked,
            Code::LeaseLost,
            "the lease was lost",
        ),
    }
}
