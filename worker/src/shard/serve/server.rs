//! One warm process: what goes to it and what comes from it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use petctl_process::supervisor::{Stop, Supervisor};
use petctl_process::{MemoryHold, StopSwitch, Terms, Watched, timespec, watch};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::shard::serve::lines::Lines;
use crate::shard::serve::message::{self, Message};
use petctl_output::logs::{AttemptLog, Stream};

/// How long a process that has nothing more to do may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest grace where the worker ends; it waits for its slots a little longer than this and the patience together.
const CLOSING_GRACE: Duration = Duration::from_secs(2);
/// The shortest timeout; zero would be none.
const AT_ONCE: Duration = Duration::from_nanos(1);
/// How long a process may stay once it has closed its stdout.
const CLOSED_PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of stderr that are read once an answer is there.
const MAX_REST: usize = 1024 * 1024;

/// What a slot lends for as long as it waits.
pub(super) struct Ears<'a> {
    pub(super) log: &'a mut AttemptLog,
    pub(super) switch: &'a StopSwitch,
    pub(super) buffer: &'a mut [u8],
}

/// Why waiting has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It said something: a message, or what is wrong with it.
    Said(Result<Message, String>),
    /// It has ended.
    Exited,
    /// It can't say anything any more.
    Closed,
    /// It is to be stopped.
    Stopped(Stop),
    /// It took too long.
    Overdue,
    /// It uses more memory than it may.
    OverMemory,
}

/// How it is to end.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It has ended, or is about to.
    Ended,
    /// Nothing more comes for it; SIGTERM after a second, SIGKILL after the grace.
    Asked,
    /// The same, but the worker ends: nobody waits for long.
    Closing,
    /// SIGTERM now, SIGKILL after the grace.
    Told,
    /// SIGKILL.
    Killed,
}

#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pidfd: OwnedFd,
    stdin: Option<OwnedFd>,
    /// What has not been written yet.
    unsent: VecDeque<u8>,
    open: [bool; 2],
    closed_at: Option<Instant>,
    ended_at: Option<Instant>,
    lines: Lines,
    said: VecDeque<Vec<u8>>,
    memory: Option<MemoryHold>,
    /// The lease in its environment: of the shard for which it was started.
    lease_id: u64,
    grace: Duration,
    started: Instant,
    quiet: StopSwitch,
}

