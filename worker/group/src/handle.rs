//! The processes of one epoch, from outside.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use crate::Failure;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::runner::Runner;
use crate::{GroupOrder, GroupSwitch};

/// What a group says of itself.
#[derive(Debug)]
pub enum Note {
    /// So many of its processes have exited 0.
    Exited {
        /// The epoch.
        epoch: u64,
        /// How many.
        count: u32,
    },
    /// The first failure; the others are being stopped.
    Failing {
        /// The epoch.
        epoch: u64,
        /// Whose, and how.
        failure: Box<Failure>,
    },
    /// A marker says that a checkpoint is complete.
    Checkpoint {
        /// Its step.
        step: u64,
        /// Where it is.
        path: String,
    },
    /// Nothing of it is left.
    Ended {
        /// The epoch.
        epoch: u64,
        /// All processes exited 0, and nobody had told them to stop.
        succeeded: bool,
        /// The first first.
        failures: Vec<Failure>,
    },
}

pub(super) type Report = Arc<dyn Fn(Note) + Send + Sync>;

/// The processes of one epoch, from outside.
#[derive(Debug)]
pub struct Group {
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
    pub fn start(plan: Plan, report: impl Fn(Note) + Send + Sync + 'static) -> io::Result<Self> {
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

    /// Orders the processes to stop.
    pub fn stop(&self, order: GroupOrder) {
        self.switch.request(order);
    }

    /// How the processes get on.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Processes that have not ended.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// Waits for the thread.
    pub fn join(self) {
        // A panic of it has been reported by it.
        let _ = self.thread.join();
    }
}
