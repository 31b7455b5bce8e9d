//! Carries out what the [`Shelf`] decides: leases are looked at when they arrive, ahead of their turn, and what they
//! want is here when a slot takes them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use crate::data::cache::{Shelf, Step, Want};
use crate::data::fetch::{Fetcher, Source};
use crate::data::problem::Problem;
use crate::data::scratch::Scratch;

/// Leases whose wants are found out at a time.
const LOOKING: usize = 16;
/// Downloads at a time; each may have several connections.
const FETCHING: usize = 8;

/// All staging of a worker.
pub(crate) struct Stager {
    board: Mutex<Board>,
    changed: Notify,
    looking: Semaphore,
    fetching: Semaphore,
    fetcher: Fetcher,
    scratch: Arc<Scratch>,
    runtime: Handle,
    /// Whether what an earlier worker left is on the shelf.
    indexed: watch::Sender<bool>,
}

struct Board {
    shelf: Shelf<Source>,
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
pub(crate) struct Hold {
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
            board: Mutex::new(Board {
                shelf: Shelf::new(u64::MAX),
                leases: BTreeMap::new(),
            }),
            changed: Notify::new(),
            looking: Semaphore::new(LOOKING),
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
        let mut board = self.lock();
        let steps = board.shelf.set_limit(bytes);
        self.perform(&mut board, steps);
    }

    /// A lease will run. `look` finds out what it wants.
    pub(super) fn expect(
        self: &Arc<Self>,
        lease: u64,
        look: impl Future<Output = Result<Plan, Problem>> + Send + 'static,
    ) {
        let mut board = self.lock();
        if board.leases.contains_key(&lease) {
            return;
        }
        board.leases.insert(lease, Staging::default());
        board.shelf.queue(lease);
        drop(board);
        let stager = Arc::clone(self);
        self.runtime.spawn(async move {
            // Never closed.
            let Ok(_permit) = stager.looking.acquire().await else {
                return;
            };
            let _ = stager.indexed.subscribe().wait_for(|done| *done).await;
            if !stager.lock().leases.contains_key(&lease) {
                return;
            }
            let plan = look.await;
            stager.looked(lease, plan);
        });
    }

    fn looked(self: &Arc<Self>, lease: u64, plan: Result<Plan, Problem>) {
        let mut board = self.lock();
        let steps = match plan {
            Ok(plan) => {
                let Some(staging) = board.leases.get_mut(&lease) else {
                    return;
                };
                staging.found = Some(plan.found);
                board.shelf.plan(lease, plan.wants)
            }
            Err(problem) => {
                board.end(lease, Err(problem));
                board.shelf.release(lease)
            }
        };
        self.perform(&mut board, steps);
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
        let mut board = self.lock();
        if board.leases.remove(&lease).is_some() {
            let steps = board.shelf.release(lease);
            self.perform(&mut board, steps);
        }
    }

    /// Puts a folder that this worker has made itself to where it would be staged. False where there is no room.
    pub(super) fn keep(
        self: &Arc<Self>,
        folder: &Path,
        place: &Path,
        version: &str,
        bytes: u64,
    ) -> bool {
        let mut board = self.lock();
        let (fits, steps) = board.shelf.keep(place, version, bytes);
        self.perform(&mut board, steps);
        if !fits {
            return false;
        }
        let moved = move_to(folder, place);
        if moved.is_err() {
            board.shelf.forget_below(place);
        }
        moved.is_ok()
    }

    /// A job is gone, with its folder.
    pub(super) fn forget_below(self: &Arc<Self>, folder: &Path) {
        let mut board = self.lock();
        let steps = board.shelf.forget_below(folder);
        self.perform(&mut board, steps);
        drop(board);
        self.take_away(folder);
    }

    fn take_away(&self, path: &Path) {
        if let Some(gone) = self.scratch.take_away(path) {
            self.runtime
                .spawn_blocking(move || fs::remove_dir_all(gone));
        }
    }

    fn perform(self: &Arc<Self>, board: &mut Board, steps: Vec<Step<Source>>) {
        for step in steps {
            match step {
                // Under the lock: what is fetched to the same place comes after.
                Step::Evict(path) => self.take_away(&path),
                Step::Fetch { path, source } => {
                    let stager = Arc::clone(self);
                    self.runtime
                        .spawn(async move { stager.fetch(path, source).await });
                }
                Step::Ready(lease) => board.end(lease, Ok(())),
                Step::TooLarge { lease, bytes } => {
                    let problem = Problem::too_large(bytes, board.shelf.limit());
                    board.end(lease, Err(problem));
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
        let mut board = self.lock();
        let steps = match fetched {
            Ok(()) => board.shelf.fetched(&path),
            Err(problem) => {
                let (leases, steps) = board.shelf.failed(&path);
                tracing::warn!(code = problem.code, "staging failed: {}", problem.message);
                for lease in leases {
                    board.end(lease, Err(problem.clone()));
                }
                steps
            }
        };
        self.perform(&mut board, steps);
    }

    /// Whether something could go.
    fn clear_idle(self: &Arc<Self>) -> bool {
        let mut board = self.lock();
        let steps = board.shelf.clear_idle();
        let some = !steps.is_empty();
        self.perform(&mut board, steps);
        some
    }

    /// Puts what an earlier worker has staged on the shelf. Everything there was moved to its place when it was whole.
    fn index(self: &Arc<Self>) {
        self.scratch.delete_old();
        for (path, bytes) in self.fetcher.left_over() {
            let version = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let mut board = self.lock();
            let (fits, steps) = board.shelf.keep(&path, &version, bytes);
            self.perform(&mut board, steps);
            if !fits {
                self.take_away(&path);
            }
        }
        self.indexed.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn end(&mut self, lease: u64, end: Result<(), Problem>) {
        if let Some(staging) = self.leases.get_mut(&lease) {
            staging.end = Some(end);
        }
    }
}

/// Renames a folder to a place where nothing that counts is.
pub(super) fn move_to(folder: &Path, place: &Path) -> std::io::Result<()> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(folder, place)
}
