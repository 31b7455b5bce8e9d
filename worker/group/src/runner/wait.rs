//! Waits for what happens to the processes of a group, and takes it in.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use petctl_output::logs::Stream;
use petctl_process::timespec;
use rustix::event::{PollFd, PollFlags, poll};

use crate::rank::Process;
use crate::runner::{Runner, STREAMS};
use crate::supervisor::Input;

/// How soon to look again whether a console has room.
const CONSOLE_PAUSE: Duration = Duration::from_millis(20);
/// Reads of one pipe when its process has ended; a pipe holds 64 KiB, unless it was made larger.
const MAX_LAST_READS: usize = 16;

/// What a wait found of one process.
#[derive(Clone, Copy, Default)]
pub(super) struct Ready {
    pub(super) ended: bool,
    pub(super) pipes: [bool; 2],
}

impl Runner {
    /// Blocks until something happens or is due.
    pub(super) fn wait(&self) -> (bool, Vec<Ready>) {
        let mut fds = vec![PollFd::from_borrowed_fd(self.switch.event(), PollFlags::IN)];
        let mut places = Vec::new();
        let mut held = false;
        for (local, process) in self.processes.iter().enumerate() {
            if let Some(pidfd) = &process.pidfd {
                fds.push(PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN));
                places.push((local, None));
            }
            for (index, stream) in STREAMS.into_iter().enumerate() {
                let Some(pipe) = &process.pipes[index] else {
                    continue;
                };
                if process.may_read(stream) {
                    fds.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
                    places.push((local, Some(index)));
                } else {
                    held = true;
                }
            }
        }
        let mut ready = vec![Ready::default(); self.processes.len()];
        let timeout = self
            .due(held)
            .map(|at| timespec(at.saturating_duration_since(Instant::now())));
        if poll(&mut fds, timeout.as_ref()).is_err() {
            // Interrupted, or short of memory: look again.
            return (false, ready);
        }
        let mut found = fds.iter().map(|fd| !fd.revents().is_empty());
        let woken = found.next().unwrap_or(false);
        for ((local, what), is_ready) in places.into_iter().zip(found) {
            match what {
                None => ready[local].ended = is_ready,
                Some(index) => ready[local].pipes[index] = is_ready,
            }
        }
        (woken, ready)
    }

    pub(super) fn due(&self, held: bool) -> Option<Instant> {
        let flush = self.processes.iter().filter_map(Process::flush_at).min();
        let room = held.then(|| Instant::now() + CONSOLE_PAUSE);
        [self.supervisor.deadline(), flush, room]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn read(&mut self, local: usize, index: usize, stream: Stream, buffer: &mut [u8]) {
        let process = &mut self.processes[local];
        let Some(pipe) = &process.pipes[index] else {
            return;
        };
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => process.pipes[index] = None,
            Ok(count) => {
                let now = Instant::now();
                process.push(stream, &buffer[..count], now);
                self.progress.output_seen(now);
                return self.handle(Input::OutputRead { local });
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return,
            Err(_) => process.pipes[index] = None,
        }
        if process.pipes.iter().all(Option::is_none) {
            self.handle(Input::OutputClosed { local });
        }
    }

    /// Of several that have ended, the one whose exception is the oldest counts as the first.
    pub(super) fn take_ends(&mut self, buffer: &mut [u8]) {
        let mut fds: Vec<_> = Vec::new();
        let mut locals = Vec::new();
        for (local, process) in self.processes.iter().enumerate() {
            if let Some(pidfd) = &process.pidfd {
                fds.push(PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN));
                locals.push(local);
            }
        }
        if fds.is_empty() || poll(&mut fds, Some(&timespec(Duration::ZERO))).is_err() {
            return;
        }
        let ended = locals
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty());
        let ended: Vec<usize> = ended.map(|(local, _)| *local).collect();
        let mut exits = Vec::new();
        for local in ended {
            // What it printed last is in its pipes still, and says why it failed.
            self.read_all(local, buffer);
            let by_itself = self.stopped_at.is_none();
            let process = &mut self.processes[local];
            let success = process.peek(by_itself);
            let raised = if success { None } else { process.raised_at() };
            exits.push((raised.unwrap_or_else(Instant::now), local, success));
        }
        exits.sort_unstable();
        for (_, local, success) in exits {
            self.handle(Input::Exited { local, success });
        }
    }

    /// What is in the pipes of a process now, within bounds.
    pub(super) fn read_all(&mut self, local: usize, buffer: &mut [u8]) {
        for (index, stream) in STREAMS.into_iter().enumerate() {
            for _ in 0..MAX_LAST_READS {
                let process = &self.processes[local];
                let Some(pipe) = process.pipes[index]
                    .as_ref()
                    .filter(|_| process.may_read(stream))
                else {
                    break;
                };
                let mut fd = [PollFd::new(pipe, PollFlags::IN)];
                match poll(&mut fd, Some(&timespec(Duration::ZERO))) {
                    Ok(count) if count > 0 => self.read(local, index, stream, buffer),
                    Ok(_) | Err(_) => break,
                }
            }
        }
    }
}