impl Server {
    /// Takes a process that was started with a pipe to read from.
    pub(super) fn new(
        mut child: Child,
        lease_id: u64,
        memory_mib: u64,
        grace: Duration,
    ) -> io::Result<Self> {
        let group = Pid::from_child(&child);
        let made = pidfd_open(group, PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(|pidfd| {
                let stdin = child.stdin.take().map(OwnedFd::from);
                if let Some(stdin) = &stdin {
                    fcntl_setfl(stdin, fcntl_getfl(stdin)? | OFlags::NONBLOCK)?;
                }
                Ok((pidfd, stdin, StopSwitch::new()?))
            });
        match made {
            Ok((pidfd, stdin, quiet)) => Ok(Self {
                memory: MemoryHold::new(memory_mib, group, lease_id),
                child,
                pidfd,
                stdin,
                unsent: VecDeque::new(),
                open: [true; 2],
                closed_at: None,
                ended_at: None,
                lines: Lines::default(),
                said: VecDeque::new(),
                lease_id,
                grace,
                started: Instant::now(),
                quiet,
            }),
            Err(error) => {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Hands it a line. It is written while [`Self::hear`] waits.
    pub(super) fn send(&mut self, line: &[u8]) {
        self.unsent.extend(line);
    }

    /// Waits until it says something, or something else happens. What it prints goes to the log.
    pub(super) fn hear(&mut self, until: Option<Instant>, ears: &mut Ears<'_>) -> Heard {
        loop {
            if let Some(line) = self.said.pop_front() {
                return Heard::Said(message::parse(&line));
            }
            if let Some(stop) = ears.switch.stop() {
                return Heard::Stopped(stop);
            }
            let ready = self.wait(until, ears);
            let has_read = self.read(&ready.outputs, ears);
            if ready.woken {
                ears.switch.clear_event();
            }
            if ready.writable {
                self.write();
            }
            let now = Instant::now();
            if ears.log.flush_at().is_some_and(|at| now >= at) {
                ears.log.flush();
            }
            if !self.said.is_empty() {
                continue;
            }
            // What it has written before its end is read first, though something else may hold the pipe and go on.
            if ready.ended {
                let ended_at = *self.ended_at.get_or_insert(now);
                if !has_read || now >= ended_at + CLOSED_PATIENCE {
                    return Heard::Exited;
                }
                continue;
            }
            if self.closed_at.is_some_and(|at| now >= at + CLOSED_PATIENCE) {
                return Heard::Closed;
            }
            if self
                .memory
                .as_mut()
                .is_some_and(|memory| memory.is_exceeded(now))
            {
                return Heard::OverMemory;
            }
            if until.is_some_and(|until| now >= until) {
                return Heard::Overdue;
            }
        }
    }

    /// What it has said or printed by now, without waiting; `None`: nothing that matters.
    pub(super) fn look(&mut self, ears: &mut Ears<'_>) -> Option<Heard> {
        match self.hear(Some(Instant::now()), ears) {
            Heard::Overdue | Heard::Stopped(_) => None,
            heard @ (Heard::Said(_) | Heard::Exited | Heard::Closed | Heard::OverMemory) => {
                Some(heard)
            }
        }
    }

    /// Reads what is there of stderr: it may have been written before the answer that came by the other pipe.
    pub(super) fn read_rest(&mut self, ears: &mut Ears<'_>) {
        let mut left = MAX_REST;
        while self.open[1] && left > 0 {
            let Some(stderr) = &self.child.stderr else {
                return;
            };
            let mut fds = [PollFd::from_borrowed_fd(stderr.as_fd(), PollFlags::IN)];
            let none = timespec(Duration::ZERO);
            if poll(&mut fds, Some(&none)).is_err() || !fds[0].revents().contains(PollFlags::IN) {
                return;
            }
            self.read(&[PollFlags::empty(), PollFlags::IN], ears);
            left = left.saturating_sub(ears.buffer.len());
        }
    }

    /// Ends it, with all that it has started. Its last words go to the log.
    pub(super) fn end(mut self, how: End, ears: Ears<'_>) -> io::Result<Watched> {
        drop(self.stdin.take());
        let rest = self.lines.rest();
        ears.log.push(Stream::Stdout, &rest, Instant::now());
        let now = Instant::now();
        // Its timeout is what makes the supervisor end it.
        let (patience, grace) = match how {
            End::Ended | End::Killed => (AT_ONCE, Duration::ZERO),
            End::Told => (AT_ONCE, self.grace),
            End::Asked => (PATIENCE, self.grace),
            End::Closing => (PATIENCE / 2, self.grace.min(CLOSING_GRACE)),
        };
        let supervisor = Supervisor::new(now, patience, grace);
        let terms = Terms {
            memory: self.memory.take(),
            ..Terms::new(self.lease_id, supervisor, self.started)
        };
        // Between two shards an order to stop is none for it.
        let switch = match how {
            End::Asked | End::Closing => &self.quiet,
            End::Ended | End::Told | End::Killed => ears.switch,
        };
        watch(self.child, terms, ears.log, switch, ears.buffer)
    }

    fn wait(&self, until: Option<Instant>, ears: &Ears<'_>) -> Ready {
        let closing = self.closed_at.map(|at| at + CLOSED_PATIENCE);
        let memory = self.memory.as_ref().and_then(MemoryHold::next_check);
        let due = [until, ears.log.flush_at(), closing, memory];
        let timeout = due
            .into_iter()
            .flatten()
            .min()
            .map(|at| timespec(at.saturating_duration_since(Instant::now())));
        let outputs = self.outputs();
        let stdin = self.stdin.as_ref().filter(|_| !self.unsent.is_empty());
        let mut fds = Vec::with_capacity(5);
        fds.push(PollFd::from_borrowed_fd(ears.switch.event(), PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN));
        let open = outputs.iter().flatten();
        fds.extend(open.map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        fds.extend(stdin.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT)));
        let mut ready = Ready::NOTHING;
        if poll(&mut fds, timeout.as_ref()).is_err() {
            // Interrupted, or short of memory: look again.
            return ready;
        }
        let mut found = fds.iter().map(PollFd::revents);
        let mut next = || found.next().unwrap_or(PollFlags::empty());
        ready.woken = !next().is_empty();
        ready.ended = !next().is_empty();
        for (place, fd) in ready.outputs.iter_mut().zip(outputs) {
            if fd.is_some() {
                *place = next();
            }
        }
        ready.writable = stdin.is_some() && !next().is_empty();
        ready
    }

    fn outputs(&self) -> [Option<std::os::fd::BorrowedFd<'_>>; 2] {
        let stdout = self.child.stdout.as_ref().map(AsFd::as_fd);
        let stderr = self.child.stderr.as_ref().map(AsFd::as_fd);
        [
            stdout.filter(|_| self.open[0]),
            stderr.filter(|_| self.open[1]),
        ]
    }

    /// Whether there was anything to read.
    fn read(&mut self, flags: &[PollFlags; 2], ears: &mut Ears<'_>) -> bool {
        let mut has_read = false;
        for (index, flags) in flags.iter().enumerate() {
            let Some(fd) = self.outputs()[index].filter(|_| !flags.is_empty()) else {
                continue;
            };
            let count = if flags.contains(PollFlags::IN) {
                rustix::io::read(fd, &mut *ears.buffer)
            } else {
                Ok(0)
            };
            let bytes = match count {
                Ok(count) if count > 0 => &ears.buffer[..count],
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Ok(_) | Err(_) => {
                    self.open[index] = false;
                    if index == 0 {
                        self.closed_at = Some(Instant::now());
                    }
                    continue;
                }
            };
            has_read = true;
            if index == 0 {
                let mut plain = Vec::new();
                self.lines.feed(bytes, &mut plain, &mut self.said);
                ears.log.push(Stream::Stdout, &plain, Instant::now());
            } else {
                ears.log.push(Stream::Stderr, bytes, Instant::now());
            }
        }
        has_read
    }

    fn write(&mut self) {
        let Some(stdin) = &self.stdin else {
            self.unsent.clear();
            return;
        };
        match rustix::io::write(stdin, self.unsent.as_slices().0) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // It does not read any more; if it has not ended, its time runs out.
            Err(_) => {
                self.stdin = None;
                self.unsent.clear();
            }
        }
    }
}

/// What a wait found.
struct Ready {
    ended: bool,
    woken: bool,
    writable: bool,
    outputs: [PollFlags; 2],
}

impl Ready {
    const NOTHING: Self = Self {
        ended: false,
        woken: false,
        writable: false,
        outputs: [PollFlags::empty(); 2],
    };
}

/// A log of which nothing is kept.
pub(super) fn no_log() -> AttemptLog {
    AttemptLog::new(PathBuf::from("/dev/null"), 0)
}
