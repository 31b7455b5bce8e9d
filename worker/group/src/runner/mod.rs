//! The thread of a group: carries out what the [`Supervisor`] decides.

mod wait;

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use petctl_process::strays;
use rustix::process::Signal;

use crate::GroupSwitch;
use crate::checkpoints::markers::Watcher;
use crate::external::{ExternalStream, News};
use crate::handle::{Note, Report};
use crate::output::Filter;
use crate::output::console::Console;
use crate::plan::{Plan, Sink};
use crate::progress::Progress;
use crate::rank::{Process, Shared};
use crate::supervisor::{Action, Input, Stop, Supervisor};
use crate::{Failure, stacks};
use petctl_output::logs::Stream;

/// Bytes read from a process at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long copied lines may take to be written at the end.
const CONSOLE_PATIENCE: Duration = Duration::from_secs(1);
const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

pub(super) struct Runner {
    plan: Plan,
    supervisor: Supervisor,
    processes: Vec<Process>,
    shared: Shared,
    /// When processes were first told to stop.
    stopped_at: Option<Instant>,
    exited: u32,
    finished: Option<bool>,
    report: Report,
    switch: Arc<GroupSwitch>,
    progress: Arc<Progress>,
    running: Arc<AtomicU32>,
}

impl Runner {
    pub(super) fn new(
        plan: Plan,
        report: Report,
        switch: Arc<GroupSwitch>,
        progress: Arc<Progress>,
        running: Arc<AtomicU32>,
    ) -> Self {
        Self {
            supervisor: Supervisor::new(plan.ranks.len(), plan.grace),
            processes: Vec::new(),
            shared: Shared::default(),
            stopped_at: None,
            exited: 0,
            finished: None,
            report,
            switch,
            progress,
            running,
            plan,
        }
    }

    /// Ends when nothing of the epoch is left.
    pub(super) fn run(mut self) {
        let epoch = self.plan.start.epoch;
        let span = tracing::info_span!("group", epoch, rank = self.plan.start.first_rank);
        let _entered = span.entered();
        let watcher = self.prepare();
        self.start_processes();
        let mut buffer = vec![0_u8; BUFFER_BYTES];
        while self.finished.is_none() {
            self.turn(&mut buffer);
        }
        strays::kill_strays_of(&self.plan.worker_id);
        if let Some(watcher) = watcher {
            watcher.finish();
        }
        let failures = self.failures();
        for console in self.shared.consoles.iter().flatten() {
            console.flush(CONSOLE_PATIENCE);
        }
        let _ = fs::remove_dir_all(&self.plan.scratch);
        let succeeded = self.finished == Some(true) && failures.is_empty();
        self.tell(|epoch| {
            if succeeded {
                News::Succeeded { epoch }
            } else {
                News::Stopped { epoch }
            }
        });
        tracing::info!(
            succeeded,
            failures = failures.len(),
            "the processes of this epoch are gone"
        );
        (self.report)(Note::Ended {
            epoch,
            succeeded,
            failures,
        });
    }

    /// Folders, consoles, and the eye on markers. What goes wrong here shows when the processes start.
    fn prepare(&mut self) -> Option<Watcher> {
        let folders = [Some(&self.plan.scratch), self.plan.checkpoints.as_ref()];
        for folder in folders.into_iter().flatten() {
            if let Err(error) = fs::create_dir_all(folder) {
                tracing::warn!(folder = %folder.display(), %error, "can't make a folder");
            }
        }
        for (index, stream) in STREAMS.into_iter().enumerate() {
            let copied = self.plan.ranks.iter().any(|rank| {
                matches!(&rank.sink, Sink::External { streams, .. } if streams[index] == ExternalStream::FileAndConsole)
            });
            if copied {
                self.shared.consoles[index] = Console::start(stream).ok();
            }
            self.shared.filtered[index] = self.filter_file(index);
        }
        let report = Arc::clone(&self.report);
        let found = move |found: crate::checkpoints::markers::Found| {
            let path = found.path.to_string_lossy().into_owned();
            let step = found.step;
            report(Note::Checkpoint { step, path });
        };
        Watcher::start(self.plan.markers.clone()?, found).ok()
    }

    fn filter_file(&self, index: usize) -> Option<Arc<Filter>> {
        let words = self.plan.filters[index].clone();
        let folder = self
            .plan
            .attempt_folder
            .as_ref()
            .filter(|_| !words.is_empty())?;
        let name = ["filtered_stdout.log", "filtered_stderr.log"][index];
        let file = fs::create_dir_all(folder).and_then(|()| File::create(folder.join(name)));
        Some(Arc::new(Filter::new(file.ok()?, words)))
    }

    fn start_processes(&mut self) {
        let mut ranks = std::mem::take(&mut self.plan.ranks);
        let restart_count = self.plan.start.restart_count;
        for (local, rank) in ranks.iter_mut().enumerate() {
            let stopping = self.supervisor.is_stopping() || self.switch.order().is_some();
            if stopping && local > 0 {
                // The rest is not started at all; that is no failure of theirs.
                self.processes.push(Process::never(rank));
                self.handle(Input::NotStarted { local });
                continue;
            }
            let process = Process::start(rank, &self.shared);
            let started = process.is_started();
            self.processes.push(process);
            if !started {
                self.handle(Input::NotStarted { local });
            } else if self.processes[local].pipes.iter().all(Option::is_none) {
                self.handle(Input::OutputClosed { local });
            }
        }
        self.count_running();
        self.tell(|epoch| News::Started {
            epoch,
            restart_count,
        });
        // It may have been told to stop meanwhile.
        self.obey();
    }

