//! A place is where a job's workers run. Whoever runs a job says how many it wants; the place makes it so, starts again
//! what dies, and says what there is. The rest of petctl knows no place by name.
//!
//! What a place owes: [`Place::ensure`] may be called at any time with any numbers, and the last call counts; a worker
//! that ends while it is wanted is replaced, later and later where nothing is gained meanwhile, and with an error in the
//! end; once nothing is wanted, nothing is started any more.

use petctl_codes::Code;

/// What a job wants of its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Workers of the pool, spares included.
    pub workers: usize,
    /// The worker of the stages that run beside the launcher.
    pub local_stages: bool,
}

impl Wanted {
    /// No worker at all: the job ends or is given up.
    pub const NOTHING: Self = Self {
        workers: 0,
        local_stages: false,
    };
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It was asked for, and the place has not started it yet.
    Waiting,
    /// Its process runs.
    Running,
}

/// A worker as its place sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Unique in the place.
    pub name: String,
    /// How far it is.
    pub state: WorkerState,
    /// Why it is not further.
    pub code: Option<Code>,
    /// The same in a sentence; empty where nothing is wrong.
    pub reason: String,
}

/// A worker has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub worker: String,
    /// How it ended, where that was not to be expected: another one takes its place.
    pub unexpected: Option<String>,
}

/// How workers are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// What runs has its grace, then they leave.
    Leave,
    /// At once, whatever runs.
    Kill,
}

/// Where a job's workers run.
pub trait Place {
    /// Why workers can't be had.
    type Error;

    /// From now on these workers are wanted. Those that are missing are started; those that are too many are left to
    /// the coordinator, which drains them.
    ///
    /// # Errors
    /// Where one can't be started.
    fn ensure(&mut self, wanted: Wanted) -> Result<(), Self::Error>;

    /// The workers that there are.
    fn observe(&self) -> Vec<Worker>;

    /// Takes care of them until one ends. Nothing is lost where this is dropped before.
    ///
    /// # Errors
    /// Where they end faster than they get anything done.
    fn ended(&mut self) -> impl Future<Output = Result<Ended, Self::Error>> + Send;

    /// How far the job has come, as a number that only grows when something is gained: what died before that is
    /// forgiven.
    fn gained(&mut self, progress: u64);

    /// The coordinator of this run has stopped by itself: the workers are dead to the next one, which is to hear so.
    fn coordinator_stopped(&mut self);

    /// Tells all of them to end.
    fn stop(&mut self, how: Stop);
}
