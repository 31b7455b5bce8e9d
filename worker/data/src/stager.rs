//! Carries out what the [`InputCache`] decides: what leases want is found out when they arrive, ahead of their turn, and
//! is here when a slot takes them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use crate::cache::{InputCache, Step, Want};
use crate::fetch::{Fetcher, Source};
use crate::problem::Problem;
use crate::scratch::Scratch;
use petctl_output::folders::in_folder;

/// Leases whose wants are found out at a time.
const RESOLVING: usize = 16;
/// Downloads at a time; each may have several connections.
const FETCHING: usize = 8;

/// All staging of a worker.
pub(crate) struct Stager {
    state: Mutex<State>,
    changed: Notify,
    resolving: Semaphore,
    fetching: Semaphore,
    fetcher: Fetcher,
    scratch: Arc<Scratch>,
    runtime: Handle,
    /// Whether what an earlier worker left is in the cache.
    indexed: watch::Sender<bool>,
}

struct State {
    cache: InputCache<Source>,
    leases: BTreeMap<u64, Staging>,
}

/// How far the staging for a lease is.
#[derive(Default)]
struct Staging {
    found: Option<Found>,
    end: Option<Result<(), Problem>>,
}

/// Where a lease finds what it wants, once that is staged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) inputs: Vec<String>,
    pub(crate) input_root: Option<String>,
}

/// What a lease wants, and where it will find it.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) wants: Vec<Want<Source>>,
    pub(super) found: Found,
}

/// Keeps what was staged for one lease where it is.
pub struct Hold {
    stager: Arc<Stager>,
    lease: u64,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Stager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stager").finish_non_exhaustive()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.stager.release(self.lease);
    }
}

impl Stager {
    pub(super) fn new(scratch: Arc<Scratch>, runtime: Handle) -> Arc<Self> {
        let stager = Arc::new(Self {
            state: Mutex::new(State {
                cache: InputCache::new(u64::MAX),
                leases: BTreeMap::new(),
            }),
            changed: Notify::new(),
            resolving: Semaphore::new(RESOLVING),
            fetching: Semaphore::new(FETCHING),
            fetcher: Fetcher::new(Arc::clone(&scratch)),
            scratch,
            runtime,
            indexed: watch::Sender::new(false),
        });
        let indexing = Arc::clone(&stager);
        stager.runtime.spawn_blocking(move || indexing.index());
        stager
    }

    /// Most bytes that may lie here.
    pub(super) fn set_limit(self: &Arc<Self>, bytes: u64) {
        let mut state = self.lock();
        let steps = state.cache.set_limit(bytes);
        self.perform(&mut state, steps);
    }

    /// A lease will run. `resolve` finds out what it wants.
    pub(super) fn expect(
        self: &Arc<Self>,
        lease: u64,
        resolve: impl Future<Output = Result<Plan, Problem>> + Send + 'static,
    ) {
        let mut state = self.lock();
        if state.leases.contains_key(&lease) {
            return;
        }
        state.leases.insert(lease, Staging::default());
        state.cache.enqueue(lease);
        drop(state);
        let stager = Arc::clone(self);
        self.runtime.spawn(async move {
            // Never closed.
            let Ok(_permit) = stager.resolving.acquire().await else {
                return;
            };
            let _ = stager.indexed.subscribe().wait_for(|done| *done).await;
            if !stager.lock().leases.contains_key(&lease) {
                return;
            }
            let plan = resolve.await;
            stager.resolved(lease, plan);
        });
    }

    fn resolved(self: &Arc<Self>, lease: u64, plan: Result<Plan, Problem>) {
        let mut state = self.lock();
        let steps = match plan {
            Ok(plan) => {
                let Some(staging) = state.leases.get_mut(&lease) else {
                    return;
                };
                staging.found = Some(plan.found);
                state.cache.plan(lease, plan.wants)
            }
            Err(problem) => {
                state.end(lease, Err(problem));
                state.cache.release(lease)
            }
        };
        self.perform(&mut state, steps);
    }

    /// Whether a lease is expected.
    pub(super) fn expects(&self, lease: u64) -> bool {
        self.lock().leases.contains_key(&lease)
    }

