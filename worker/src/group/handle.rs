//! The processes of one epoch, from outside.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use crate::group::Failure;
use crate::group::plan::Plan;
use crate::group::progress::Progress;
use crate::group::runner::Runner;
use crate::group::switch::{GroupOrder, GroupSwitch};

/// What a group says of itself.
#[derive(Debug)]
pub(crate) enum Note {
    /// So many of its processes have exited 0.
    Exited { epoch: u64, count: u32 },
    /// The first failure; the others are being stopped.
    Failing { epoch: u64, failure: Box<Failure> },
    /// A marker says that a checkpoint is complete.
    Checkpoint { step: u64, path: String },
    /// Nothing of it is left.
    Ended {
        epoch: u64,
        succeeded: bool,
        /// The first first.
        failures: Vec<Failure>,
    },
}

pub(super) type Report = Arc<dyn Fn(Note) + Send + Sync>;

/// The processes of one epoch, from outside.
#[derive(Debug)]
pub(crate) struct Group {
    switch: Arc<GroupSwitch>,
    progress: Arc<Progress>,
    running: Arc<AtomicU32>,
    thread: JoinHandle<()>,
}

impl Group {
    /// Starts the thread, which starts the processes.
    ///
    /// # Errors
    /// Where the system has no thread or descriptor left.
    pub(crate) fn start(
        plan: Plan,
        report: impl Fn(Note) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let switch = Arc::new(GroupSwitch::new()?);
        let heartbeats = plan
            .ranks
            .iter()
            .map(|rank| (rank.rank, rank.heartbeat.clone()));
        let progress = Arc::new(Progress::new(
            plan.start.job_id,
            plan.start.epoch,
            heartbeats.collect(),
        ));
        let running = Arc::new(AtomicU32::new(plan.start.processes));
        let runner = Runner::new(
            plan,
            Arc::new(report),
            Arc::clone(&switch),
            Arc::clone(&progress),
            Arc::clone(&running),
        );
        let thread = std::thread::Builder::new().name("petctl-group".to_owned());
        Ok(Self {
            switch,
            progress,
            running,
            thread: thread.spawn(move || runner.run())?,
        })
    }

    pub(crate) fn stop(&self, order: GroupOrder) {
        self.switch.request(order);
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Processes that have not ended.
    pub(crate) fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// Waits for the thread.
    pub(crate) fn join(self) {
        // A panic of it has been reported by it.
        let _ = self.thread.join();
    }
}