    fn turn(&mut self, buffer: &mut [u8]) {
        let (woken, ready) = self.wait();
        for (local, ready) in ready.into_iter().enumerate() {
            for (index, stream) in STREAMS.into_iter().enumerate() {
                if ready.pipes[index] {
                    self.read(local, index, stream, buffer);
                }
            }
        }
        // All that ended by themselves before anyone is told to stop.
        self.take_ends(buffer);
        if woken {
            self.switch.clear_event();
            self.obey();
        }
        let now = Instant::now();
        for process in &mut self.processes {
            if process.flush_at().is_some_and(|at| now >= at) {
                process.flush();
            }
        }
        if self.supervisor.deadline().is_some_and(|at| now >= at) {
            self.handle(Input::Tick);
        }
    }

    fn obey(&mut self) {
        if let Some(order) = self.switch.order() {
            if !self.supervisor.is_stopping() {
                tracing::info!(code = order.code, "stopping: {}", order.message);
            }
            self.handle(Input::Stop(order.stop));
        }
    }

    fn handle(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let now = Instant::now();
            for action in self.supervisor.handle(now, input) {
                if self.carry_out(action, now) {
                    inputs.push(Input::Dumped);
                }
            }
        }
    }

    /// True once stacks are written.
    fn carry_out(&mut self, action: Action, now: Instant) -> bool {
        match action {
            Action::DumpStacks => {
                self.dump_stacks();
                return true;
            }
            Action::Terminate(local) => {
                self.stopped_at.get_or_insert(now);
                self.signal(local, stop_signal(self.plan.stop_signal.number()));
            }
            Action::Kill(local) => {
                if self.is_alive(local) {
                    self.stopped_at.get_or_insert(now);
                }
                self.signal(local, Signal::KILL);
            }
            Action::Reap(local) => {
                if let Some(process) = self.processes.get_mut(local) {
                    process.reap(now);
                }
                self.count_running();
            }
            Action::Succeeded(_) => {
                self.exited += 1;
                (self.report)(Note::Exited {
                    epoch: self.plan.start.epoch,
                    count: self.exited,
                });
            }
            Action::Failed(local) => self.failed(local),
            Action::Finish { succeeded } => self.finished = Some(succeeded),
        }
        false
    }

    fn failed(&mut self, local: usize) {
        let Some(process) = self.processes.get_mut(local) else {
            return;
        };
        let error_file = process.error_file();
        if let Some(failure) = process.failure(None) {
            let what = &failure.what;
            tracing::warn!(
                rank = what.rank,
                pid = what.pid,
                code = what.code,
                "a rank failed: {}",
                what.message
            );
            let told = failure.what.clone();
            self.tell(|epoch| News::Failed {
                epoch,
                failure: told,
                error_file,
            });
            (self.report)(Note::Failing {
                epoch: self.plan.start.epoch,
                failure: Box::new(failure),
            });
        }
    }

    /// All that failed by themselves, the first first.
    fn failures(&mut self) -> Vec<Failure> {
        let stopped_at = self.stopped_at;
        let of = |process: &mut Process| {
            process.finish_output();
            process.failure(stopped_at)
        };
        let mut failures: Vec<Failure> = self.processes.iter_mut().filter_map(of).collect();
        failures.sort_by_key(|failure| failure.at);
        failures
    }

    fn dump_stacks(&mut self) {
        let alive: Vec<usize> = (0..self.processes.len())
            .filter(|local| self.is_alive(*local))
            .collect();
        let pids: Vec<u32> = alive
            .iter()
            .map(|local| self.processes[*local].pid())
            .collect();
        let killed = || {
            self.switch
                .order()
                .is_some_and(|order| order.stop == Stop::Now)
        };
        let texts = stacks::of(&pids, &self.plan.scratch, killed);
        for (local, text) in alive.into_iter().zip(texts) {
            let text = format!(
                "[petctl: stacks of rank {}]\n{text}\n",
                self.plan.start.first_rank as usize + local
            );
            self.processes[local].write_stacks(&text, Instant::now());
        }
    }

    fn is_alive(&self, local: usize) -> bool {
        self.processes
            .get(local)
            .is_some_and(|process| process.pidfd.is_some())
    }

    fn signal(&self, local: usize, signal: Signal) {
        if let Some(process) = self.processes.get(local) {
            process.signal(signal);
        }
    }

    fn count_running(&self) {
        let alive = self
            .processes
            .iter()
            .filter(|process| process.pidfd.is_some())
            .count();
        self.running
            .store(u32::try_from(alive).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn tell(&self, news: impl FnOnce(u64) -> News) {
        if let Some(listener) = &self.plan.news {
            // Whoever does not listen any more does not want to know.
            let _ = listener.send(news(self.plan.start.epoch));
        }
    }
}

/// Of the signals that a user stops programs with; SIGTERM for any other.
fn stop_signal(number: i32) -> Signal {
    match number {
        1 => Signal::HUP,
        2 => Signal::INT,
        3 => Signal::QUIT,
        10 => Signal::USR1,
        12 => Signal::USR2,
        _ => Signal::TERM,
    }
}
