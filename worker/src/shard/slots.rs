//! The slots: each a thread that runs one attempt at a time, fed from one queue.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use petctl_attempt::{Validity, identity, outcome};
use petctl_data::Uploader;
use petctl_process::{StopOrder, StopSwitch};
use petctl_proto::v1::{AttemptResult, Lease, Outcome};

use crate::shard::Job;
use crate::shard::attempt::{self, SlotTools};
use crate::shard::serve::Warm;

/// Bytes read from a process at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// An attempt that waits for a slot.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) job: Arc<Job>,
    pub(crate) lease: Lease,
}

impl Task {
    /// What it works on may have to be fetched first.
    fn announce(&self) {
        if let Some(remote) = &self.job.remote {
            remote.expect(&self.lease);
        }
    }
}

/// The slots of a worker. Results go to the function given at the start, from any thread.
pub(crate) struct Slots {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    available: Condvar,
    validity: Arc<Validity>,
    processes: AtomicU32,
    switches: Vec<StopSwitch>,
    /// Takes over what is to be uploaded.
    uploader: Arc<Uploader>,
    report: Arc<dyn Fn(AttemptResult) + Send + Sync>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Task>,
    /// The lease that each slot runs.
    running: Vec<Option<u64>>,
    /// Jobs that have left.
    generation: u64,
    closed: bool,
}

impl Slots {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// Where the system has no thread or descriptor left.
    pub(crate) fn start(
        count: u32,
        report: impl Fn(AttemptResult) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let switches = (0..count)
            .map(|_| StopSwitch::new())
            .collect::<io::Result<Vec<_>>>()?;
        let state = State {
            running: vec![None; switches.len()],
            ..State::default()
        };
        let validity = Arc::new(Validity::default());
        let report: Arc<dyn Fn(AttemptResult) + Send + Sync> = Arc::new(report);
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            available: Condvar::new(),
            uploader: Uploader::new(switches.len(), Arc::clone(&validity), Arc::clone(&report)),
            validity,
            processes: AtomicU32::new(0),
            switches,
            report,
        });
        let mut slots = Self {
            shared,
            threads: Vec::new(),
        };
        for index in 0..count {
            let shared = Arc::clone(&slots.shared);
            let thread = std::thread::Builder::new().name(format!("petctl-slot-{index}"));
            slots
                .threads
                .push(thread.spawn(move || shared.serve(index))?);
        }
        Ok(slots)
    }

    /// Until when attempts may start and commit.
    pub(crate) fn validity(&self) -> &Validity {
        &self.shared.validity
    }

    /// Queues attempts, in order.
    pub(crate) fn enqueue(&self, tasks: impl IntoIterator<Item = Task>) {
        let mut state = self.shared.lock();
        let before = state.queue.len();
        state
            .queue
            .extend(tasks.into_iter().inspect(Task::announce));
        let added = state.queue.len() - before;
        drop(state);
        for _ in 0..added.min(self.threads.len()) {
            self.shared.available.notify_one();
        }
    }

    /// Takes attempts that have not started out of the queue; all of them where `wanted` is `None`.
    pub(crate) fn withdraw(&self, wanted: Option<&BTreeSet<u64>>) -> Vec<u64> {
        let mut taken = Vec::new();
        self.shared.lock().queue.retain(|task| {
            let take = wanted.is_none_or(|wanted| wanted.contains(&task.lease.lease_id));
            if take {
                task.job.forget(&task.lease);
                taken.push(task.lease.lease_id);
            }
            !take
        });
        taken
    }

    /// Stops attempts that run; all of them where `wanted` is `None`.
    pub(crate) fn stop(&self, wanted: Option<&BTreeSet<u64>>, order: &StopOrder) {
        let state = self.shared.lock();
        // Under the lock: a slot can't go on to its next attempt meanwhile, which the order would hit.
        for (running, switch) in state.running.iter().zip(&self.shared.switches) {
            if running.is_some_and(|lease| wanted.is_none_or(|wanted| wanted.contains(&lease))) {
                switch.request(order.clone());
            }
        }
        drop(state);
        self.shared.uploader.stop(wanted, order);
        self.shared.validity.wake();
    }

    /// The job has left: its warm processes go.
    pub(crate) fn retire(&self) {
        self.shared.lock().generation += 1;
        self.shared.available.notify_all();
    }

    /// Processes that run now, and attempts that wait for a slot.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let queued = self.shared.lock().queue.len();
        (
            self.shared.processes.load(Ordering::Relaxed),
            u32::try_from(queued).unwrap_or(u32::MAX),
        )
    }

    /// Attempts that have run, and whose outputs are being uploaded.
    pub(crate) fn uploading(&self) -> u32 {
        u32::try_from(self.shared.uploader.count()).unwrap_or(u32::MAX)
    }

    /// Waits until the logs of failed attempts are sent, too.
    pub(crate) fn finish_uploading(&self) -> impl Future<Output = ()> + Send + 'static {
        let uploader = Arc::clone(&self.shared.uploader);
        async move { uploader.finish().await }
    }

    /// Ends the threads once they have nothing to run; blocks until then. What waits in the queue is dropped.
    pub(crate) fn close(mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.queue.clear();
        drop(state);
        self.shared.available.notify_all();
        for thread in self.threads.drain(..) {
            // A panic of a slot has been reported by it.
            let _ = thread.join();
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.available.notify_all();
    }
}

impl Shared {
    fn serve(&self, index: u32) {
        let number = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(switch) = self.switches.get(number) else {
            return;
        };
        let mut buffer = vec![0_u8; BUFFER_BYTES];
        let mut warm = Warm::default();
        while let Some(task) = self.next(number, switch, &mut warm, &mut buffer) {
            let tools = SlotTools {
                index,
                switch,
                validity: &self.validity,
                processes: &self.processes,
                buffer: &mut buffer,
                warm: &mut warm,
            };
            let result = attempt::run(&task.job, &task.lease, tools);
            if outcome::is_to_be_sent(&result)
                && let Some(origin) = task.job.origin()
            {
                // Before the slot goes on: an order to stop must find it here or there.
                self.uploader.take(origin, &task.lease, result, switch);
                self.lock().running[number] = None;
            } else {
                self.settle(number, &task, result);
            }
        }
    }

    fn settle(&self, number: usize, task: &Task, result: AttemptResult) {
        let mut state = self.lock();
        state.running[number] = None;
        // Somebody may wait for the last one.
        let urgent = state.queue.is_empty();
        drop(state);
        if result.outcome() != Outcome::Committed {
            (self.report)(result);
            if let Some(origin) = task.job.origin() {
                self.uploader.send_log_of_failed(origin, &task.lease);
            }
        } else if task.job.sends() {
            (self.report)(result);
        } else {
            // The slot does not wait for the disk; the result does.
            let lease = identity::lease(&task.lease);
            task.job.syncer.submit((lease, result), urgent);
        }
    }

    fn next(
        &self,
        number: usize,
        switch: &StopSwitch,
        warm: &mut Warm,
        buffer: &mut [u8],
    ) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if warm.is_running() && (state.closed || warm.generation != state.generation) {
                let is_closing = state.closed;
                drop(state);
                warm.stop(is_closing, switch, buffer);
                state = self.lock();
                continue;
            }
            if state.closed {
                return None;
            }
            if let Some(task) = state.queue.pop_front() {
                state.running[number] = Some(task.lease.lease_id);
                switch.reset();
                warm.generation = state.generation;
                return Some(task);
            }
            state = self
                .available
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