    /// Waits until all is there that a lease wants. It stays until the [`Hold`] is dropped.
    pub(super) async fn staged(self: &Arc<Self>, lease: u64) -> Result<(Found, Hold), Problem> {
        let hold = Hold {
            stager: Arc::clone(self),
            lease,
        };
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let end = match self.lock().leases.get(&lease) {
                Some(staging) => staging.end.clone().map(|end| {
                    let found = staging.found.clone().unwrap_or_default();
                    end.map(|()| found)
                }),
                None => Some(Err(Problem::broken(
                    "the shard was not expected any more".to_owned(),
                ))),
            };
            match end {
                Some(end) => return end.map(|found| (found, hold)),
                None => changed.await,
            }
        }
    }

    /// Nobody runs this lease any more, or ever.
    pub(super) fn release(self: &Arc<Self>, lease: u64) {
        let mut state = self.lock();
        if state.leases.remove(&lease).is_some() {
            let steps = state.cache.release(lease);
            self.perform(&mut state, steps);
        }
    }

    /// Puts a folder that this worker has made itself to where it would be staged. False where there is no room.
    pub(super) fn keep(
        self: &Arc<Self>,
        folder: &Path,
        target: &Path,
        version: &str,
        bytes: u64,
    ) -> bool {
        let mut state = self.lock();
        let (fits, steps) = state.cache.keep(target, version, bytes);
        self.perform(&mut state, steps);
        if !fits {
            return false;
        }
        let moved = move_to(folder, target);
        if moved.is_err() {
            state.cache.forget_below(target);
        }
        moved.is_ok()
    }

    /// A job is gone, with its folder.
    pub(super) fn forget_below(self: &Arc<Self>, folder: &Path) {
        let mut state = self.lock();
        let steps = state.cache.forget_below(folder);
        self.perform(&mut state, steps);
        drop(state);
        self.take_away(folder);
    }

    fn take_away(&self, path: &Path) {
        if let Some(gone) = self.scratch.take_away(path) {
            self.runtime
                .spawn_blocking(move || fs::remove_dir_all(gone));
        }
    }

    fn perform(self: &Arc<Self>, state: &mut State, steps: Vec<Step<Source>>) {
        for step in steps {
            match step {
                // Under the lock: what is fetched to the same path comes after.
                Step::Evict(path) => self.take_away(&path),
                Step::Fetch { path, source } => {
                    let stager = Arc::clone(self);
                    self.runtime
                        .spawn(async move { stager.fetch(path, source).await });
                }
                Step::Ready(lease) => state.end(lease, Ok(())),
                Step::TooLarge { lease, bytes } => {
                    let problem = Problem::too_large(bytes, state.cache.limit());
                    state.end(lease, Err(problem));
                }
            }
        }
        self.changed.notify_waiters();
    }

    async fn fetch(self: Arc<Self>, path: PathBuf, source: Source) {
        // Never closed.
        let Ok(_permit) = self.fetching.acquire().await else {
            return;
        };
        let mut fetched = self.fetcher.fetch(&path, &source).await;
        if fetched.as_ref().is_err_and(Problem::is_full) && self.clear_idle() {
            fetched = self.fetcher.fetch(&path, &source).await;
        }
        let mut state = self.lock();
        let steps = match fetched {
            Ok(()) => state.cache.fetched(&path),
            Err(problem) => {
                let (leases, steps) = state.cache.failed(&path);
                tracing::warn!(
                    code = problem.code.as_str(),
                    "staging failed: {}",
                    problem.message
                );
                for lease in leases {
                    state.end(lease, Err(problem.clone()));
                }
                steps
            }
        };
        self.perform(&mut state, steps);
    }

    /// Whether something could go.
    fn clear_idle(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        let steps = state.cache.clear_idle();
        let some = !steps.is_empty();
        self.perform(&mut state, steps);
        some
    }

    /// Puts what an earlier worker has staged in the cache. Everything there was moved there when it was whole.
    fn index(self: &Arc<Self>) {
        self.scratch.delete_old();
        for (path, bytes) in self.fetcher.left_over() {
            let version = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let mut state = self.lock();
            let (fits, steps) = state.cache.keep(&path, &version, bytes);
            self.perform(&mut state, steps);
            if !fits {
                self.take_away(&path);
            }
        }
        self.indexed.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, lease: u64, end: Result<(), Problem>) {
        if let Some(staging) = self.leases.get_mut(&lease) {
            staging.end = Some(end);
        }
    }
}

/// Renames a folder to a path where nothing that counts is.
pub(super) fn move_to(folder: &Path, target: &Path) -> std::io::Result<()> {
    let rename = || fs::rename(folder, target);
    target
        .parent()
        .map_or_else(rename, |parent| in_folder(parent, rename))
}
